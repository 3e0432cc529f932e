"""Figures 2 and 10 for attacked images: rows and place follow from the rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipsteer.report.attacked_top_images import Tuned, panels, ranked
from tests.report.pages import place as made_place

# Attacked images that a sweep's sets tell right, by tau and lambda.
SWEEP: dict[tuple[float, float | None], int] = {
    (0.1, None): 30,
    (0.1, 0.5): 40,
    (1.0, None): 50,
}


@given(
    arrays(np.float64, st.integers(1, 12), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
    st.sets(st.integers(0, 11)),
    st.integers(1, 6),
)
def test_the_largest_differences_of_a_set(
    difference: np.ndarray, among: set[int], count: int
) -> None:
    """Found by looking at one after the other; equal ones by number."""
    members = [j for j in sorted(among) if j < len(difference)]
    left, expected = list(members or range(len(difference))), list[int]()
    while left and len(expected) < count:
        best = max(left, key=lambda j: (difference[j], -j))
        expected.append(best)
        left.remove(best)
    found = ranked(difference, members, count)
    assert found["feature"].to_list() == expected
    assert found["difference"].to_list() == [difference[j] for j in expected]
    for feature, rank in found.select("feature", "rank").iter_rows():
        before = [
            j
            for j in range(len(difference))
            if (-difference[j], j) < (-difference[feature], feature)
        ]
        assert rank == len(before) + 1


def tuned(
    name: str, layer: int, at: tuple[float, float | None] | None = None, **changed: Any
) -> Tuned:
    made = made_place(name, layer, [5, 6, 7, 8, 9])
    rows = [(tau, cosine, right) for (tau, cosine), right in SWEEP.items()]
    schema = {"tau": pl.Float64, "lambda": pl.Float64, "attacked_correct": pl.Int64}
    sweep = pl.DataFrame(rows, schema, orient="row")
    tau, cosine = at or (None, None)
    chosen = {"features": [6, 8] if at else [], "tau": tau, "lambda": cosine}
    own = {"hook_point": "resid_post", "own_basis": name == "neurons", **changed}
    return Tuned(name, layer, *own.values(), chosen, sweep, made.features, made.examples)


def titles(*places: Tuned) -> list[str]:
    return [panel.title for panel in panels(places)]


def test_the_place_whose_set_tells_most_attacked_images_right() -> None:
    """Of the set that was taken, with its own lambda; of equals the first layer; neurons choose nothing."""
    neurons = [tuned("neurons", layer, (1.0, None)) for layer in (0, 2)]
    saes = [tuned("topk", 2, (0.1, 0.5)), tuned("topk", 0, (0.1, None)), tuned("l1", 0)]
    beside = "largest differences"
    assert titles(*saes, *neurons) == [f"neurons, layer 2: {beside}", "topk, layer 2: F*"]
    saes[1] = tuned("topk", 0, (0.1, 0.5))
    assert titles(*saes, *neurons) == [f"neurons, layer 0: {beside}", "topk, layer 0: F*"]
    assert titles(*saes) == ["topk, layer 0: F*"]
    elsewhere = tuned("neurons", 0, hook_point="mlp_out")
    assert titles(*saes, elsewhere) == ["topk, layer 0: F*"]


def test_where_nothing_was_taken() -> None:
    nothing = "no set selected: largest differences"
    assert titles(tuned("topk", 1), tuned("topk", 0)) == [f"topk, layer 0: {nothing}"]
    assert titles(tuned("neurons", 1)) == ["neurons, layer 1: largest differences"]


def test_rows_are_the_ranked_features_with_their_top_images() -> None:
    one = tuned("topk", 0, (1.0, None))
    (panel,) = panels([one])
    shown = one.features.sort("rank")["feature"].to_list()[:4]
    assert [int(row.label.split()[0]) for row in panel.rows] == shown
    for row, feature in zip(panel.rows, shown, strict=True):
        top = one.examples.filter(feature=feature, kind="top")
        assert row.images == top["image"].to_list()[: len(row.images)]
