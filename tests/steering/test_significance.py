"""Intervals and tests against brute force, published examples and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.significance import (
    Bounds,
    gain,
    group_counts,
    holm,
    mcnemar_exact,
    mean_difference,
    minimum_interval,
    paired,
    unpaired,
    wilson,
)

shares = st.integers(1, 700).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
tails = st.sampled_from([0.025, 0.025 / 4, 0.1, 0.001])


@given(shares, tails)
@settings(max_examples=60)
def test_wilson_is_scipys(pair: tuple[int, int], tail: float) -> None:
    expected = stats.binomtest(*pair).proportion_ci(1 - 2 * tail, method="wilson")
    assert wilson(*pair, tail) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_the_papers_baseline() -> None:
    low, high = wilson(140, 180)
    assert 100 * low == pytest.approx(71.16, abs=0.01)
    assert 100 * high == pytest.approx(83.24, abs=0.01)
    with pytest.raises(ValueError):
        wilson(0, 0)


@given(st.lists(shares, min_size=1, max_size=6))
@settings(max_examples=40)
def test_interval_of_the_minimum_by_its_definition(groups: list[tuple[int, int]]) -> None:
    bounds = [
        [stats.binomtest(*g).proportion_ci(level, method="exact") for g in groups]
        for level in (0.95, 1 - 2 * 0.025 / len(groups))
    ]
    low, high = minimum_interval(GroupCounts(*zip(*groups, strict=True)))
    assert low == pytest.approx(min(b.low for b in bounds[0]), abs=1e-12)
    assert high == pytest.approx(min(b.high for b in bounds[1]), abs=1e-12)
    assert low <= min(right / n for right, n in groups) <= high
    # groups without images change nothing
    padded = [(0, 0), *groups, (0, 0)]
    assert minimum_interval(GroupCounts(*zip(*padded, strict=True))) == (low, high)


def test_newcombes_published_examples() -> None:
    """Newcombe (1998), Table II, method 10: contrasts (a) and (e)."""
    for after, before, low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
    ):
        found = unpaired(after, before)
        assert found.low(0.025) == pytest.approx(low, abs=6e-5)
        assert found.high(0.025) == pytest.approx(high, abs=6e-5)


@given(shares, shares, tails)
@settings(max_examples=60)
def test_unpaired_bounds_are_the_formula_from_scipys_wilson(
    after: tuple[int, int], before: tuple[int, int], tail: float
) -> None:
    l1, u1 = stats.binomtest(*after).proportion_ci(1 - 2 * tail, method="wilson")
    l2, u2 = stats.binomtest(*before).proportion_ci(1 - 2 * tail, method="wilson")
    p1, p2 = after[0] / after[1], before[0] / before[1]
    found = unpaired(after, before)
    assert found.estimate == p1 - p2
    assert found.low(tail) == pytest.approx(
        p1 - p2 - math.sqrt((p1 - l1) ** 2 + (u2 - p2) ** 2), abs=1e-9
    )
    assert found.high(tail) == pytest.approx(
        p1 - p2 + math.sqrt((u1 - p1) ** 2 + (p2 - l2) ** 2), abs=1e-9
    )


def _likelihood_z(won: int, lost: int, n: int, difference: float) -> float:
    """The score statistic with the nuisance probability found by maximising the trinomial likelihood."""

    def log_likelihood(losing: float) -> float:
        cells = [
            (won, losing + difference),
            (lost, losing),
            (n - won - lost, 1 - 2 * losing - difference),
        ]
        return sum(k * math.log(p) if k else 0.0 for k, p in cells if k)

    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(200):  # golden section: the logarithm is concave
        third = (high - low) * (3 - math.sqrt(5)) / 2
        left, right = low + third, high - third
        if log_likelihood(left) < log_likelihood(right):
            low = left
        else:
            high = right
    losing = (low + high) / 2
    variance = n * (2 * losing + difference - difference**2)
    return (won - lost - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("won", "lost", "n"), [(10, 3, 180), (1, 0, 12), (40, 40, 180), (3, 77, 500), (90, 20, 111)]
)
def test_paired_bounds_are_where_the_score_test_just_rejects(won: int, lost: int, n: int) -> None:
    found = paired(won, lost, n)
    assert found.estimate == (won - lost) / n
    for tail in (0.025, 0.025 / 4):
        z = stats.norm.isf(tail)
        assert _likelihood_z(won, lost, n, found.low(tail)) == pytest.approx(z, rel=1e-4)
        assert _likelihood_z(won, lost, n, found.high(tail)) == pytest.approx(-z, rel=1e-4)
    assert found.p == pytest.approx(stats.norm.sf((won - lost) / math.sqrt(won + lost)))


def test_no_discordant_image_still_leaves_doubt() -> None:
    """Then the bound is z^2 / (n + z^2): the score test of none in n (Tango 1998)."""
    z = stats.norm.isf(0.025)
    for n in (1, 12, 180):
        found = paired(0, 0, n)
        assert found.high(0.025) == pytest.approx(z**2 / (n + z**2), rel=1e-9)
        assert found.low(0.025) == -found.high(0.025)
        assert (found.estimate, found.p) == (0, 0.5)


discordant = st.integers(1, 200).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n)).filter(
        lambda t: t[0] + t[1] <= t[2]
    )
)


def _bracketed(found: Bounds, tail: float) -> None:
    low, high = found.low(tail), found.high(tail)
    assert -1 - 1e-12 <= low <= found.estimate + 1e-12
    assert found.estimate - 1e-12 <= high <= 1 + 1e-12


@given(discordant, shares, shares, st.floats(1e-4, 0.49))
@settings(max_examples=60)
def test_p_values_and_bounds_agree(
    pairs: tuple[int, int, int], after: tuple[int, int], before: tuple[int, int], tail: float
) -> None:
    for found in (paired(*pairs), unpaired(after, before)):
        _bracketed(found, tail)
        if abs(found.p - tail) > 1e-9:
            assert (found.p < tail) == (found.low(tail) > 0)
    # what is gained one way is lost the other
    there, back = unpaired(after, before), unpaired(before, after)
    assert there.low(tail) == pytest.approx(-back.high(tail), abs=1e-12)
    assert there.p + back.p == pytest.approx(1, abs=1e-9)


trials = st.integers(2, 5).flatmap(
    lambda g: st.lists(
        st.tuples(st.integers(0, g - 1), st.booleans(), st.booleans()), min_size=2 * g, max_size=60
    )
)


@given(trials)
@settings(max_examples=50)
def test_gain_by_intersection_and_union(
    images: list[tuple[int, bool, bool]],
) -> None:
    """Every part by its own loop: the bound is the smallest, p the largest, the upper bound adjusted."""
    groups = np.array([g for g, _, _ in images])
    before, after = (np.array([row[i] for row in images]) for i in (1, 2))
    present = sorted(set(groups.tolist()))
    hardest = present[len(present) // 2]
    parts = []
    for g in present:
        mine = [row for row in images if row[0] == g]
        if g == hardest:
            won = sum(a and not b for _, b, a in mine)
            lost = sum(b and not a for _, b, a in mine)
            parts.append(paired(won, lost, len(mine)))
        else:
            known = [b for h, b, _ in images if h == hardest]
            parts.append(
                unpaired((sum(a for _, _, a in mine), len(mine)), (sum(known), len(known)))
            )
    found = gain(before, after, groups, hardest)
    assert found.gap.share == pytest.approx(
        min(after[groups == g].mean() for g in present) - before[groups == hardest].mean()
    )
    assert found.gap.low == min(part.low(0.025) for part in parts)
    assert found.gap.high == min(part.high(0.025 / len(parts)) for part in parts)
    assert found.p == max(part.p for part in parts)
    assert found.gap.low <= found.gap.share + 1e-12 <= found.gap.high + 2e-12
    if abs(found.p - 0.025) > 1e-9:
        assert (found.p < 0.025) == (found.gap.low > 0)


def test_a_gain_elsewhere_is_no_gain_of_the_minimum() -> None:
    """The worst group rises from 27 to 73 %, but another falls to 30: little is gained, and p says so."""
    groups = np.repeat([0, 1], 100)
    before = np.r_[np.arange(100) < 94, np.arange(100) < 27]
    after = np.r_[np.arange(100) < 30, np.arange(100) < 73]
    found = gain(before, after, groups, 1)
    assert mcnemar_exact(before[100:], after[100:]) < 1e-10
    assert found.gap.share == pytest.approx(0.03)
    assert found.gap.low < 0 < found.gap.high < 0.2
    assert found.p > 0.2


def brute_mcnemar(lost: int, won: int) -> float:
    """Both tails of a fair coin, by summing every outcome that is as unlikely or more."""
    n = lost + won
    chance = [math.comb(n, k) for k in range(n + 1)]
    return sum(c for c in chance if c <= chance[won]) / 2**n


@pytest.mark.parametrize("lost", range(6))
@pytest.mark.parametrize("won", [0, 1, 2, 6, 9])
def test_mcnemar_against_all_outcomes(lost: int, won: int) -> None:
    before = np.array([True] * lost + [False] * won + [True] * 7 + [False] * 5)
    after = np.array([False] * lost + [True] * won + [True] * 7 + [False] * 5)
    assert mcnemar_exact(before, after) == pytest.approx(brute_mcnemar(lost, won), rel=1e-12)
    assert mcnemar_exact(before, after) == mcnemar_exact(after, before)


def test_six_images_of_180_cannot_do_better_than_0031() -> None:
    before = np.zeros(180, dtype=bool)
    after = np.arange(180) < 6
    assert mcnemar_exact(before, after) == pytest.approx(0.03125)
    assert mcnemar_exact(before, before) == 1.0
    with pytest.raises(ValueError):
        mcnemar_exact(before, after[:-1])


@given(st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.3, 0.9, 1.0]), max_size=6))
@settings(max_examples=60)
def test_holm_is_the_closure_of_bonferroni(values: list[float]) -> None:
    """A test's adjusted p is the largest of Bonferroni's over all families that it is in."""
    found = holm(dict(enumerate(values)))
    for i in range(len(values)):
        families = (
            [values[j] for j in members]
            for size in range(1, len(values) + 1)
            for members in itertools.combinations(range(len(values)), size)
            if i in members
        )
        assert found[i] == pytest.approx(max(min(1.0, len(f) * min(f)) for f in families))
    assert len(found) == len(values)


def test_holm_of_a_textbook() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=40))
@settings(max_examples=40)
def test_mean_difference_is_students(values: list[float]) -> None:
    found = mean_difference(np.array(values))
    assert found.share == pytest.approx(sum(values) / len(values), abs=1e-12)
    if np.ptp(values) > 1e-6:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_one_image_says_nothing_of_a_mean() -> None:
    found = mean_difference(np.array([0.5]))
    assert (found.share, found.low, found.high) == (0.5, -1, 1)


def test_counts_of_rows_are_plain_loops() -> None:
    correct = np.array([[1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0]], dtype=bool)
    groups = np.array([0, 0, 2, 2, 3, 3])
    assert group_counts(correct, groups, 5) == [
        GroupCounts((1, 0, 2, 1, 0), (2, 0, 2, 2, 0)),
        GroupCounts((2, 0, 1, 0, 0), (2, 0, 2, 2, 0)),
    ]


def test_the_minimums_interval_covers_where_groups_are_equal() -> None:
    """Exactly, over all outcomes of two groups of 12: a percentile bootstrap would cover half of them."""
    n, p = 12, 0.7
    chance = stats.binom.pmf(np.arange(n + 1), n, p)
    covered = sum(
        chance[a] * chance[b]
        for a in range(n + 1)
        for b in range(n + 1)
        if (bounds := minimum_interval(GroupCounts((a, b), (n, n))))[0] <= p <= bounds[1]
    )
    assert covered > 0.95
