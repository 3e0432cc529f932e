from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.errors import ClipsteerError
from clipsteer.steering.choose import NoGroupFalls, Relaxed, Rule
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.feature_set import FeatureSet
from clipsteer.steering.intervention import FeatureEdit, NoEdit, ablation
from clipsteer.steering.selection import (
    nested_sets,
    ranking_frame,
    select,
    sweep_frame,
    threshold_grid,
)
from clipsteer.steering.statistics import Balance, difference


def test_grid_of_the_paper() -> None:
    grid = threshold_grid(1e-6, 1.0, 25)
    assert len(grid) == 25
    assert (grid[0], grid[-1]) == (1e-6, 1.0)
    for i, value in enumerate(grid):
        assert value == pytest.approx(10 ** (-6 + i / 4), rel=1e-12)
    assert threshold_grid(0.2, 0.2, 1).tolist() == [0.2]


@pytest.mark.parametrize("bad", [(0.0, 1.0, 5), (1.0, 0.1, 5), (0.1, 1.0, 1), (0.1, 1.0, 0)])
def test_bad_grid_is_refused(bad: tuple[float, float, int]) -> None:
    with pytest.raises(ClipsteerError, match="threshold grid"):
        threshold_grid(*bad)


values = st.sampled_from([-1.0, 0.0, 1e-6, 0.1, 0.25, 0.25000000000000006, 0.5, 1.0, 3.0])


@given(st.lists(values, max_size=30), st.lists(values, min_size=1, max_size=10))
def test_sets_are_those_of_equation_9_and_nested(
    difference: list[float], thresholds: list[float]
) -> None:
    sweep = nested_sets(np.array(difference), np.array(thresholds))
    previous: set[int] = set()
    for threshold, size in sorted(zip(thresholds, sweep.sizes.tolist(), strict=True), reverse=True):
        features = sweep.order[:size].tolist()
        assert set(features) == {j for j, value in enumerate(difference) if value > threshold}
        assert previous <= set(features)
        previous = set(features)
    keys = [(-difference[j], j) for j in sweep.order]
    assert keys == sorted(keys)  # ties by feature index
    assert sweep.distinct.tolist() == sorted(set(sweep.sizes.tolist()))


@pytest.mark.parametrize("balance", ["none", "group"])
def test_ranking_is_equation_9_counted_afresh(balance: Balance) -> None:
    """From the statistics of four groups of 5, 1, 3 and 7 images, by plain loops."""
    m, images = 30, (5, 1, 3, 7)
    means = np.random.default_rng(1).normal(size=(4, m))
    table = pl.DataFrame(
        [
            {"feature": j, "group": g, "n_images": n, "mean": means[g, j]}
            for g, n in enumerate(images)
            for j in range(m)
        ]
    )
    expected = []
    for j in range(m):
        total = [n * means[g, j] for g, n in enumerate(images)]
        if balance == "none":
            value = (total[1] + total[3]) / 8 - (total[0] + total[2]) / 8
        else:
            value = ((means[1, j] - means[0, j]) + (means[3, j] - means[2, j])) / 2
        expected.append((j, value))
    expected = sorted(((j, v) for j, v in expected if v > 0.1), key=lambda pair: -pair[1])
    found = difference(table, balance=balance)
    ranking = ranking_frame(nested_sets(found, np.array([0.1, 0.5])), found)
    assert ranking["rank"].to_list() == list(range(1, len(expected) + 1))
    assert ranking["feature"].to_list() == [j for j, _ in expected]
    assert ranking["difference"].to_list() == pytest.approx([v for _, v in expected])
    assert 3 < len(expected) < m


def test_nan_difference_names_the_feature() -> None:
    with pytest.raises(ClipsteerError, match="feature 2 is nan"):
        nested_sets(np.array([0.0, 1.0, np.nan]), np.array([0.1]))


