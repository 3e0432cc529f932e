"""Intervals and tests against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.steering.significance import (
    bootstrap_minima,
    bootstrap_worst,
    group_accuracies,
    mcnemar_exact,
    percentile_interval,
    wilson_interval,
    worst_group,
)

Z = 1.959963984540054


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=60, deadline=None)
def test_wilson_bounds_are_where_the_score_test_just_rejects(pair: tuple[int, int]) -> None:
    correct, n = pair
    low, high = wilson_interval(correct, n)
    share = correct / n
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    for bound, open_end in ((low, correct == 0), (high, correct == n)):
        if not open_end:
            score = abs(share - bound) / math.sqrt(bound * (1 - bound) / n)
            assert score == pytest.approx(Z, rel=1e-6)


def test_wilson_of_the_papers_baseline() -> None:
    low, high = wilson_interval(140, 180)
    assert 100 * low == pytest.approx(71.16, abs=0.01)
    assert 100 * high == pytest.approx(83.24, abs=0.01)
    with pytest.raises(ValueError):
        wilson_interval(0, 0)


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


def test_group_accuracies_and_worst_group() -> None:
    correct = np.array([[1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0]], dtype=bool)
    groups = np.array([0, 0, 2, 2, 3, 3])
    shares = group_accuracies(correct, groups)
    assert {g: s.tolist() for g, s in shares.items()} == {0: [0.5, 1], 2: [1, 0.5], 3: [0.5, 0]}
    worst, where = worst_group(correct, groups)
    assert worst.tolist() == [0.5, 0.0]
    assert where.tolist() == [0, 3]  # a tie goes to the smaller group


def exact_minima(correct: np.ndarray, groups: np.ndarray) -> dict[tuple[float, ...], float]:
    """Probability of each tuple of worst-group accuracies, by going through all resamples."""
    per_group = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    found: dict[tuple[float, ...], float] = {}
    spaces = [list(itertools.product(index, repeat=len(index))) for index in per_group]
    total = math.prod(len(space) for space in spaces)
    for draw in itertools.product(*spaces):
        key = tuple(float(min(row[list(part)].mean() for part in draw)) for row in correct)
        found[key] = found.get(key, 0) + 1 / total
    return found


def test_bootstrap_has_the_exact_joint_distribution() -> None:
    correct = np.array([[1, 0, 1, 1, 0], [1, 1, 0, 1, 0]], dtype=bool)
    groups = np.array([0, 0, 0, 1, 1])
    exact = exact_minima(correct, groups)
    draws = 40_000
    minima = bootstrap_minima(correct, groups, draws=draws, seed=3)
    seen: dict[tuple[float, ...], int] = {}
    for row in minima:
        seen[tuple(row)] = seen.get(tuple(row), 0) + 1
    assert set(seen) == set(exact)
    for key, chance in exact.items():
        spread = math.sqrt(chance * (1 - chance) / draws)
        assert seen[key] / draws == pytest.approx(chance, abs=5 * spread)


def test_draws_are_paired_between_rows() -> None:
    rng = np.random.default_rng(0)
    row = rng.random(50) < 0.4
    one_group = np.zeros(50, dtype=np.int8)
    minima = bootstrap_minima(np.stack([row, row, ~row]), one_group, draws=100, seed=1)
    assert (minima[:, 0] == minima[:, 1]).all()
    assert np.allclose(minima[:, 0] + minima[:, 2], 1)
    assert minima[:, 0].std() > 0.02


def test_bootstrap_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    correct, groups = rng.random((3, 90)) < 0.6, np.repeat([0, 1, 3], 30)
    first = bootstrap_minima(correct, groups, draws=300, seed=1)
    assert (first == bootstrap_minima(correct, groups, draws=300, seed=1)).all()
    assert (first != bootstrap_minima(correct, groups, draws=300, seed=2)).any()
    # rows do not influence each other, nor do more draws change the earlier ones
    assert (first[:, 1:2] == bootstrap_minima(correct[1:2], groups, draws=300, seed=1)).all()


def test_blocks_of_draws_are_all_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipsteer.steering.significance._CELLS", 64)
    rng = np.random.default_rng(0)
    correct, groups = rng.random((2, 20)) < 0.5, np.repeat([0, 1], 10)
    minima = bootstrap_minima(correct, groups, draws=50, seed=1)  # blocks of 6, the last of 2
    assert np.isfinite(minima).all()
    assert len(np.unique(minima, axis=0)) > 10


def test_bootstrap_worst_is_the_percentile_interval() -> None:
    rng = np.random.default_rng(5)
    correct, groups = rng.random(400) < 0.7, np.repeat([0, 1, 2, 3], 100)
    low, high = bootstrap_worst(correct, groups, seed=2)
    minima = np.sort(bootstrap_minima(correct[None], groups, seed=2)[:, 0])
    assert low == pytest.approx(minima[50], abs=0.01)
    assert high == pytest.approx(minima[1949], abs=0.01)
    worst = worst_group(correct[None], groups)[0][0]
    assert low < worst < high


def test_percentile_interval_of_a_ramp() -> None:
    low, high = percentile_interval(np.linspace(0, 1, 2001)[:, None])
    assert (low[0], high[0]) == pytest.approx((0.025, 0.975))
