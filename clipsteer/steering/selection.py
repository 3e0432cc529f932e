"""Which features to ablate: Eq. 9 on a threshold grid, then one of its sets by a rule.

The sets F_tau are nested, so a sweep is one sort plus one evaluation per distinct prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from clipsteer.errors import ClipsteerError
from clipsteer.steering.choose import Candidate, Rule, choose
from clipsteer.steering.counts import GroupCounts, count_groups
from clipsteer.steering.feature_set import FeatureSet


def threshold_grid(low: float, high: float, points: int) -> np.ndarray:
    """`points` thresholds evenly spaced in log from `low` to `high` inclusive, (points,) float64.

    The paper's range is [1e-6, 1] (Section 7.1). Raises ClipsteerError for a range that has none.
    """
    if not (0 < low <= high < np.inf and points >= 1 and (points > 1 or low == high)):
        raise ClipsteerError(
            f"threshold grid: found low={low}, high={high}, points={points}; expected "
            "0 < low <= high and points >= 2 (or 1, with low equal to high)."
        )
    return np.asarray(np.geomspace(low, high, points), dtype=np.float64)


def by_difference(difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features by falling difference (m,), of equals the lower number first, and each one's rank from 1; (m,) int64."""
    order = np.argsort(-np.asarray(difference), kind="stable").astype(np.int64)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return order, rank


class Sweep(NamedTuple):
    """The nested sets of a threshold grid: F_tau is `order[:size]`.

    `order` (k,) int64: features by difference, largest first, ties by feature index, down to the
    lowest threshold. `thresholds` (K,) float64 and `sizes` (K,) int64 go together.
    """

    order: np.ndarray
    thresholds: np.ndarray
    sizes: np.ndarray

    @property
    def distinct(self) -> np.ndarray:
        """The different sizes, ascending: the prefixes that need an evaluation."""
        return np.unique(self.sizes)


def nested_sets(difference: np.ndarray, thresholds: np.ndarray) -> Sweep:
    """F_tau = { j : difference_j > tau } for every threshold (Eq. 9, strictly greater).

    `difference` (m,) float64 is E_{D_A} f_j - E_{D_notA} f_j. Raises ClipsteerError where it is
    not finite.
    """
    difference = np.asarray(difference, dtype=np.float64)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if not np.isfinite(difference).all():
        bad = int(np.flatnonzero(~np.isfinite(difference))[0])
        raise ClipsteerError(
            f"feature selection: the difference of feature {bad} is {difference[bad]}; expected "
            "finite numbers. Look for NaN in the activations or in the dictionary."
        )
    order, _ = by_difference(difference)
    ascending = np.sort(difference)
    sizes = len(ascending) - np.searchsorted(ascending, thresholds, side="right")
    largest = int(sizes.max()) if len(sizes) else 0
    return Sweep(order[:largest], thresholds, sizes.astype(np.int64))


def ranking_frame(sweep: Sweep, difference: np.ndarray) -> pl.DataFrame:
    """`rank` (1 = largest), `feature` and its `difference` (float64) for the features of `sweep.order`.

    `difference` (m,) is what the sweep was made from. Every F_tau, and so every selection, is the
    first `n_features` rows.
    """
    return pl.DataFrame(
        {
            "rank": np.arange(1, len(sweep.order) + 1),
            "feature": sweep.order,
            "difference": np.asarray(difference, dtype=np.float64)[sweep.order],
        }
    )


def sweep_frame(
    sweep: Sweep, predictions: np.ndarray, targets: np.ndarray, groups: np.ndarray, n_groups: int
) -> pl.DataFrame:
    """One row per threshold, from predictions (len(sweep.distinct), N).

    Columns: `threshold`, `n_features`, `overall`, `acc_<group>` (null for a group without images),
    `worst` (all in per cent), and the counts behind them, `correct_<group>`, `images_<group>`.
    Raises ValueError for another number of predictions.
    """
    distinct = sweep.distinct
    if len(predictions) != len(distinct):
        raise ValueError(f"{len(predictions)} rows of predictions for {len(distinct)} prefixes")
    counted = {
        int(size): count_groups(row, targets, groups, n_groups)
        for size, row in zip(distinct, predictions, strict=True)
    }
    rows = []
    for threshold, size in zip(sweep.thresholds.tolist(), sweep.sizes.tolist(), strict=True):
        counts = counted[size]
        rows.append(
            {
                "threshold": threshold,
                "n_features": size,
                "overall": counts.overall,
                **{f"acc_{g}": counts.accuracy(g) for g in range(n_groups)},
                "worst": counts.worst,
                **{f"correct_{g}": right for g, right in enumerate(counts.correct)},
                **{f"images_{g}": n for g, n in enumerate(counts.images)},
            }
        )
    floats = ["threshold", "overall", "worst", *(f"acc_{g}" for g in range(n_groups))]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(floats, pl.Float64))


def select(frame: pl.DataFrame, baseline: GroupCounts, order: np.ndarray, rule: Rule) -> FeatureSet:
    """The set that `rule` takes (Section 7.1; docs/method.md, section 8); empty where none gains.

    `frame` and `order` are from the same sweep. Ties go to the smaller set, and a set that several
    thresholds give is named by the highest.
    """
    best = choose(_candidates(frame), baseline, rule)
    if best is None:
        return FeatureSet(np.zeros(0, dtype=np.int64), None, baseline)
    threshold, size = best.what
    return FeatureSet(np.asarray(order[:size], dtype=np.int64), threshold, best.counts)


def _candidates(frame: pl.DataFrame) -> Iterator[Candidate[tuple[float, int]]]:
    """The sets that are not empty, as (threshold, number of features)."""
    groups = range(sum(name.startswith("correct_") for name in frame.columns))
    for row in frame.filter(pl.col("n_features") > 0).iter_rows(named=True):
        threshold, size = row["threshold"], row["n_features"]
        counts = GroupCounts(
            tuple(row[f"correct_{g}"] for g in groups), tuple(row[f"images_{g}"] for g in groups)
        )
        yield Candidate((size, -threshold), counts, (threshold, size))
