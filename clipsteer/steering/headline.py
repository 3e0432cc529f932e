"""The finding in a few numbers: one place a condition, chosen on validation, with what was lost there as well.

The frames are those of `clipsteer.steering.outcomes`. Groups are numbers here; `as_dict`, for JSON, has their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.outcomes import NEURONS, RANDOM, TARGETED, Outcomes, outcomes
from clipsteer.steering.places import Place
from clipsteer.steering.significance import Floats, Points, mean_difference

_OF_ROW = (
    *("threshold", "n_features", "overall", "overall_low", "overall_high"),
    *("worst", "worst_low", "worst_high", "worst_group"),
    *("p_gain", "p_worst_group", "p_overall"),
)


class Fall(NamedTuple):
    """The group that loses most of its accuracy, and how many points, below 0."""

    group: int
    points: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """Accuracy of each group that has images, in per cent, without and with an edit."""

    groups_before: Mapping[int, float]
    groups_after: Mapping[int, float]

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """The numbers, and the largest fall of any group, with groups by their names."""
        fall = largest_fall(self.groups_before, self.groups_after)
        named = {
            key: {names[group]: share for group, share in shares.items()}
            for key, shares in (
                ("groups_before", self.groups_before),
                ("groups_after", self.groups_after),
            )
        }
        lost = None if fall is None else {"group": names[fall.group], "points": fall.points}
        return {**asdict(self), **named, "largest_fall": lost}


@dataclass(frozen=True, kw_only=True)
class Finding(Change):
    """What ablation does at one place on test, as `outcomes.measure` has it.

    Its one test is not adjusted for others: the place was chosen without the test images. Where nothing is edited,
    place, intervals and tests are None.
    """

    hook_point: str | None
    layer: int | None
    dictionary: str | None
    threshold: float | None
    n_features: int
    overall: float
    overall_low: float | None
    overall_high: float | None
    worst: float
    worst_low: float | None
    worst_high: float | None
    worst_group: int
    p_gain: float | None
    p_worst_group: float | None
    p_overall: float | None
    gain: Points

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """For JSON."""
        named = {"worst_group": names[self.worst_group], "gain": self.gain._asdict()}
        return {**super().as_dict(names), **named}


@dataclass(frozen=True, kw_only=True)
class OnValidation(Change):
    """The same of the images that the place was chosen on; overall accuracy in per cent."""

    n_images: int
    overall_before: float
    overall_after: float


@dataclass(frozen=True)
class Comparisons:
    """The targeted SAEs against both controls, scope by scope, in points (`comparisons`)."""

    layers: list[int]
    dictionaries: list[str]
    sae_over_neurons: dict[str, Points]
    sae_over_random: dict[str, Points]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        gaps = {
            f"sae_over_{against}": {scope: gap._asdict() for scope, gap in found.items()}
            for against, found in ((NEURONS, self.sae_over_neurons), (RANDOM, self.sae_over_random))
        }
        return {"layers": self.layers, "dictionaries": self.dictionaries, **gaps}


def finding(
    measured: pl.DataFrame, *, condition: str, hook_point: str, place: Place, n_groups: int
) -> Finding:
    """What ablation does at one place. Raises ValueError where the place is not among the rows."""
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
    return Finding(
        hook_point=hook_point,
        layer=layer,
        dictionary=dictionary,
        groups_before=before,
        groups_after=after,
        gain=Points(row["gain"], row["gain_low"], row["gain_high"]),
        **{name: row[name] for name in _OF_ROW},
    )


def nothing_found(measured: pl.DataFrame, n_groups: int) -> Finding:
    """The same where no place has a set that is not empty: the unmodified model, and no tests."""
    row = measured.row(0, named=True)
    groups = {g: row[f"acc_before_{g}"] for g in range(n_groups)}
    groups = {g: accuracy for g, accuracy in groups.items() if accuracy is not None}
    # below 0 where another group is the worst on test than on validation, as in the row of an empty set
    gain = row["baseline_worst"] - groups[row["worst_group_validation"]]
    unmodified: dict[str, Any] = {
        **dict.fromkeys(("hook_point", "layer", "dictionary", *_OF_ROW)),
        "n_features": 0,
        "overall": row["baseline_overall"],
        "worst": row["baseline_worst"],
        "worst_group": row["baseline_worst_group"],
    }
    return Finding(
        groups_before=groups,
        groups_after=groups,
        gain=Points(gain, None, None),
        **unmodified,
    )


def on_validation(selection: Mapping[str, Any], condition: str) -> OnValidation:
    """What the choice saw of itself, of what select_features wrote.

    Before is the empty set on the same stored activations, which the choice compared with.
    """
    counts = [GroupCounts.from_dict(selection[name]["counts"]) for name in ("baseline", condition)]
    before, after = ({g: 100 * float(x) for g, x in c.exact.items()} for c in counts)
    return OnValidation(
        n_images=sum(counts[0].images),
        overall_before=counts[0].overall,
        overall_after=counts[1].overall,
        groups_before=before,
        groups_after=after,
    )


def largest_fall(before: Mapping[int, float], after: Mapping[int, float]) -> Fall | None:
    """The group that loses most, of equals the first, and how many points; None where none loses."""
    group = max(before, key=lambda g: (before[g] - after[g], -g))
    points = after[group] - before[group]
    return Fall(group, points) if points < 0 else None


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
) -> Comparisons:
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
    found = []
    for against in (NEURONS, RANDOM):
        gaps = dict[str, Points]()
        for scope, choice in scopes.items():
            weights = _weights(data, choice, against)
            if weights is not None:
                # not a matrix product: its order of summation may depend on the number of threads
                each = (weights[:, None] * data.correct[:, own]).sum(axis=0)
                gaps[scope] = mean_difference(each).in_points()
        found.append(gaps)
    return Comparisons(layers, names, *found)


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
