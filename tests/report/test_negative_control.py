"""The negative control's rows against a plain search over places, on made-up counts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from clipsteer.report.negative_control import FIXED, OWN, columns, control_rows, render
from clipsteer.steering.choose import NoGroupFalls, Relaxed

IMAGES = (20, 25, 20, 10)
GROUPS = ("a", "b", "c", "d")
PLACES = [(layer, name) for layer in (0, 3) for name in ("x", "y")]
RULES = {"strict": NoGroupFalls(), "relaxed": Relaxed(10.0)}
UNMODIFIED, BEFORE = (15, 20, 18, 4), (14, 21, 17, 5)  # on validation and on test: d is the worst


def counts(correct: Any) -> dict[str, list[int]]:
    return {"correct": list(correct), "images": list(IMAGES)}


def made_up(shuffles: int, seed: int) -> dict[tuple[int, str], dict[str, Any]]:
    rng = np.random.default_rng(seed)

    def found() -> dict[str, Any]:
        if rng.random() < 0.3:
            return {"n_features": 0, "counts": counts(UNMODIFIED), "test": counts(BEFORE)}
        after = [rng.integers(0, n + 1, 2).tolist() for n in IMAGES]
        validation, test = zip(*after, strict=True)
        size = int(rng.integers(1, 50))
        return {"n_features": size, "counts": counts(validation), "test": counts(test)}

    return {
        place: {
            "unmodified": {"counts": counts(UNMODIFIED)},
            "test": counts(BEFORE),
            **{condition: [found() for _ in range(shuffles)] for condition in RULES},
        }
        for place in PLACES
    }


def headline(strict_place: tuple[int, str] | None) -> dict[str, Any]:
    def of(place: tuple[int, str] | None) -> dict[str, Any]:
        after = (14, 21, 17, 5) if place is None else (16, 20, 15, 8)
        layer, dictionary = place or (None, None)
        return {
            "layer": layer,
            "dictionary": dictionary,
            "n_features": 0 if place is None else 7,
            "overall": 100 * sum(after) / sum(IMAGES),
            "groups_after": {g: 100 * k / n for g, k, n in zip(GROUPS, after, IMAGES, strict=True)},
        }

    return {"n_images": sum(IMAGES), "strict": of(strict_place), "relaxed": of((3, "y"))}


def rows_of(shuffles: int = 6, seed: int = 0, strict: tuple[int, str] | None = (0, "x")) -> Any:
    hooks = dict.fromkeys(("x", "y"), "resid_post")
    return control_rows(made_up(shuffles, seed), headline(strict), hooks, RULES, GROUPS)


@pytest.mark.parametrize("seed", range(4))
def test_each_shuffle_stands_at_its_own_best_place_and_at_that_of_the_true_labels(
    seed: int,
) -> None:
    rows, controls = rows_of(seed=seed), made_up(6, seed)
    score = {
        "strict": lambda c: (
            sum(c) / sum(IMAGES) + min(k / n for k, n in zip(c, IMAGES, strict=True))
        ),
        "relaxed": lambda c: c[3] / IMAGES[3],
    }
    for condition, shuffle in itertools.product(RULES, range(6)):
        here = rows.filter(condition=condition, labels=f"shuffle {shuffle}")
        filled = [p for p in PLACES if controls[p][condition][shuffle]["n_features"]]
        own = here.filter(place_of=OWN).row(0, named=True)
        if not filled:
            assert (own["layer"], own["n_features"], own["gain_worst_group"]) == (None, 0, 0)
            continue
        best = max(
            filled,  # of equals the first: layers ascend, then names
            key=lambda p: round(
                score[condition](controls[p][condition][shuffle]["counts"]["correct"]), 9
            ),
        )
        assert (own["layer"], own["dictionary"]) == best
        fixed = here.filter(place_of=FIXED).row(0, named=True)
        place = (0, "x") if condition == "strict" else (3, "y")
        assert (fixed["layer"], fixed["dictionary"]) == place
        for row, at in ((own, best), (fixed, place)):
            after = [
                100 * k / n
                for k, n in zip(
                    controls[at][condition][shuffle]["test"]["correct"], IMAGES, strict=True
                )
            ]
            was = [100 * k / n for k, n in zip(BEFORE, IMAGES, strict=True)]
            assert [row[f"acc_after_{g}"] for g in range(4)] == pytest.approx(after)
            assert row["gain"] == pytest.approx(min(after) - was[3])
            assert row["gain_worst_group"] == pytest.approx(after[3] - was[3])
            falls = [b - a for b, a in zip(was, after, strict=True)]
            assert row["largest_fall"] == pytest.approx(max(0.0, *falls))


def test_every_group_has_its_columns_even_without_images() -> None:
    assert rows_of().columns == list(columns(4)[2:])
    hooks = dict.fromkeys(("x", "y"), "resid_post")
    rows = control_rows(made_up(2, 0), headline((0, "x")), hooks, RULES, (*GROUPS, "e"))
    assert rows.columns == list(columns(5)[2:])
    assert rows["acc_before_4"].to_list() == rows["acc_after_4"].to_list() == [None] * len(rows)


def test_true_labels_that_ablate_nothing_have_no_fixed_place() -> None:
    rows = rows_of(strict=None)
    assert rows.filter(condition="strict")["place_of"].unique().to_list() == [OWN]
    page = render(rows, dataset="made_up", source="painted", n_images=75)
    assert "there is no fixed one" in page
    assert "painted (synthetic)" in page


def test_the_page_counts_the_shuffles_that_gain_as_much() -> None:
    rows = rows_of(shuffles=9, seed=2)
    page = render(rows, dataset="made_up", source="painted", n_images=75)
    for condition, kind in itertools.product(RULES, (FIXED, OWN)):
        true, *gains = rows.filter(condition=condition, place_of=kind)["gain"].to_list()
        section = page.split(f"## {condition.capitalize()}")[1]
        line = next(text for text in section.splitlines() if text.startswith(f"| {kind} "))
        as_much, half = [cell.strip() for cell in line.split("|")][-3:-1]
        assert as_much == f"{sum(g >= true for g in gains)} of 9"
        assert half == f"{sum(g >= true / 2 for g in gains)} of 9"
