"""How precisely a layer can be steered: Equations 6, 7 and 8 of the paper and Figure 7 (Section 6.1.2).

Over the sampled features F of a layer, with the S_f of one reading of Eq. 5:

    S                = mean S_f                                        Eq. 6
    share steerable  = mean [S_f > gamma]                              Eq. 7
    above beta       = number of features with S_f > beta              Eq. 8, #C
    perfect          = number of features with S_f > 0.9               Section 6.2.1
    coverage         = different concepts of steerable features / |V|  Figure 7, #C too

A concept is the word that a feature makes most probable. What is compared is a dictionary's features, neurons and
random directions: as they were sampled; as many of each; and as large a share of each basis, since a quarter of
49,152 features and of 768 neurons are not the same number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipsteer.steering.controls import resamples
from clipsteer.steering.significance import wilson

PERFECT = 0.9
Comparison = Literal["sample", "equal_number", "equal_share"]
COMPARISONS: tuple[Comparison, ...] = ("sample", "equal_number", "equal_share")
RESAMPLES = 1000
# Two-sided 95 % of a normal distribution.
_Z = 1.959963984540054

Floats = NDArray[np.float64]


class Thresholds(NamedTuple):
    """Of S_f."""

    gamma: float
    beta: float


class Sampled(NamedTuple):
    """The features of one basis at a layer, in the random order in which they were drawn: (n,)."""

    s: Floats
    concept: NDArray[np.int64]
    m: int | None
    """Size of the basis; None of random directions, which have none."""

    def first(self, n: int) -> Sampled:
        """A smaller sample."""
        return Sampled(self.s[:n], self.concept[:n], self.m)


class Estimate(NamedTuple):
    """A number with its 95 % interval over samples of features."""

    value: float
    low: float
    high: float


def layer_metrics(
    found: Sampled, thresholds: Thresholds, entries: int, seed: int
) -> dict[str, Estimate]:
    """S, share_steerable, above_beta, perfect and coverage of a sample; `entries` is |V|.

    Intervals are the bootstrap's percentiles over features. Of a share of none or of all, which is the same in every
    resample, they are Wilson's. Those of the coverage are the estimate and 1.96 standard deviations of the
    resampled ones: a resample leaves features out, so that its concepts are always fewer.
    """
    n = len(found.s)
    steerable, above, perfect = (found.s > limit for limit in (*thresholds, PERFECT))
    _, concept = np.unique(found.concept[steerable], return_inverse=True)

    def numbers(weight: Floats) -> list[float]:
        """Of the sample with each feature `weight` (n,) times in it."""
        there = np.bincount(concept, weights=weight[steerable]) > 0
        return [
            float(weight @ found.s) / n,
            float(weight[steerable].sum()) / n,
            float(weight[above].sum()),
            float(weight[perfect].sum()),
            float(there.sum()) / entries,
        ]

    own = numbers(np.ones(n))
    drawn = np.array(
        [
            numbers(np.bincount(chosen, minlength=n).astype(np.float64))
            for chosen in resamples(n, RESAMPLES, seed)
        ]
    )
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    for place, (count, scale) in enumerate(((steerable, 1), (above, n), (perfect, n)), start=1):
        if count.all() or not count.any():
            low[place], high[place] = (scale * bound for bound in wilson(int(count.sum()), n))
    spread = _Z * drawn[:, -1].std()
    low[-1], high[-1] = max(0.0, own[-1] - spread), min(1.0, own[-1] + spread)
    names = ("s", "share_steerable", "above_beta", "perfect", "coverage")
    bounds = zip(names, own, low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(value, below, above) for name, value, below, above in bounds}


def compared(
    bases: Mapping[str, Sampled], comparison: Comparison, random_as: int | None = None
) -> dict[str, Sampled]:
    """The samples of one layer, cut so that they can be compared.

    `equal_number`: as many of each as the smallest has. `equal_share`: of each basis the smallest share that was
    sampled of any; random directions stand for a basis of `random_as`, as far as there are so many.
    """
    if comparison == "sample":
        return dict(bases)
    if comparison == "equal_number":
        n = min(len(found.s) for found in bases.values())
        return {name: found.first(n) for name, found in bases.items()}
    shares = [len(found.s) / found.m for found in bases.values() if found.m is not None]
    share = min(shares, default=1.0)
    sizes = {name: found.m or random_as or len(found.s) for name, found in bases.items()}
    return {
        name: found.first(math.ceil(share * sizes[name] - 1e-9)) for name, found in bases.items()
    }


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's; None where one of the two is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (a, b)]
    if min(len(set(values.tolist())) for values in ranks) < 2:
        return None
    return float(np.corrcoef(*ranks)[0, 1])
