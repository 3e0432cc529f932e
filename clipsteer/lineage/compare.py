"""What differs between the lineages of two results: causes, and what merely follows from them.

Actions are paired by position: the targets first, then, input by input of the same name, the actions
that made them. So a dictionary's layer is compared with the same layer, a shard with the same shard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.lineage.graph import Lineage, Node, Source
from clipsteer.lineage.reasons import ABSENT, Reason, code_of, explain_change, is_token

FORMAT = "clipsteer-diff/1"


@dataclass(frozen=True)
class Cause:
    """A difference that stands at this place and is no consequence of another.

    `a`, `b`: keys of the two actions; None for a member of a pointer that is on one side only.
    """

    reason: Reason
    label: str
    a: str | None
    b: str | None


@dataclass
class Difference:
    """Causes in the order of the lineage; pairs of actions (A's key, B's) that differ in inputs only."""

    a: Lineage
    b: Lineage
    causes: list[Cause] = field(default_factory=list)
    consequences: list[tuple[str, str]] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.causes and not self.consequences

    @property
    def same(self) -> int:
        """How many actions the two lineages share."""
        return len(self.a.nodes.keys() & self.b.nodes.keys())

    def as_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return {
            "a": self.a.target.name,
            "b": self.b.target.name,
            "causes": [
                {**cause.reason.as_json(), "a": cause.a, "b": cause.b, "label": cause.label}
                for cause in self.causes
            ],
            "consequences": [
                {"a": a, "b": b, "label": self.b.nodes[b].label} for a, b in self.consequences
            ],
            "equal": self.equal,
            "format": FORMAT,
            "same": self.same,
        }


def compare(a: Lineage, b: Lineage) -> Difference:
    """What differs from A to B.

    Raises ClipsteerError where they are results of different steps, so that nothing pairs them.
    """
    made_a, made_b = a.target.made, b.target.made
    steps_a, steps_b = _steps(a), _steps(b)
    if not set(steps_a) & set(steps_b):
        raise ClipsteerError(
            f"{a.target.name} and {b.target.name}: found results of {', '.join(steps_a)} and of "
            f"{', '.join(steps_b)}, expected two results of one step. Compare two tables, or two "
            "pointers of one rule."
        )
    walk = _Pairs(Difference(a, b))
    if len(made_a) == len(made_b) == 1:  # whatever the one output or member is called
        walk.visit_sources(*made_a.values(), *made_b.values())
    else:
        for name in sorted(made_a.keys() | made_b.keys()):
            walk.member(name, made_a.get(name), made_b.get(name))
    return walk.found


def _steps(lineage: Lineage) -> list[str]:
    """The steps of the actions that made the target."""
    keys = [source.producer for source in lineage.target.made.values() if source.producer]
    return sorted({str(lineage.nodes[key].record["step"]) for key in keys})


class _Pairs:
    """One walk down both lineages at once; each pair of actions is compared once."""

    def __init__(self, found: Difference) -> None:
        self.found = found
        self.seen: set[tuple[str, str]] = set()

    def member(self, name: str, a: Source | None, b: Source | None) -> None:
        """Compare one member of two pointers."""
        if a and b:
            self.visit_sources(a, b)
            return
        reason = Reason("input", name, a.digest if a else ABSENT, b.digest if b else ABSENT)
        key_a, key_b = a.producer if a else None, b.producer if b else None
        self.found.causes.append(Cause(reason, "the pointer", key_a, key_b))

    def visit_sources(self, a: Source, b: Source) -> None:
        """Compare the actions that made two objects, where both are on record."""
        if a.producer and b.producer:
            self._visit(a.producer, b.producer)

    def _visit(self, key_a: str, key_b: str) -> None:
        if key_a == key_b or (key_a, key_b) in self.seen:
            return
        self.seen.add((key_a, key_b))
        a, b = self.found.a.nodes[key_a], self.found.b.nodes[key_b]
        causes, below = [], []
        for reason in _reasons(a, b):
            if reason.kind != "input" or is_token(reason.old) or is_token(reason.new):
                causes.append(reason)
                continue
            one, other = a.inputs.get(reason.name), b.inputs.get(reason.name)
            step_a, outputs_a = origin(self.found.a, one)
            step_b, outputs_b = origin(self.found.b, other)
            # Not the same place: on one side only, made by another step, or another of its outputs.
            if step_a != step_b or not outputs_a & outputs_b:
                causes.append(reason)
            if one and other and step_a == step_b:
                below.append((one, other))
        self.found.causes += [Cause(reason, b.label, key_a, key_b) for reason in causes]
        if not causes:
            self.found.consequences.append((key_a, key_b))
        for pair in below:
            self.visit_sources(*pair)


def _reasons(a: Node, b: Node) -> list[Reason]:
    record = b.record
    return explain_change(
        a.record,
        record["recipe"],
        code_of(record),
        record["inputs"],
        new_fingerprint=record["code"],
        new_semantics=record["semantics"],
    )


def origin(lineage: Lineage, source: Source | None) -> tuple[str, set[str]]:
    """The step that made an object, and which of its outputs it is; empty where nobody knows."""
    if source is None or source.producer is None:
        return "", set()
    record: Mapping[str, Any] = lineage.nodes[source.producer].record
    outputs = record["outputs"].items()
    return str(record["step"]), {n for n, out in outputs if out["digest"] == source.digest}
