"""The difference between two lineages in words: each change once, with the places where it stands."""

from __future__ import annotations

from typing import Any

from clipsteer.cli.config_keys import config_key
from clipsteer.cli.words import count, fold, numbered, reason_words
from clipsteer.lineage.compare import Cause, Difference, origin
from clipsteer.lineage.graph import Node
from clipsteer.lineage.reasons import ABSENT, is_token

_PLACES = 3


def lines(found: Difference, full: bool) -> list[str]:
    """What differs, for people; `full`: every action, also those that merely follow."""
    names = f"{found.a.target.name} -> {found.b.target.name}"
    if found.equal:
        return [f"{names}: the same {count(found.same, 'action')}, nothing differs"]
    said = [names]
    for words, causes in _grouped(found).items():
        said += [f"  {words}", *(f"      {place}" for place in _places(causes, full))]
    only_a, only_b = (len(side.nodes) - found.same for side in (found.a, found.b))
    follow = len(found.consequences)
    said.append(
        f"{count(only_a, 'action')} only in A, {only_b} only in B, {found.same} in both; of the pairs "
        f"that differ, {follow} merely follow" + ("s" if follow == 1 else "")
    )
    if full:
        said += [f"  follows: {found.b.nodes[b].label}  {a} -> {b}" for a, b in found.consequences]
    return said


def as_json(found: Difference) -> dict[str, Any]:
    """The difference, JSON-ready; causes in the config with the config's own key."""
    value = found.as_json()
    for entry, cause in zip(value["causes"], found.causes, strict=True):
        node, reason = _node(found, cause), cause.reason
        known = config_key(node.record["step"], node.name, reason.name)
        entry["config_key"] = (known or None) if reason.kind == "config" else None
    return value


def _node(found: Difference, cause: Cause) -> Node:
    return found.b.nodes[cause.b] if cause.b else found.a.nodes[cause.a or ""]


def _grouped(found: Difference) -> dict[str, list[Cause]]:
    """Causes by what they say."""
    grouped: dict[str, list[Cause]] = {}
    one_sided: dict[tuple[str, str], list[Cause]] = {}
    for cause in found.causes:
        reason, node = cause.reason, _node(found, cause)
        if reason.kind != "input" or is_token(reason.old) or is_token(reason.new):
            script = str(node.record.get("script", ""))
            words = reason_words(reason, node.record["step"], node.name, script)
        elif ABSENT in (reason.old, reason.new):
            side = "B" if reason.old == ABSENT else "A"
            one_sided.setdefault((side, cause.label), []).append(cause)
            continue
        else:
            words = f"input {_without_number(reason.name)}: {_made(found, cause)}"
        grouped.setdefault(words, []).append(cause)
    for (side, _), causes in one_sided.items():
        names = "; ".join(fold(cause.reason.name for cause in causes))
        grouped.setdefault(f"only in {side}: {names}", []).extend(causes)
    return grouped


def _made(found: Difference, cause: Cause) -> str:
    """Where an input comes from on each side: outputs of steps, or of nobody."""
    name = cause.reason.name
    sources = [
        (side, side.nodes[key or ""].inputs[name])
        for side, key in ((found.a, cause.a), (found.b, cause.b))
    ]
    (step_a, names_a), (step_b, names_b) = (origin(*source) for source in sources)
    if not step_a and not step_b:
        return "other bytes, which no action on record made"
    plain_a, plain_b = (", ".join(sorted({*map(_without_number, n)})) for n in (names_a, names_b))
    if (step_a, plain_a) == (step_b, plain_b):  # they differ in the number only
        plain_a, plain_b = (", ".join(sorted(names)) for names in (names_a, names_b))
    sides = ((plain_a, step_a), (plain_b, step_b))
    return " -> ".join(f"{plain} of {step}" if step else "(not on record)" for plain, step in sides)


def _without_number(name: str) -> str:
    return numbered(name)[0].rstrip("/")


def _places(causes: list[Cause], full: bool) -> list[str]:
    if full:
        return [f"{cause.label}  {cause.a} -> {cause.b}" for cause in causes]
    folded = fold(cause.label for cause in causes)
    more = f" and {len(folded) - _PLACES} more" if len(folded) > _PLACES else ""
    return ["; ".join(folded[:_PLACES]) + more]
