"""Intervals and tests on accuracies, all on one fixed set of images (docs/method.md, section 10).

The paper gives neither; Tables 5 to 8 show bare accuracies.

Accuracies here are shares in 0..1. Nothing is drawn at random: every bound is a formula, or the point
where one crosses a level. A bound's `tail` is the probability that it misses on its own side: 0.025 each
for an interval of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipsteer.steering.counts import GroupCounts

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

K = TypeVar("K")
TAIL = 0.025
# Halvings of an interval of width 2: the last is far below what a table shows.
_HALVINGS = 60
_LARGEST_Z = 64.0  # beyond it a normal tail is 0 in float64


class Points(NamedTuple):
    """A difference in points of per cent, with its 95 % interval where it has one."""

    points: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Gap:
    """A difference of accuracies with its 95 % interval, as shares."""

    share: float
    low: float
    high: float

    def in_points(self) -> Points:
        return Points(100 * self.share, 100 * self.low, 100 * self.high)


# ------------------------------------------------------------------------------------- one accuracy


def wilson(correct: int, n: int, tail: float = TAIL) -> tuple[float, float]:
    """Wilson score bounds of the share correct / n (Wilson 1927). Raises ValueError for n = 0."""
    return _wilson(correct, n, _z(tail))


def _wilson(correct: int, n: int, z: float) -> tuple[float, float]:
    if n <= 0:
        raise ValueError("no images")
    centre = (correct + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(correct * (n - correct) / n + z * z / 4)
    return (
        max(0.0, centre - half) if correct else 0.0,
        min(1.0, centre + half) if correct < n else 1.0,
    )


def clopper_pearson(correct: int, n: int, tail: float = TAIL) -> tuple[float, float]:
    """Exact bounds of the share correct / n (Clopper and Pearson 1934): neither misses more often than `tail`."""
    from scipy.special import betaincinv

    low = float(betaincinv(correct, n - correct + 1, tail)) if correct else 0.0
    return low, float(betaincinv(correct + 1, n - correct, 1 - tail)) if correct < n else 1.0


def minimum_interval(counts: GroupCounts) -> tuple[float, float]:
    """Interval of the smallest group accuracy: [min_g L_g, min_g U_g], of Clopper and Pearson's bounds.

    L_g are lower bounds at TAIL: the minimum is the accuracy of some group, and the smallest L is no
    larger than that group's. U_g are upper bounds at TAIL / G for G groups: all of them hold at once with
    the probability wanted (Bonferroni), and then the smallest holds for the minimum. With these exact
    bounds so does the whole; with Wilson's, groups near 100 % would miss more often (docs/intervals.md).
    """
    present = [(right, n) for right, n in zip(counts.correct, counts.images, strict=True) if n]
    low = min(clopper_pearson(right, n)[0] for right, n in present)
    return low, min(clopper_pearson(right, n, TAIL / len(present))[1] for right, n in present)


# ------------------------------------------------------------------------ two accuracies, and a gain


@dataclass(frozen=True)
class Bounds:
    """What is known of one difference of accuracies.

    `estimate`; `low(tail)` and `high(tail)`; `p`, the one-sided p-value of a difference of 0 or less:
    below a tail exactly where `low(tail)` is above 0.
    """

    estimate: float
    low: Callable[[float], float]
    high: Callable[[float], float]
    p: float


def unpaired(after: tuple[int, int], before: tuple[int, int]) -> Bounds:
    """after minus before, each (correct, images), of different images: Newcombe (1998), method 10.

    The two Wilson intervals, their distances to the estimates added as squares.
    """
    (right, n), (right_before, n_before) = after, before
    share, share_before = right / n, right_before / n_before

    def distance(z: float, up: bool) -> float:
        low, high = _wilson(right, n, z)
        low_before, high_before = _wilson(right_before, n_before, z)
        if up:
            return math.hypot(high - share, share_before - low_before)
        return math.hypot(share - low, high_before - share_before)

    difference = share - share_before
    # The z at which a bound is 0, of the lower one where the estimate is above 0, else of the upper.
    z = _crossing(lambda z: abs(difference) - distance(z, difference < 0), 0.0, _LARGEST_Z)
    return Bounds(
        difference,
        lambda tail: difference - distance(_z(tail), up=False),
        lambda tail: difference + distance(_z(tail), up=True),
        _upper_tail(math.copysign(z, difference) if difference else 0.0),
    )


def paired(won: int, lost: int, n: int) -> Bounds:
    """after minus before on the same n images, `won` right only after and `lost` only before: Tango (1998).

    The differences that the score test of paired proportions does not reject. Unlike Wald's interval
    it has a width where no image changes.
    """

    def low(won: int, lost: int, tail: float) -> float:
        wanted, estimate = _z(tail), (won - lost) / n
        return _crossing(lambda d: _tango(won, lost, n, d) - wanted, -1.0, estimate)

    return Bounds(
        (won - lost) / n,
        lambda tail: low(won, lost, tail),
        lambda tail: -low(lost, won, tail),
        _upper_tail(_tango(won, lost, n, 0.0)),
    )


def _tango(won: int, lost: int, n: int, difference: float) -> float:
    """The score statistic of paired proportions that differ by `difference`; it falls with it."""
    # `losing` is the most likely probability of an image to be lost, given the difference.
    linear = (2 * n - won + lost) * difference - won - lost
    constant = -lost * difference * (1 - difference)
    losing = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * losing + difference * (1 - difference))
    distance = won - lost - n * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


@dataclass(frozen=True)
class Gain:
    """The smallest group accuracy after, minus the accuracy before of one group, with a p-value."""

    gap: Gap
    p: float


def gain(before: Bools, after: Bools, groups: NDArray[np.integer], hardest: int) -> Gain:
    """min_g after(g) - before(k) with its interval, by intersection and union, k = `hardest`.

    Correctness (N,) before and after, groups (N,). The gain is above a value if all its parts
    after(g) - before(k) are, so its lower bound is their smallest, each at TAIL, and its p-value (of no
    gain, one-sided) their largest (Berger 1982): below TAIL exactly where the lower bound is above 0. It
    is at most any one part, so its upper bound is their smallest, each at TAIL / G for G groups. The part
    of k itself is paired, the others compare different images.

    k is to be chosen without these images. Where it is not the group that is worst before, the smallest
    accuracy before is lower still: the lower bound and the p-value hold for the gain of the minimum, too.
    """
    own = groups == hardest
    known = int(before[own].sum()), int(own.sum())
    parts = []
    for group in np.unique(groups):
        here = groups == group
        if group == hardest:
            won, lost = (after & ~before)[here].sum(), (before & ~after)[here].sum()
            parts.append(paired(int(won), int(lost), int(here.sum())))
        else:
            parts.append(unpaired((int(after[here].sum()), int(here.sum())), known))
    gap = Gap(
        min(part.estimate for part in parts),
        min(part.low(TAIL) for part in parts),
        min(part.high(TAIL / len(parts)) for part in parts),
    )
    return Gain(gap, max(part.p for part in parts))


def mean_difference(differences: Floats) -> Gap:
    """Mean of one number per image (n,) with Student's interval over images.

    For differences between averages of several models' correctness on the same images.
    """
    from scipy.special import stdtrit

    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Gap(mean, -1.0, 1.0)
    half = float(stdtrit(n - 1, 1 - TAIL) * differences.std(ddof=1) / math.sqrt(n))
    return Gap(mean, mean - half, mean + half)


# --------------------------------------------------------------------------------------------- tests


def mcnemar_exact(before: Bools, after: Bools) -> float:
    """Two-sided exact McNemar p-value of two models' correctness (N,) on the same images.

    A binomial test of the discordant images against one half; 1 where the two never differ. Raises
    ValueError for arrays of different shapes.
    """
    from scipy.stats import binomtest

    if before.shape != after.shape:
        raise ValueError(f"shapes differ: {before.shape} and {after.shape}")
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    return float(binomtest(won, lost + won).pvalue) if lost + won else 1.0


def holm(family: Mapping[K, float]) -> dict[K, float]:
    """Holm's (1979) adjusted p-values of a family of tests: the i-th smallest of m times m - i + 1.

    None is smaller than one before it, none above 1. Together they keep the chance of any false claim below
    the level.
    """
    adjusted: dict[K, float] = {}
    largest = 0.0
    for place, (name, p) in enumerate(sorted(family.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(family) - place) * p))
        adjusted[name] = largest
    return adjusted


# -------------------------------------------------------------------------------------------- groups


def group_counts(correct: Bools, groups: NDArray[np.integer], n_groups: int) -> list[GroupCounts]:
    """Counts of each row of correctness (R, N), groups (N,) 0..n_groups-1."""
    member = np.eye(n_groups, dtype=np.int64)[groups]
    images = tuple(member.sum(axis=0).tolist())
    rows: Sequence[Sequence[int]] = (correct.astype(np.int64) @ member).tolist()
    return [GroupCounts(tuple(row), images) for row in rows]


# --------------------------------------------------------------------------------- normal distribution


def _z(tail: float) -> float:
    from scipy.special import ndtri

    return -float(ndtri(tail))


def _upper_tail(z: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(-z))


def _crossing(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses 0 between `low` and `high`; the end it does not reach."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return low
