"""The finding in a few numbers: one place a condition, chosen on validation, with what was lost there as well.

The frames are those of `clipsteer.steering.outcomes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.outcomes import NEURONS, RANDOM, TARGETED, Outcomes, outcomes
from clipsteer.steering.places import Place
from clipsteer.steering.significance import Floats, mean_difference

_OF_ROW = (
    *("threshold", "n_features", "overall", "overall_low", "overall_high"),
    *("worst", "worst_low", "worst_high", "worst_group"),
    *("p_gain", "p_worst_group", "p_overall"),
)


def finding(
    measured: pl.DataFrame, *, condition: str, hook_point: str, place: Place, n_groups: int
) -> dict[str, Any]:
    """What ablation does at one place: the numbers of `outcomes.measure` and the largest fall of any group.

    `groups_before` and `groups_after`: group -> accuracy in per cent; `largest_fall`: the group that loses
    most and how many points, None where none loses. Its one test is not adjusted for others: the
    place was chosen without the test images. Raises ValueError where the place is not among the rows.
    """
    layer, dictionary = place
    rows = measured.filter(
        pl.col("hook_point") == hook_point,
        pl.col("layer") == layer,
        pl.col("dictionary") == dictionary,
        pl.col("condition") == condition,
        pl.col("ablation") == TARGETED,
    )
    if len(rows) != 1:
        raise ValueError(
            f"{len(rows)} rows for {hook_point}, layer {layer}, {dictionary}, {condition}"
        )
    row = rows.row(0, named=True)
    before, after = (
        {g: row[f"acc_{when}_{g}"] for g in range(n_groups) if row[f"acc_{when}_{g}"] is not None}
        for when in ("before", "after")
    )
    return {
        "hook_point": hook_point,
        "layer": layer,
        "dictionary": dictionary,
        **{name: row[name] for name in _OF_ROW},
        "groups_before": before,
        "groups_after": after,
        "largest_fall": largest_fall(before, after),
        "gain": {"points": row["gain"], "low": row["gain_low"], "high": row["gain_high"]},
    }


def nothing_found(measured: pl.DataFrame, n_groups: int) -> dict[str, Any]:
    """The same where no place has a set that is not empty: the unmodified model, and no tests."""
    row = measured.row(0, named=True)
    groups = {g: row[f"acc_before_{g}"] for g in range(n_groups)}
    groups = {g: accuracy for g, accuracy in groups.items() if accuracy is not None}
    # below 0 where another group is the worst on test than on validation, as in the row of an empty set
    gain = row["baseline_worst"] - groups[row["worst_group_validation"]]
    return {
        **dict.fromkeys(("hook_point", "layer", "dictionary", *_OF_ROW)),
        "n_features": 0,
        "overall": row["baseline_overall"],
        "worst": row["baseline_worst"],
        "worst_group": row["baseline_worst_group"],
        "groups_before": groups,
        "groups_after": groups,
        "largest_fall": None,
        "gain": {"points": gain, "low": None, "high": None},
    }


def on_validation(selection: Mapping[str, Any], condition: str) -> dict[str, Any]:
    """The same of the images that the place was chosen on, from what select_features wrote.

    Before is the empty set on the same stored activations, which the choice compared with.
    """
    counts = [GroupCounts.from_dict(selection[name]["counts"]) for name in ("baseline", condition)]
    before, after = ({g: 100 * float(x) for g, x in c.exact.items()} for c in counts)
    return {
        "n_images": sum(counts[0].images),
        "overall_before": counts[0].overall,
        "overall_after": counts[1].overall,
        "groups_before": before,
        "groups_after": after,
        "largest_fall": largest_fall(before, after),
    }


def largest_fall(before: Mapping[int, float], after: Mapping[int, float]) -> dict[str, Any] | None:
    """The group that loses most, of equals the first, and how many points; None where none loses."""
    group = max(before, key=lambda g: (before[g] - after[g], -g))
    points = after[group] - before[group]
    return {"group": group, "points": points} if points < 0 else None


def comparisons(
    ablations: pl.DataFrame,
    images: pl.DataFrame,
    *,
    condition: str,
    hook_point: str,
    dictionary: str | None,
    per_layer: Mapping[int, str],
    hardest: int,
    n_groups: int,
) -> dict[str, Any]:
    """The targeted SAEs against both controls, in the group that is worst on validation (`hardest`).

    `sae_over_neurons` and `sae_over_random`: accuracy in that group under the targeted SAE's set minus that
    under the targeted neurons', and minus the mean over seeds under random features of the same SAE, averaged
    over layers, three times: over `all` dictionaries, for the `chosen` one, and for each layer's
    choice on validation (`per_layer`). A comparison without any layer is left out. In points; one
    number per image and Student's interval over the group's images.
    """
    here = (pl.col("hook_point") == hook_point) & (pl.col("condition") == condition)
    data = outcomes(ablations.filter(here), images, n_groups)
    own = data.groups == hardest
    layers = sorted(data.rows["layer"].unique().to_list())
    names = [
        d for d in data.rows["dictionary"].unique(maintain_order=True).to_list() if d != NEURONS
    ]
    scopes: dict[str, dict[int, list[str]]] = {"all": {number: names for number in layers}}
    if dictionary is not None:
        scopes["chosen"] = {number: [dictionary] for number in layers}
    if per_layer:
        scopes["per_layer"] = {number: [name] for number, name in per_layer.items()}
    found: dict[str, Any] = {"layers": layers, "dictionaries": names}
    for against in (NEURONS, RANDOM):
        gaps = {}
        for scope, choice in scopes.items():
            weights = _weights(data, choice, against)
            if weights is not None:
                # not a matrix product: its order of summation may depend on the number of threads
                each = (weights[:, None] * data.correct[:, own]).sum(axis=0)
                gaps[scope] = mean_difference(each).in_points()
        found[f"sae_over_{against}"] = gaps
    return found


def _weights(data: Outcomes, choice: dict[int, list[str]], against: str) -> Floats | None:
    """Weights (R,) of the mean over layers of what targeted ablation gains over the control.

    In a layer it is the mean over dictionaries of targeted minus control.
    """
    pairs: dict[int, list[tuple[int, NDArray[np.int64]]]] = {}
    for layer, names in choice.items():
        for name in names:
            ours = _where(data.rows, layer, name, TARGETED)
            control = (
                _where(data.rows, layer, NEURONS, TARGETED)
                if against == NEURONS
                else _where(data.rows, layer, name, RANDOM)
            )
            if len(ours) == 1 and len(control):
                pairs.setdefault(layer, []).append((int(ours[0]), control))
    if not pairs:
        return None
    weights = np.zeros(len(data.rows))
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
