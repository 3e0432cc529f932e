"""Intervals and tests on accuracies, all on one fixed set of images (docs/method.md, section 10).

The paper gives neither; Tables 5 to 8 show bare accuracies.

Accuracies here are shares in 0..1. Resampling is exact in its arithmetic (counts of images are
small integers), so results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LEVEL = 0.95
# Draws are made in blocks of about this many cells; the block size is part of the random stream.
_CELLS = 2**22


def wilson_interval(correct: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson score interval of the share correct / n. Raises ValueError for n = 0."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_exact(before: Bools, after: Bools) -> float:
    """Two-sided exact McNemar p-value of two models' correctness (N,) on the same images.

    A binomial test of the discordant images against one half; 1 where the two never differ.
    """
    from scipy.stats import binomtest

    if before.shape != after.shape:
        raise ValueError(f"shapes differ: {before.shape} and {after.shape}")
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    return float(binomtest(won, lost + won).pvalue) if lost + won else 1.0


def group_accuracies(correct: Bools, groups: NDArray[np.integer]) -> dict[int, Floats]:
    """Accuracy in each group that has images: group -> (R,) for correctness (R, N), groups (N,)."""
    return {
        int(group): correct[:, groups == group].sum(axis=1) / int((groups == group).sum())
        for group in np.unique(groups)
    }


def worst_group(correct: Bools, groups: NDArray[np.integer]) -> tuple[Floats, NDArray[np.int64]]:
    """Smallest group accuracy of each row (R,) and its group (R,); ties go to the smaller group."""
    shares = group_accuracies(correct, groups)
    names = np.array(list(shares), dtype=np.int64)
    table = np.stack(list(shares.values()))
    return table.min(axis=0), names[table.argmin(axis=0)]


def bootstrap_minima(
    correct: Bools, groups: NDArray[np.integer], *, draws: int = 2000, seed: int = 0
) -> Floats:
    """Worst-group accuracies (draws, R) of correctness (R, N) on resampled images.

    Each draw takes every group's images with replacement, as many as there are, and the same images
    for all rows, so that differences between columns are paired. A group's images do not depend on
    the other groups' sizes (its own stream, by seed and group).
    """
    minima = np.full((draws, len(correct)), np.inf)
    for group in np.unique(groups):
        hits = correct[:, groups == group].T.astype(np.float32)
        n = len(hits)
        rng = np.random.Generator(np.random.Philox(key=[seed, int(group)]))
        block = max(1, _CELLS // n)
        for start in range(0, draws, block):
            size = min(block, draws - start)
            chosen = rng.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
            counts = np.bincount(chosen.ravel(), minlength=size * n).reshape(size, n)
            # Whole numbers far below 2**24: exact in float32, in whatever order BLAS adds them.
            shares = (counts.astype(np.float32) @ hits).astype(np.float64) / n
            part = minima[start : start + size]
            np.minimum(part, shares, out=part)
    return minima


def percentile_interval(values: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Lower and upper percentile bound over the first axis."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return low, high


def bootstrap_worst(
    correct: Bools,
    groups: NDArray[np.integer],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the worst-group accuracy of correctness (N,)."""
    minima = bootstrap_minima(correct[None], groups, draws=draws, seed=seed)
    low, high = percentile_interval(minima, level)
    return float(low[0]), float(high[0])
