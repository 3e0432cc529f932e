from __future__ import annotations

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.errors import ClipsteerError
from clipsteer.steering.selection import (
    GroupCounts,
    Selection,
    count_groups,
    nested_sets,
    ranking_frame,
    select_relaxed,
    select_strict,
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
    frame = sweep_frame(sweep, predictions, targets, groups)
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


def test_the_papers_baseline_figures() -> None:
    counts = GroupCounts((180, 170, 178, 140), (180, 180, 180, 180))
    assert round(counts.overall, 2) == 92.78
    assert round(counts.worst, 2) == 77.78
    assert counts.worst_group == 3


def test_a_group_without_images_is_left_out() -> None:
    targets, groups = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2])
    counts = count_groups(np.array([0, 1, 0, 1]), targets, groups)
    assert counts.accuracy(3) is None
    assert (counts.overall, counts.worst, counts.worst_group) == (75.0, 50.0, 0)
    sweep = nested_sets(np.array([1.0]), np.array([0.5]))
    frame = sweep_frame(sweep, np.array([[0, 1, 0, 1]]), targets, groups)
    assert frame["acc_3"].to_list() == [None]
    assert frame.schema["acc_3"] == pl.Float64
    with pytest.raises(ClipsteerError, match="no images"):
        count_groups(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int))


IMAGES = (180, 180, 180, 180)
ORDER = np.arange(100)[::-1].copy()


def frame_of(rows: list[tuple[float, int, tuple[int, int, int, int]]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "threshold": threshold,
                "n_features": size,
                **{f"correct_{g}": correct[g] for g in range(4)},
                **{f"images_{g}": 180 for g in range(4)},
            }
            for threshold, size, correct in rows
        ]
    )


BASE = GroupCounts((170, 150, 175, 100), IMAGES)


def test_strict_takes_the_best_sum_that_lowers_neither() -> None:
    frame = frame_of(
        [
            (0.1, 9, (100, 150, 170, 160)),  # best worst group, but overall falls
            (0.2, 7, (180, 180, 180, 99)),  # best overall, but the worst group falls
            (0.3, 5, (170, 150, 175, 110)),
            (0.4, 3, (170, 150, 175, 105)),
        ]
    )
    chosen = select_strict(frame, BASE, ORDER)
    assert (chosen.threshold, chosen.n_features) == (0.3, 5)
    assert chosen.features.tolist() == [99, 98, 97, 96, 95]
    assert chosen.overall == pytest.approx(100 * 605 / 720)
    assert chosen.worst == pytest.approx(100 * 110 / 180)


def test_strict_sees_exact_ties_and_takes_the_smaller_set() -> None:
    # One more right in the worst group (1/180 + 1/720) against five more elsewhere (5/720): equal.
    frame = frame_of([(0.1, 8, (170, 150, 175, 101)), (0.2, 4, (175, 150, 175, 100))])
    assert select_strict(frame, BASE, ORDER).n_features == 4
    frame = frame_of([(0.1, 8, (175, 150, 175, 100)), (0.2, 4, (170, 150, 175, 101))])
    assert select_strict(frame, BASE, ORDER).n_features == 4


def test_equal_sets_report_the_highest_threshold() -> None:
    rows = [(0.1, 4, (170, 150, 175, 120)), (0.2, 4, (170, 150, 175, 120))]
    for order in (rows, rows[::-1]):
        assert select_strict(frame_of(order), BASE, ORDER).threshold == 0.2


@pytest.mark.parametrize("select", [select_strict, select_relaxed])
def test_nothing_helps_gives_the_empty_set_and_the_baseline(select: object) -> None:
    assert callable(select)
    frame = frame_of([(0.1, 8, (170, 150, 175, 100)), (0.2, 0, (180, 180, 180, 180))])
    chosen: Selection = select(frame, BASE, ORDER)
    assert chosen.threshold is None
    assert (chosen.n_features, chosen.features.tolist()) == (0, [])
    assert (chosen.overall, chosen.worst) == (BASE.overall, BASE.worst)


def test_relaxed_allows_exactly_four_points_in_each_other_group() -> None:
    images = (100, 100, 100, 100)
    base = GroupCounts((90, 80, 95, 40), images)

    def one(rows: list[tuple[float, int, tuple[int, int, int, int]]]) -> Selection:
        frame = frame_of(rows).with_columns(pl.lit(100).alias(f"images_{g}") for g in range(4))
        return select_relaxed(frame, base, ORDER)

    assert one([(0.1, 9, (86, 76, 91, 70))]).n_features == 9  # four points everywhere
    assert one([(0.1, 9, (100, 75, 100, 90))]).n_features == 0  # five in one group
    # Overall may fall below the baseline, which the strict rule forbids.
    assert one([(0.1, 9, (86, 76, 91, 41))]).n_features == 9
    # The baseline's worst group counts, not the worst group after the edit.
    both = [(0.1, 9, (86, 76, 91, 95)), (0.2, 5, (90, 80, 95, 81))]
    assert one(both).n_features == 9
    ties = [(0.1, 9, (100, 100, 100, 60)), (0.2, 5, (90, 80, 95, 60))]
    assert one(ties).n_features == 5


def test_max_drop_means_what_is_written() -> None:
    images = (1000, 1000, 1000, 1000)
    base = GroupCounts((900, 900, 900, 500), images)
    for lost, kept in ((33, True), (34, False)):
        frame = frame_of([(0.1, 2, (900 - lost, 900, 900, 600))]).with_columns(
            pl.lit(1000).alias(f"images_{g}") for g in range(4)
        )
        chosen = select_relaxed(frame, base, ORDER, max_drop=3.3)
        assert (chosen.n_features == 2) is kept


counts4 = st.tuples(*[st.integers(90, 180)] * 4)


@settings(max_examples=200, deadline=None)
@given(counts4, st.lists(counts4, min_size=1, max_size=8))
def test_selection_against_brute_force(
    base: tuple[int, ...], rows: list[tuple[int, int, int, int]]
) -> None:
    baseline = GroupCounts(base, IMAGES)
    table = [(0.1 / (i + 1), i, row) for i, row in enumerate(rows, start=1)]
    frame = frame_of(table)

    def overall(c: tuple[int, ...]) -> Fraction:
        return Fraction(sum(c), 720)

    def worst(c: tuple[int, ...]) -> Fraction:
        return Fraction(min(c), 180)

    # Strict: among all candidates and the empty set (the baseline), by sum, then size.
    allowed = [(0, base)] + [
        (size, c) for _, size, c in table if overall(c) >= overall(base) and worst(c) >= worst(base)
    ]
    size, best = min(allowed, key=lambda item: (-(overall(item[1]) + worst(item[1])), item[0]))
    chosen = select_strict(frame, baseline, ORDER)
    assert chosen.n_features == size == len(chosen.features)
    assert chosen.overall >= baseline.overall
    assert chosen.worst >= baseline.worst
    assert chosen.worst == pytest.approx(float(100 * worst(best)))

    group = min(range(4), key=lambda g: base[g])
    allowed = [(0, base)] + [
        (size, c)
        for _, size, c in table
        if all(Fraction(base[g] - c[g], 180) * 100 <= 4 for g in range(4) if g != group)
    ]
    size, best = min(allowed, key=lambda item: (-item[1][group], item[0]))
    chosen = select_relaxed(frame, baseline, ORDER)
    assert chosen.n_features == size
    if size:
        assert best[group] > base[group]
        assert all(100 * (base[g] - best[g]) / 180 <= 4 + 1e-9 for g in range(4) if g != group)
