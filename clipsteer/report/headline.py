"""`results/<dataset>_headline.json`: the finding for programs; the summary says the same in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from clipsteer.steering.choose import Condition, rules
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.headline import (
    Comparisons,
    Finding,
    OnValidation,
    comparisons,
    finding,
    nothing_found,
    on_validation,
)
from clipsteer.steering.outcomes import outcomes
from clipsteer.steering.places import Choice, Place, choose_place, unmodified_counts


@dataclass(frozen=True)
class OfCondition:
    """What one condition found where it chose to edit; `validation` is None where that is nowhere."""

    choice: Choice
    finding: Finding
    validation: OnValidation | None
    comparisons: Comparisons

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """For JSON, with groups by their names."""
        seen = {} if self.validation is None else {"validation": self.validation.as_dict(names)}
        of_layers = {str(layer): name for layer, name in self.choice.per_layer.items()}
        per_layer = {"hook_point": self.choice.hook_point, "dictionaries": of_layers}
        found = {**self.finding.as_dict(names), **self.comparisons.as_dict()}
        return {**found, **seen, "per_layer": per_layer}


@dataclass(frozen=True)
class Headline:
    """Both conditions side by side, each at its own place chosen on validation.

    `unmodified` is counted on test; `hardest` is the group that is worst on validation.
    """

    n_images: int
    strict_rule: str
    strict_slack: int
    n_places: int
    unmodified: GroupCounts
    hardest: int
    conditions: Mapping[Condition, OfCondition]

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """For JSON, with groups by their names."""
        whole = self.unmodified
        return {
            "n_images": self.n_images,
            "strict_rule": self.strict_rule,
            "strict_slack": self.strict_slack,
            "n_places": self.n_places,
            "unmodified": {
                "overall": whole.overall,
                "worst": whole.worst,
                "worst_group": names[whole.worst_group],
                "groups": {names[g]: 100 * float(share) for g, share in whole.exact.items()},
            },
            "worst_group_validation": names[self.hardest],
            **{condition: found.as_dict(names) for condition, found in self.conditions.items()},
        }


def headline(
    measured: pl.DataFrame,
    ablations: pl.DataFrame,
    images: pl.DataFrame,
    selections: Mapping[Place, Mapping[str, Any]],
    hooks: Mapping[str, str],
    *,
    steering: Mapping[str, Any],
    n_groups: int,
) -> Headline:
    """The finding of both conditions.

    Args:
        measured: of `clipsteer.steering.outcomes.measure`.
        ablations: what it was measured from.
        images: the test images.
        selections: what select_features wrote at each place of an SAE.
        hooks: each SAE's hook point.
        steering: the section of the configuration.
        n_groups: how many groups the labels make.
    """
    unmodified = unmodified_counts(selections)
    hardest = unmodified.worst_group
    found: dict[Condition, OfCondition] = {}
    for condition, rule in rules(steering).items():
        choice = choose_place(selections, hooks, condition, rule, unmodified)
        here: dict[str, Any] = {
            "condition": condition,
            "hook_point": choice.hook_point,
            "n_groups": n_groups,
        }
        against = comparisons(
            ablations,
            images,
            dictionary=choice.place[1] if choice.place else None,
            per_layer=choice.per_layer,
            hardest=hardest,
            **here,
        )
        if choice.place is None:
            numbers, seen = nothing_found(measured, n_groups), None
        else:
            numbers = finding(measured, place=choice.place, **here)
            seen = on_validation(selections[choice.place], condition)
        found[condition] = OfCondition(choice, numbers, seen, against)
    return Headline(
        images.height,
        steering["strict"],
        steering["strict_slack"],
        len(selections),
        outcomes(ablations, images, n_groups).unmodified,
        hardest,
        found,
    )
