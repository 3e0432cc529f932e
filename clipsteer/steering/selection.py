"""Which features to ablate: Eq. 9 on a threshold grid, then the strict and relaxed rules.

The sets F_tau are nested, so a sweep is one sort plus one evaluation per distinct prefix.
Accuracies are compared as exact fractions of image counts: four images in 720 equal one in 180, and
a tie must be seen as a tie.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from clipsteer.errors import ClipsteerError

Condition = Literal["strict", "relaxed"]

N_GROUPS = 4  # group = 2 * target + spurious


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
    order = np.argsort(-difference, kind="stable")
    ascending = np.sort(difference)
    sizes = len(ascending) - np.searchsorted(ascending, thresholds, side="right")
    largest = int(sizes.max()) if len(sizes) else 0
    return Sweep(order[:largest].astype(np.int64), thresholds, sizes.astype(np.int64))


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


@dataclass(frozen=True)
class GroupCounts:
    """Correct predictions and images per group; accuracies follow exactly."""

    correct: tuple[int, ...]
    images: tuple[int, ...]

    @property
    def exact(self) -> dict[int, Fraction]:
        """Accuracy in 0..1 of each group that has images."""
        pairs = enumerate(zip(self.correct, self.images, strict=True))
        return {group: Fraction(right, n) for group, (right, n) in pairs if n}

    @property
    def exact_overall(self) -> Fraction:
        return Fraction(sum(self.correct), sum(self.images))

    @property
    def exact_worst(self) -> Fraction:
        return min(self.exact.values())

    @property
    def overall(self) -> float:
        """Per cent of all images."""
        return _per_cent(self.exact_overall)

    @property
    def worst(self) -> float:
        """Per cent in the group where it is lowest."""
        return _per_cent(self.exact_worst)

    @property
    def worst_group(self) -> int:
        """The group with the lowest accuracy; of equals, the first."""
        exact = self.exact
        return min(exact, key=lambda group: (exact[group], group))

    def accuracy(self, group: int) -> float | None:
        """Per cent in one group, None where it has no images."""
        return _per_cent(self.exact[group]) if self.images[group] else None


def count_groups(predictions: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> GroupCounts:
    """Counts of one prediction vector (N,) against the targets (N,), by group (N,) 0..3."""
    if not len(predictions) == len(targets) == len(groups):
        raise ValueError("predictions, targets and groups differ in length")
    if not len(groups):
        raise ClipsteerError(
            "accuracy: found no images to evaluate; expected at least one. Check that the split "
            "is not empty."
        )
    right = np.asarray(predictions) == np.asarray(targets)
    return GroupCounts(
        tuple(np.bincount(groups[right], minlength=N_GROUPS).tolist()),
        tuple(np.bincount(groups, minlength=N_GROUPS).tolist()),
    )


def sweep_frame(
    sweep: Sweep, predictions: np.ndarray, targets: np.ndarray, groups: np.ndarray
) -> pl.DataFrame:
    """One row per threshold, from predictions (len(sweep.distinct), N).

    Columns: `threshold`, `n_features`, `overall`, `acc_0`..`acc_3` (null for a group without
    images), `worst` (all in per cent), and the counts behind them, `correct_0`..`correct_3`,
    `images_0`..`images_3`.
    """
    distinct = sweep.distinct
    if len(predictions) != len(distinct):
        raise ValueError(f"{len(predictions)} rows of predictions for {len(distinct)} prefixes")
    counted = {
        int(size): count_groups(row, targets, groups)
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
                **{f"acc_{g}": counts.accuracy(g) for g in range(N_GROUPS)},
                "worst": counts.worst,
                **{f"correct_{g}": counts.correct[g] for g in range(N_GROUPS)},
                **{f"images_{g}": counts.images[g] for g in range(N_GROUPS)},
            }
        )
    floats = ["threshold", "overall", "worst", *(f"acc_{g}" for g in range(N_GROUPS))]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(floats, pl.Float64))


@dataclass(frozen=True, eq=False)
class Selection:
    """A feature set chosen on validation.

    `threshold` is None for the empty set; `features` (n_features,) int64 by falling difference;
    `overall` and `worst` are its validation accuracies in per cent (the baseline's where empty).
    """

    condition: Condition
    threshold: float | None
    features: np.ndarray
    n_features: int
    overall: float
    worst: float


def select_strict(frame: pl.DataFrame, baseline: GroupCounts, order: np.ndarray) -> Selection:
    """F_tau*: the largest sum of overall and worst-group accuracy (Section 7.1).

    Sets that lower either below the baseline are out; ties go to the smaller set, so a set that
    gains nothing loses to the empty one. `frame` and `order` are from the same sweep.
    """
    best, best_score = None, baseline.exact_overall + baseline.exact_worst
    for row, counts in _smallest_first(frame):
        if counts.exact_overall < baseline.exact_overall:
            continue
        if counts.exact_worst < baseline.exact_worst:
            continue
        score = counts.exact_overall + counts.exact_worst
        if score > best_score:
            best, best_score = (row, counts), score
    return _selection("strict", best, baseline, order)


def select_relaxed(
    frame: pl.DataFrame, baseline: GroupCounts, order: np.ndarray, *, max_drop: float = 4.0
) -> Selection:
    """F_tau': the highest accuracy of the baseline's worst group (Section 7.1).

    No other group may lose more than `max_drop` points (per cent of its own images; our reading of
    the paper's "4 %"). Ties go to the smaller set; empty where nothing helps.
    """
    allowed = Fraction(str(max_drop)) / 100  # as written in the config: 3.3 means 33/1000
    group, before = baseline.worst_group, baseline.exact
    best, best_score = None, before[group]
    for row, counts in _smallest_first(frame):
        now = counts.exact
        if any(before[g] - now[g] > allowed for g in before if g != group):
            continue
        if now[group] > best_score:
            best, best_score = (row, counts), now[group]
    return _selection("relaxed", best, baseline, order)


def _smallest_first(frame: pl.DataFrame) -> Iterable[tuple[dict[str, float], GroupCounts]]:
    """Non-empty sets by size; of equal sets the one at the highest threshold comes first."""
    rows = frame.filter(pl.col("n_features") > 0).sort(
        ["n_features", "threshold"], descending=[False, True]
    )
    for row in rows.iter_rows(named=True):
        yield (
            row,
            GroupCounts(
                tuple(row[f"correct_{g}"] for g in range(N_GROUPS)),
                tuple(row[f"images_{g}"] for g in range(N_GROUPS)),
            ),
        )


def _selection(
    condition: Condition,
    best: tuple[dict[str, float], GroupCounts] | None,
    baseline: GroupCounts,
    order: np.ndarray,
) -> Selection:
    if best is None:
        nothing = np.zeros(0, dtype=np.int64)
        return Selection(condition, None, nothing, 0, baseline.overall, baseline.worst)
    row, counts = best
    size = int(row["n_features"])
    features = np.asarray(order[:size], dtype=np.int64)
    return Selection(condition, row["threshold"], features, size, counts.overall, counts.worst)


def _per_cent(share: Fraction) -> float:
    return float(100 * share)
