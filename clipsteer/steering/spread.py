"""What the chosen sets of a place come to on test, for dictionaries that are compared with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.outcomes import TARGETED, outcomes
from clipsteer.steering.significance import gain
from clipsteer.tables import read_parquet

if TYPE_CHECKING:
    from clipsteer.runner.step import Run

MEASURES = ("n_features", "gain", "gain_low", "gain_high")
EFFECTS = ("recovery", "pair_collateral")


def columns() -> tuple[str, ...]:
    """Of each condition its measures: `relaxed_gain`."""
    return tuple(f"{condition}_{name}" for condition in CONDITIONS for name in MEASURES)


def effect_columns(n_classes: int) -> tuple[str, ...]:
    """What pairs say of a set, a number a target class each (`clipsteer.steering.pairs`): `recovery_0`."""
    return tuple(f"{name}_{number}" for name in EFFECTS for number in range(n_classes))


def gains_at(run: Run, member: str) -> dict[str, Any]:
    """`set_gains` of a place, from an action's inputs `selection/`, `ablation/` and `images/`; empty without them."""
    if f"selection/{member}" not in run.inputs:
        return {}
    ablation, images = (read_parquet(run.blob(f"{k}/{member}")) for k in ("ablation", "images"))
    return set_gains(run.json(f"selection/{member}"), ablation, images)


def effects_at(run: Run, member: str) -> dict[str, float | None]:
    """Of each condition what pairs say of a place's set, `relaxed_recovery_0`, from an action's inputs `recovery/`.

    Empty without them, and where no image has a pair.
    """
    if f"recovery/{member}" not in run.inputs:
        return {}
    return {
        f"{condition}_{name}": value
        for condition, measured in run.json(f"recovery/{member}").items()
        for name, value in measured.items()
        if name.startswith(EFFECTS)
    }


def set_gains(
    selection: Mapping[str, Any], ablation: pl.DataFrame, images: pl.DataFrame
) -> dict[str, Any]:
    """The `columns()` of one place, gains in points with their 95 % interval, as in the results table.

    `selection`, `ablation` and `images` are what `select_features` and `ablate_features` wrote there. An empty set
    leaves every prediction alone, so its gain has no interval.
    """
    unmodified = GroupCounts.from_dict(selection["unmodified"]["counts"])
    data = outcomes(ablation, images, len(unmodified.images))
    found: dict[str, Any] = {}
    for condition in CONDITIONS:
        own = (pl.col("ablation") == TARGETED) & (pl.col("condition") == condition)
        (row,) = np.flatnonzero(data.rows.select(own).to_series().to_numpy())
        size = selection[condition]["n_features"]
        points = gain(
            data.baseline, data.correct[row], data.groups, unmodified.worst_group
        ).gap.in_points()
        found |= {
            f"{condition}_n_features": size,
            f"{condition}_gain": points.points,
            f"{condition}_gain_low": points.low if size else None,
            f"{condition}_gain_high": points.high if size else None,
        }
    return found
