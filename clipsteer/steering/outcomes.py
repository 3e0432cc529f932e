"""From predictions to accuracies with intervals and p-values: one row per ablation.

Two frames come in. `ablations` has one row per ablation with the columns of SETTING, `threshold`
(Float64, null for random and for an empty set), `n_features`, `features` (List of integers, the set itself;
null for random), `seed` (null for targeted rows, the control's seed for random ones) and `predictions`
(List of integers, one class per test image in manifest order). `images` has one row per test image in that
order: `target`, `group`, `baseline` (the unmodified model's own prediction).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.significance import (
    Bools,
    gain,
    group_counts,
    holm,
    mcnemar_exact,
    minimum_interval,
    wilson,
)

NEURONS = "neurons"
TARGETED, RANDOM = "targeted", "random"
SETTING = (
    "hook_point",
    "layer",
    "dictionary",
    "trained_on",
    "ablation",
    "condition",
    "aggregate",
    "tokens",
    "error_term",
)


@dataclass(frozen=True)
class Outcomes:
    """Correctness of all ablations on the test images.

    `correct` (R, N), `baseline` (N,), `groups` (N,) 0..n_groups-1.
    """

    rows: pl.DataFrame
    correct: Bools
    baseline: Bools
    groups: NDArray[np.int64]
    n_groups: int

    @property
    def unmodified(self) -> GroupCounts:
        return group_counts(self.baseline[None], self.groups, self.n_groups)[0]


def outcomes(ablations: pl.DataFrame, images: pl.DataFrame, n_groups: int) -> Outcomes:
    """Compare predictions with targets. Raises ValueError where their numbers differ."""
    lengths = set(ablations["predictions"].list.len().to_list())
    if lengths - {len(images)}:
        raise ValueError(f"predictions for {sorted(lengths)} images, expected {len(images)}")
    target = images["target"].to_numpy()
    predictions = ablations["predictions"].explode().to_numpy().reshape(len(ablations), -1)
    return Outcomes(
        rows=ablations.drop("predictions"),
        correct=predictions == target,
        baseline=images["baseline"].to_numpy() == target,
        groups=images["group"].cast(pl.Int64).to_numpy(),
        n_groups=n_groups,
    )


def measure(
    ablations: pl.DataFrame, images: pl.DataFrame, *, n_groups: int, hardest: int
) -> pl.DataFrame:
    """One row per setting, in the order of first appearance.

    `hardest` is the group that is worst on **validation** for the unmodified model: tests are made where
    no test image had a say.

    Adds, accuracies in per cent: `overall` and the smallest group accuracy `worst`, each with a 95 % interval
    (`_low`, `_high`), and `worst_group`; `acc_after_<group>`, with one too; the unmodified model's `baseline_overall`,
    `baseline_worst`, `baseline_worst_group` and `acc_before_<group>` (null where a group has no images);
    `worst_group_validation`; `gain` in points with `gain_low` and `gain_high`, and `p_gain`
    (`clipsteer.steering.significance.gain`); exact McNemar p-values against the unmodified model's predictions, of
    the images of `worst_group_validation` (`p_worst_group`) and of all (`p_overall`);
    `p_worst_group_holm`, adjusted for all sets of the condition that are different and not empty; `n_images`,
    `random_seeds`.

    A random row holds means over its seeds, also of the bounds; its `worst_group` is the group with
    the smallest mean accuracy; its p-values are null. An empty set has no p-values and no interval of the
    gain: nothing is ablated. Raises ValueError for two targeted rows of one setting.
    """
    data = outcomes(ablations, images, n_groups)
    counts = group_counts(data.correct, data.groups, n_groups)
    before = data.unmodified
    fixed = {
        "baseline_overall": before.overall,
        "baseline_worst": before.worst,
        "baseline_worst_group": before.worst_group,
        "worst_group_validation": hardest,
        **{f"acc_before_{g}": before.accuracy(g) for g in range(n_groups)},
        "n_images": len(images),
    }
    rows: list[dict[str, Any]] = []
    families: dict[str, dict[Hashable, float]] = {}
    tests: list[tuple[str, Hashable] | None] = []
    for setting, members in _members(data.rows):
        first = data.rows.row(members[0], named=True)
        targeted = first["ablation"] == TARGETED
        if targeted and len(members) > 1:
            raise ValueError(f"{len(members)} targeted rows for {setting}")
        after = data.correct[members[0]]
        tested = targeted and first["n_features"] > 0
        found = _mean(
            [accuracies(data, counts[row], data.correct[row], hardest) for row in members]
        )
        tests.append(None)
        if tested:
            own = data.groups == hardest
            p = mcnemar_exact(data.baseline[own], after[own])
            # sets that are the same features of the same dictionary under another name predict the same
            same = (
                setting["hook_point"],
                setting["layer"],
                tuple(first["features"]),
                after.tobytes(),
            )
            families.setdefault(setting["condition"], {})[same] = p
            tests[-1] = (setting["condition"], same)
        else:
            p = None
        p_gain = found.pop("p_gain")
        if not first["n_features"]:
            found |= {"gain_low": None, "gain_high": None}
        accuracy = {g: found[f"acc_after_{g}"] for g in range(n_groups) if before.images[g]}
        rows.append(
            {
                **setting,
                "threshold": first["threshold"],
                "n_features": first["n_features"],
                **found,
                **fixed,
                "worst_group": min(accuracy, key=lambda g: (accuracy[g], g)),
                "p_gain": p_gain if tested else None,
                "p_worst_group": p,
                "p_overall": mcnemar_exact(data.baseline, after) if tested else None,
                "random_seeds": None if targeted else len(members),
            }
        )
    adjusted = {condition: holm(family) for condition, family in families.items()}
    for row, test in zip(rows, tests, strict=True):
        row["p_worst_group_holm"] = adjusted[test[0]][test[1]] if test else None
    floats = ("threshold", "gain_low", "gain_high", *(name for name in rows[0] if name[:2] == "p_"))
    per_group = (name for name in rows[0] if name.startswith("acc_"))
    types: dict[str, Any] = dict.fromkeys((*floats, *per_group), pl.Float64)
    whole = dict.fromkeys(("random_seeds", "n_features"), pl.Int64)
    return pl.DataFrame(rows, schema_overrides={**types, **whole}, infer_schema_length=None)


def accuracies(
    data: Outcomes, counts: GroupCounts, after: Bools, hardest: int
) -> dict[str, float | None]:
    """What is measured of one ablation, in per cent and points, and `p_gain`."""
    overall, minimum = (
        wilson(sum(counts.correct), sum(counts.images)),
        minimum_interval(counts),
    )
    found = gain(data.baseline, after, data.groups, hardest)
    points = found.gap.in_points()
    return {
        "overall": counts.overall,
        "overall_low": 100 * overall[0],
        "overall_high": 100 * overall[1],
        "worst": counts.worst,
        "worst_low": 100 * minimum[0],
        "worst_high": 100 * minimum[1],
        **{f"acc_after_{g}": counts.accuracy(g) for g in range(data.n_groups)},
        **{f"acc_after_{g}_{side}": bound for g, side, bound in _group_bounds(counts)},
        "gain": points.points,
        "gain_low": points.low,
        "gain_high": points.high,
        "p_gain": found.p,
    }


def _group_bounds(counts: GroupCounts) -> Iterator[tuple[int, str, float | None]]:
    """Wilson's interval of each group, in per cent: group, `low` or `high`, bound; None without images."""
    for group, (right, n) in enumerate(zip(counts.correct, counts.images, strict=True)):
        bounds = wilson(right, n) if n else (None, None)
        for side, bound in zip(("low", "high"), bounds, strict=True):
            yield group, side, None if bound is None else 100 * bound


def _mean(found: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Key by key; a group without images has no accuracy in any of them."""
    return {
        name: None if value is None else float(np.mean([other[name] for other in found]))
        for name, value in found[0].items()
    }


def unmodified_interval(images: pl.DataFrame, n_groups: int) -> tuple[float, float]:
    """95 % interval of the unmodified model's worst-group accuracy, in per cent."""
    correct = (images["baseline"].to_numpy() == images["target"].to_numpy())[None]
    (counts,) = group_counts(correct, images["group"].cast(pl.Int64).to_numpy(), n_groups)
    low, high = minimum_interval(counts)
    return 100 * low, 100 * high


def _members(rows: pl.DataFrame) -> list[tuple[dict[str, Any], NDArray[np.int64]]]:
    """Row numbers of each setting, settings in the order of first appearance."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for number, key in enumerate(rows.select(SETTING).rows()):
        found.setdefault(key, []).append(number)
    return [
        (dict(zip(SETTING, key, strict=True)), np.array(numbers, dtype=np.int64))
        for key, numbers in found.items()
    ]
