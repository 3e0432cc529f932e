"""From predictions to accuracies with intervals and p-values: one row per ablation.

Two frames come in. `ablations` has one row per ablation with the columns of SETTING, `threshold`
(Float64, null for random and for an empty set), `n_features`, `seed` (null for targeted rows, the
control's seed for random ones) and `predictions` (List of integers, one class per test image in
manifest order). `images` has one row per test image in that order: `target`, `group`, `baseline`
(the unmodified model's own prediction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clipsteer.steering.significance import (
    Bools,
    Floats,
    bootstrap_minima,
    group_accuracies,
    mcnemar_exact,
    percentile_interval,
    wilson_interval,
    worst_group,
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
DRAWS = 2000


@dataclass(frozen=True)
class Trial:
    """Correctness of all ablations on the test images.

    `correct` (R, N), `baseline` (N,), `groups` (N,).
    """

    rows: pl.DataFrame
    correct: Bools
    baseline: Bools
    groups: NDArray[np.int64]


def trial(ablations: pl.DataFrame, images: pl.DataFrame) -> Trial:
    """Compare predictions with targets. Raises ValueError where their numbers differ."""
    lengths = set(ablations["predictions"].list.len().to_list())
    if lengths - {len(images)}:
        raise ValueError(f"predictions for {sorted(lengths)} images, expected {len(images)}")
    target = images["target"].to_numpy()
    predictions = ablations["predictions"].explode().to_numpy().reshape(len(ablations), -1)
    return Trial(
        rows=ablations.drop("predictions"),
        correct=predictions == target,
        baseline=images["baseline"].to_numpy() == target,
        groups=images["group"].cast(pl.Int64).to_numpy(),
    )


def measure(
    ablations: pl.DataFrame, images: pl.DataFrame, *, seed: int, draws: int = DRAWS
) -> pl.DataFrame:
    """One row per setting, in the order of first appearance.

    Targeted rows stay as they are, random rows are averaged. Adds, in per cent, `overall` with its
    Wilson 95 % interval (`overall_low`, `overall_high`), `worst` (smallest group accuracy) with a
    bootstrap interval over images (`worst_low`, `worst_high`, resampled within groups) and
    `worst_group`; the unmodified model's `baseline_overall`, `baseline_worst`,
    `baseline_worst_group`; exact McNemar p-values against its predictions, `p_value` on the images
    of its worst group and `p_value_overall` on all; `n_images`, `seed`, `random_seeds`.

    A random row holds means over its seeds, also of the bounds; its `worst_group` is the group with
    the smallest mean accuracy; p-values and `seed` are null. Raises ValueError for two targeted
    rows of one setting.
    """
    data = trial(ablations, images)
    n = len(images)
    worst, _ = worst_group(data.correct, data.groups)
    minima = bootstrap_minima(data.correct, data.groups, draws=draws, seed=seed)
    low, high = percentile_interval(minima)
    shares = group_accuracies(data.correct, data.groups)
    bounds = np.array([wilson_interval(int(row.sum()), n) for row in data.correct]).reshape(-1, 2)
    base_worst, base_group = worst_group(data.baseline[None], data.groups)
    hardest = data.groups == base_group[0]
    rows: list[dict[str, Any]] = []
    for setting, members in _members(data.rows):
        first = data.rows.row(members[0], named=True)
        targeted = first["ablation"] == TARGETED
        if targeted and len(members) > 1:
            raise ValueError(f"{len(members)} targeted rows for {setting}")
        after = data.correct[members[0]]
        rows.append(
            {
                **setting,
                "threshold": first["threshold"],
                "n_features": first["n_features"],
                "overall": 100 * data.correct[members].sum() / (n * len(members)),
                "overall_low": 100 * bounds[members, 0].mean(),
                "overall_high": 100 * bounds[members, 1].mean(),
                "worst": 100 * worst[members].mean(),
                "worst_low": 100 * low[members].mean(),
                "worst_high": 100 * high[members].mean(),
                "worst_group": min(shares, key=lambda g: (shares[g][members].mean(), g)),
                "baseline_overall": 100 * data.baseline.sum() / n,
                "baseline_worst": 100 * base_worst[0],
                "baseline_worst_group": int(base_group[0]),
                "p_value": mcnemar_exact(data.baseline[hardest], after[hardest])
                if targeted
                else None,
                "p_value_overall": mcnemar_exact(data.baseline, after) if targeted else None,
                "n_images": n,
                "seed": seed if targeted else None,
                "random_seeds": None if targeted else len(members),
            }
        )
    types = {"threshold": pl.Float64, "p_value": pl.Float64, "p_value_overall": pl.Float64}
    whole = {"seed": pl.Int64, "random_seeds": pl.Int64, "n_features": pl.Int64}
    return pl.DataFrame(rows, schema_overrides={**types, **whole})


def baseline_interval(
    images: pl.DataFrame, *, seed: int, draws: int = DRAWS
) -> tuple[float, float]:
    """Bootstrap 95 % interval of the unmodified model's worst-group accuracy, in per cent."""
    correct = (images["baseline"].to_numpy() == images["target"].to_numpy())[None]
    groups = images["group"].cast(pl.Int64).to_numpy()
    low, high = percentile_interval(bootstrap_minima(correct, groups, draws=draws, seed=seed))
    return 100 * float(low[0]), 100 * float(high[0])


@dataclass(frozen=True)
class Gap:
    """A difference of worst-group accuracies in points, with a paired bootstrap 95 % interval."""

    points: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"points": self.points, "low": self.low, "high": self.high}


