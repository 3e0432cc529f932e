"""Where to edit: the layer and dictionary with the best score on validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from clipsteer.steering.choose import CONDITIONS, Condition, Rule
from clipsteer.steering.counts import GroupCounts

Place = tuple[int, str]


def best_place(scores: Mapping[Place, Fraction] | Mapping[Place, float]) -> Place:
    """The (layer, dictionary) with the highest score; of equals the lower layer, then the earlier name.

    A place's score is that of what was chosen there (`score` of a `clipsteer.steering.choose.Rule`), an exact
    fraction, so that a tie is one. One rule for the headline and for its negative control. Raises ValueError
    for no scores at all.
    """
    return min(scores, key=lambda place: (-scores[place], place))


@dataclass(frozen=True)
class Choice:
    """Where one condition edits.

    `place` is None where nothing is edited anywhere; `hook_point` is its own, or else that of the first
    dictionary; `per_layer` has the best dictionary of each layer there.
    """

    place: Place | None
    hook_point: str
    per_layer: dict[int, str]


def choose_place(
    selections: Mapping[Place, Mapping[str, Any]],
    hooks: Mapping[str, str],
    condition: Condition,
    rule: Rule,
    unmodified: GroupCounts,
) -> Choice:
    """The best place of one condition by its rule's own score on validation, among sets that are not empty.

    `selections` is what select_features wrote at each place, `hooks` each dictionary's hook point,
    `unmodified` the unmodified model's counts on validation: the same for all places, so that scores are of
    one kind. Of each layer the best dictionary is named even where its set is empty.
    """
    scores = {
        place: rule.score(GroupCounts.from_dict(found[condition]["counts"]), unmodified)
        for place, found in selections.items()
    }
    filled = {p: score for p, score in scores.items() if selections[p][condition]["n_features"]}
    place = best_place(filled) if filled else None
    hook = hooks[(place or next(iter(scores)))[1]]
    here = {p: score for p, score in scores.items() if hooks[p[1]] == hook}
    layers = sorted({layer for layer, _ in here})
    best = {n: best_place({p: s for p, s in here.items() if p[0] == n})[1] for n in layers}
    return Choice(place, hook, best)


def first_choice(
    selections: Mapping[Place, Mapping[str, Any]],
    hooks: Mapping[str, str],
    rules: Mapping[Condition, Rule],
    unmodified: GroupCounts,
) -> tuple[Condition | None, Place]:
    """The condition and place that figures show: strict's own, or relaxed's where strict sets are empty everywhere.

    None and the first place where relaxed ones are, too.
    """
    for condition in CONDITIONS:
        choice = choose_place(selections, hooks, condition, rules[condition], unmodified)
        if choice.place is not None:
            return condition, choice.place
    return None, next(iter(selections))


def unmodified_counts(selections: Mapping[Place, Mapping[str, Any]]) -> GroupCounts:
    """The unmodified model's counts on validation, from what select_features wrote.

    Raises ValueError where two places differ: they were not made from one model's activations.
    """
    found = {GroupCounts.from_dict(s["unmodified"]["counts"]) for s in selections.values()}
    if len(found) != 1:
        raise ValueError(f"selections differ in the unmodified model's counts: {found}")
    return found.pop()
