"""`results/<dataset>_headline.json`: the finding for programs; the summary says the same in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.steering.choose import rules
from clipsteer.steering.headline import comparisons, finding, nothing_found, on_validation
from clipsteer.steering.outcomes import outcomes
from clipsteer.steering.places import Place, choose_place, unmodified_counts

_GROUP = ("group", "worst_group")
_BY_GROUP = ("groups_before", "groups_after")


def headline(
    measured: pl.DataFrame,
    ablations: pl.DataFrame,
    images: pl.DataFrame,
    selections: Mapping[Place, Mapping[str, Any]],
    hooks: Mapping[str, str],
    *,
    steering: Mapping[str, Any],
    group_names: Sequence[str],
) -> dict[str, Any]:
    """Both conditions side by side, each at its own place chosen on validation, groups by name.

    Args:
        measured: of `clipsteer.steering.outcomes.measure`.
        ablations: what it was measured from.
        images: the test images.
        selections: what select_features wrote at each place of an SAE.
        hooks: each SAE's hook point.
        steering: the section of the configuration.
        group_names: by group number.
    """
    n_groups, unmodified = len(group_names), unmodified_counts(selections)
    hardest = unmodified.worst_group
    found: dict[str, Any] = {}
    for condition, rule in rules(steering).items():
        choice = choose_place(selections, hooks, condition, rule, unmodified)
        if choice.place is None:
            numbers = nothing_found(measured, n_groups)
        else:
            numbers = finding(
                measured,
                condition=condition,
                hook_point=choice.hook_point,
                place=choice.place,
                n_groups=n_groups,
            )
            numbers["validation"] = on_validation(selections[choice.place], condition)
        numbers |= comparisons(
            ablations,
            images,
            condition=condition,
            hook_point=choice.hook_point,
            dictionary=choice.place[1] if choice.place else None,
            per_layer=choice.per_layer,
            hardest=hardest,
            n_groups=n_groups,
        )
        numbers["per_layer"] = {
            "hook_point": choice.hook_point,
            "dictionaries": {str(layer): name for layer, name in choice.per_layer.items()},
        }
        found[condition] = _named(numbers, group_names)
    whole = outcomes(ablations, images, n_groups).unmodified
    return {
        "n_images": images.height,
        "strict_rule": steering["strict"],
        "strict_slack": steering["strict_slack"],
        "n_places": len(selections),
        "unmodified": {
            "overall": whole.overall,
            "worst": whole.worst,
            "worst_group": group_names[whole.worst_group],
            "groups": {group_names[g]: 100 * float(share) for g, share in whole.exact.items()},
        },
        "worst_group_validation": group_names[hardest],
        **found,
    }


def _named(found: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    """The same with the names of groups for their numbers, also inside its parts."""
    full: dict[str, Any] = {}
    for key, value in found.items():
        if key in _GROUP and value is not None:
            full[key] = groups[value]
        elif key in _BY_GROUP:
            full[key] = {groups[group]: share for group, share in value.items()}
        else:
            full[key] = _named(value, groups) if isinstance(value, Mapping) else value
    return full