def headline(
    ablations: pl.DataFrame,
    images: pl.DataFrame,
    *,
    hook_point: str,
    layer: int,
    dictionary: str,
    condition: str = "strict",
    per_layer: dict[int, str] | None = None,
    seed: int,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """The finding in a few numbers; layer and dictionary were chosen on validation by the caller.

    `gain`: targeted ablation at that place against the unmodified model, in worst-group points.
    `sae_over_neurons` and `sae_over_random`: the targeted SAE's worst-group accuracy minus the
    targeted neurons', and minus the mean over seeds of random features of the same SAE, averaged
    over layers, three times: over `all` dictionaries, for the `chosen` one, and, where `per_layer`
    gives each layer's choice on validation, for that (`per_layer`). A comparison without any layer
    is left out. Intervals resample images within groups, the same images for every row. All
    differences in points.

    Raises ValueError where the chosen place is not among the rows.
    """
    here = (pl.col("hook_point") == hook_point) & (pl.col("condition") == condition)
    part = ablations.filter(here)
    data = trial(part, images)
    rows = data.rows
    chosen = _where(rows, layer, dictionary, TARGETED)
    if len(chosen) != 1:
        raise ValueError(
            f"{len(chosen)} rows for {hook_point}, layer {layer}, {dictionary}, {condition}"
        )
    stacked = np.concatenate([data.correct, data.baseline[None]])
    worst, groups = worst_group(stacked, data.groups)
    minima = bootstrap_minima(stacked, data.groups, draws=draws, seed=seed)

    def gap(weights: Floats) -> Gap:
        low, high = percentile_interval((minima * weights).sum(axis=1))
        return Gap(100 * float((worst * weights).sum()), 100 * float(low), 100 * float(high))

    at, base = chosen[0], len(rows)
    weights = np.zeros(len(stacked))
    weights[at], weights[base] = 1.0, -1.0
    hardest = data.groups == groups[base]
    layers = sorted(rows["layer"].unique().to_list())
    names = [d for d in rows["dictionary"].unique(maintain_order=True).to_list() if d != NEURONS]
    scopes: dict[str, dict[int, list[str]]] = {
        "all": {number: names for number in layers},
        "chosen": {number: [dictionary] for number in layers},
    }
    if per_layer is not None:
        scopes["per_layer"] = {number: [name] for number, name in per_layer.items()}
    compared: dict[str, dict[str, dict[str, float]]] = {}
    for against in (NEURONS, RANDOM):
        found = {}
        for scope, choice in scopes.items():
            weights_of_gap = _gap_weights(rows, len(stacked), choice, against)
            if weights_of_gap is not None:
                found[scope] = gap(weights_of_gap).as_dict()
        compared[f"sae_over_{against}"] = found
    row = rows.row(at, named=True)
    return {
        "hook_point": hook_point,
        "layer": layer,
        "dictionary": dictionary,
        "condition": condition,
        "threshold": row["threshold"],
        "n_features": row["n_features"],
        "baseline_overall": 100 * float(data.baseline.mean()),
        "baseline_worst": 100 * float(worst[base]),
        "baseline_worst_group": int(groups[base]),
        "overall": 100 * float(data.correct[at].mean()),
        "worst": 100 * float(worst[at]),
        "worst_group": int(groups[at]),
        "gain": gap(weights).as_dict(),
        "p_value": mcnemar_exact(data.baseline[hardest], data.correct[at][hardest]),
        "p_value_overall": mcnemar_exact(data.baseline, data.correct[at]),
        "layers": layers,
        "dictionaries": names,
        "n_images": len(images),
        **compared,
    }


def _gap_weights(
    rows: pl.DataFrame, size: int, choice: dict[int, list[str]], against: str
) -> Floats | None:
    """Weights (size,) of the mean over layers of what targeted ablation gains over the control.

    In a layer it is the mean over dictionaries of targeted minus control.
    """
    pairs: dict[int, list[tuple[int, NDArray[np.int64]]]] = {}
    for layer, names in choice.items():
        for name in names:
            ours = _where(rows, layer, name, TARGETED)
            control = (
                _where(rows, layer, NEURONS, TARGETED)
                if against == NEURONS
                else _where(rows, layer, name, RANDOM)
            )
            if len(ours) == 1 and len(control):
                pairs.setdefault(layer, []).append((int(ours[0]), control))
    if not pairs:
        return None
    weights = np.zeros(size)
    for members in pairs.values():
        share = 1 / (len(pairs) * len(members))
        for ours_at, control in members:
            weights[ours_at] += share
            weights[control] -= share / len(control)
    return weights


def _where(rows: pl.DataFrame, layer: int, dictionary: str, ablation: str) -> NDArray[np.int64]:
    mask = (
        (rows["layer"] == layer)
        & (rows["dictionary"] == dictionary)
        & (rows["ablation"] == ablation)
    )
    return np.flatnonzero(mask.to_numpy()).astype(np.int64)


def _members(rows: pl.DataFrame) -> list[tuple[dict[str, Any], NDArray[np.int64]]]:
    """Row numbers of each setting, settings in the order of first appearance."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for number, key in enumerate(rows.select(SETTING).rows()):
        found.setdefault(key, []).append(number)
    return [
        (dict(zip(SETTING, key, strict=True)), np.array(numbers, dtype=np.int64))
        for key, numbers in found.items()
    ]