def test_counts_and_frame_equal_plain_loops() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 4, 200).astype(np.int8)
    targets = (groups // 2).astype(np.int8)
    sweep = nested_sets(rng.normal(size=40), threshold_grid(1e-2, 3.0, 9))
    predictions = rng.integers(0, 2, (len(sweep.distinct), 200)).astype(np.int16)
    frame = sweep_frame(sweep, predictions, targets, groups, 4)
    assert frame["threshold"].to_list() == sweep.thresholds.tolist()
    for row, size in zip(frame.iter_rows(named=True), sweep.sizes, strict=True):
        guess = predictions[sweep.distinct.tolist().index(size)]
        assert row["n_features"] == size
        accuracies = []
        for group in range(4):
            hits = [guess[i] == targets[i] for i in range(200) if groups[i] == group]
            accuracies.append(100 * sum(hits) / len(hits))
            assert row[f"acc_{group}"] == pytest.approx(accuracies[-1])
            assert (row[f"correct_{group}"], row[f"images_{group}"]) == (sum(hits), len(hits))
        assert row["worst"] == pytest.approx(min(accuracies))
        assert row["overall"] == pytest.approx(100 * float((guess == targets).mean()))


def test_a_group_without_images_has_no_accuracy_in_the_frame() -> None:
    targets, groups = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2])
    sweep = nested_sets(np.array([1.0]), np.array([0.5]))
    frame = sweep_frame(sweep, np.array([[0, 1, 0, 1]]), targets, groups, 4)
    assert frame["acc_3"].to_list() == [None]
    assert frame.schema["acc_3"] == pl.Float64
    assert (frame["worst"][0], frame["images_3"][0]) == (50.0, 0)


IMAGES = (180, 180, 180, 180, 20, 0)
BASE = GroupCounts((170, 150, 175, 100, 20, 0), IMAGES)
ORDER = np.arange(100)[::-1].copy()


def frame_of(rows: list[tuple[float, int, tuple[int, ...]]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "threshold": threshold,
                "n_features": size,
                **{f"correct_{g}": right for g, right in enumerate(correct)},
                **{f"images_{g}": n for g, n in enumerate(IMAGES)},
            }
            for threshold, size, correct in rows
        ]
    )


def test_the_set_is_the_first_features_of_the_order() -> None:
    frame = frame_of(
        [
            (0.1, 9, (100, 150, 170, 160, 20, 0)),  # a group falls
            (0.3, 5, (170, 150, 175, 110, 20, 0)),
            (0.4, 3, (170, 150, 175, 105, 20, 0)),
        ]
    )
    chosen = select(frame, BASE, ORDER, NoGroupFalls())
    assert (chosen.threshold, chosen.n_features) == (0.3, 5)
    assert chosen.features.tolist() == [99, 98, 97, 96, 95]
    assert chosen.counts == GroupCounts((170, 150, 175, 110, 20, 0), IMAGES)


def test_equal_sets_report_the_highest_threshold() -> None:
    counts = (170, 150, 175, 120, 20, 0)
    rows = [(0.1, 4, counts), (0.2, 4, counts), (0.05, 6, counts)]
    for order in (rows, rows[::-1]):
        chosen = select(frame_of(order), BASE, ORDER, NoGroupFalls())
        assert (chosen.threshold, chosen.n_features) == (0.2, 4)


@pytest.mark.parametrize("rule", [NoGroupFalls(), Relaxed(4.0)])
def test_nothing_helps_gives_the_empty_set_and_the_baseline(rule: Rule) -> None:
    # The empty set is no candidate, whatever the frame says of it.
    frame = frame_of([(0.1, 8, BASE.correct), (0.2, 0, (180, 180, 180, 180, 20, 0))])
    chosen = select(frame, BASE, ORDER, rule)
    assert chosen.threshold is None
    assert (chosen.n_features, chosen.features.tolist()) == (0, [])
    assert chosen.counts == BASE


def test_a_set_is_saved_and_loaded_as_itself() -> None:
    made = FeatureSet(
        np.array([5, 2]), 0.25, BASE, "mlp_out", 3, {"condition": "strict", "balance": "none"}
    )
    text = json.dumps(made.as_dict())
    found = FeatureSet.from_dict(json.loads(text))
    assert json.dumps(found.as_dict()) == text
    assert (found.features.tolist(), found.features.dtype) == ([5, 2], np.int64)
    assert (found.hook_point, found.layer, found.how["balance"]) == ("mlp_out", 3, "none")
    edit = ablation(NeuronBasis(8), found.features, "drop")
    assert isinstance(edit, FeatureEdit)
    assert (edit.features.tolist(), edit.error_term) == ([5, 2], "drop")
    empty = FeatureSet(np.zeros(0, dtype=np.int64), None, BASE)
    features = FeatureSet.from_dict(empty.as_dict()).features
    assert isinstance(ablation(NeuronBasis(8), features, "keep"), NoEdit)
