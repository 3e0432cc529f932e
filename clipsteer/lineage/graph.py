"""Where a result comes from: the graph of recorded actions from it down to raw files, config and code.

Only records are read: file bytes -> digest -> the record that names it as an output -> the digests of
its inputs -> their records, and so on. Where several actions gave the same bytes, one is taken
(`source_of`), and the keys of the others are kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clipsteer.lineage.reasons import code_of, is_token
from clipsteer.store.actions import Record
from clipsteer.store.index import RecordIndex

FORMAT = "clipsteer-lineage/1"


@dataclass(frozen=True)
class Source:
    """A digest and the action that made it; None where no action on record did.

    `also`: keys of other actions that gave the same bytes.
    """

    digest: str
    producer: str | None
    also: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"also": list(self.also), "digest": self.digest, "producer": self.producer}


@dataclass(frozen=True)
class Target:
    """What a lineage is asked for: a name for people, and actions by what of the target they made.

    The names in `made` are outputs of the action for a file or an object, members for a pointer,
    and empty for an action key.
    """

    name: str
    made: Mapping[str, Source]


@dataclass(frozen=True)
class Node:
    """An action of a lineage: its record, and where each of its inputs comes from."""

    record: Record
    inputs: Mapping[str, Source]

    @property
    def key(self) -> str:
        return str(self.record["key"])

    @property
    def run(self) -> Mapping[str, Any]:
        """When, where and how long: the free part of the record, without the code's material."""
        run = self.record.get("run")
        return {k: v for k, v in run.items() if k != "code"} if isinstance(run, dict) else {}

    @property
    def code(self) -> Mapping[str, Any]:
        """The code's material: modules, packages, python; empty where the record has none."""
        return code_of(self.record)

    @property
    def name(self) -> str:
        """The data set or dictionary that the action was about when it was computed."""
        return str(self.run.get("name") or "")

    @property
    def began(self) -> str:
        """When it began to be computed, in ISO format, UTC; empty where nobody knows."""
        return str(self.run.get("began") or "")

    @property
    def member(self) -> str:
        """Which of its step's actions it is, such as `topk/layer_03`; empty for the only one."""
        step = str(self.record["step"])
        return str(self.run.get("label") or step).removeprefix(step).strip()

    @property
    def label(self) -> str:
        """Step, name and member in words: `extract_activations celeba train/00000`."""
        name = "" if self.member.startswith(f"{self.name}/") else self.name
        return " ".join(filter(None, (str(self.record["step"]), name, self.member)))

    def raw(self) -> Iterator[dict[str, Any]]:
        """The user's own files that the action has read: name, the folder where it was, token."""
        recipe = self.record["recipe"]
        roots = self.run.get("roots") or {}
        for value in recipe.values() if isinstance(recipe, dict) else ():
            if is_token(value):
                folder = roots.get(self.name)
                yield {"folder": folder, "key": self.key, "name": self.name, "token": value}

    def as_json(self) -> dict[str, Any]:
        kept = ("key", "step", "script", "semantics", "recipe", "code", "outputs", "facts")
        return {
            **{name: self.record[name] for name in kept if name in self.record},
            "inputs": {name: source.as_json() for name, source in self.inputs.items()},
            "label": self.label,
            "material": dict(self.code),
            "run": dict(self.run),
        }


@dataclass(frozen=True)
class Lineage:
    """All actions that a target depends on, by key; each stands before the actions it depends on."""

    target: Target
    nodes: Mapping[str, Node] = field(default_factory=dict)

    def unknown(self) -> list[tuple[str, str, str]]:
        """(key, input name, digest) of every input that no action on record made."""
        return [
            (key, name, source.digest)
            for key, node in self.nodes.items()
            for name, source in sorted(node.inputs.items())
            if source.producer is None
        ]

    def raw(self) -> list[dict[str, Any]]:
        """The user's own files at the bottom, see `Node.raw`."""
        return [found for node in self.nodes.values() for found in node.raw()]

    def as_json(self) -> dict[str, Any]:
        """The whole graph, JSON-ready."""
        return {
            "actions": {key: node.as_json() for key, node in self.nodes.items()},
            "format": FORMAT,
            "raw": self.raw(),
            "target": {
                "made": {name: source.as_json() for name, source in self.target.made.items()},
                "name": self.target.name,
            },
            "unknown": [
                {"digest": digest, "input": name, "key": key}
                for key, name, digest in self.unknown()
            ],
        }


def lineage(target: Target, index: RecordIndex) -> Lineage:
    """Follow a target down through the records."""
    walk = _Walk(index)
    for source in target.made.values():
        if source.producer is not None:
            walk.visit(source.producer)
    return Lineage(target, dict(reversed(walk.nodes.items())))


def source_of(
    digest: str, records: Sequence[Record], name: str = "", reader: Record | None = None
) -> Source:
    """A digest with the records that made it, given and kept in order of their last use.

    `name` is the input's name and `reader` the action that has it; `name` may be a pointer's member
    too. Where several made the digest, the likeliest comes first: none that began after its reader
    did; then one whose member the name says or the reader shares, so that equal bytes of
    `topk/layer_00` and `vanilla/layer_00` are told apart.
    """
    above = Node(reader, {}) if reader is not None else None

    def unlikely(record: Record) -> tuple[bool, bool]:
        node = Node(record, {})
        too_late = above is not None and bool(above.began) and node.began > above.began
        said = f"/{name}".endswith(f"/{node.member}")
        shared = above is not None and above.member == node.member
        return too_late, not (node.member and (said or shared))

    keys = [str(record["key"]) for record in sorted(records, key=unlikely)]
    return Source(digest, keys[0] if keys else None, tuple(keys[1:]))


class _Walk:
    """Depth first; an action is finished when all that it depends on is."""

    def __init__(self, index: RecordIndex) -> None:
        self.index = index
        self.records = {str(record["key"]): record for record in index.records()}
        self.nodes: dict[str, Node] = {}
        self.above: set[str] = set()
        self.makers: dict[str, list[Record]] = {}

    def visit(self, key: str) -> None:
        if key in self.nodes:
            return
        self.above.add(key)
        record = self.records[key]
        inputs = {}
        for name, digest in sorted(record["inputs"].items()):
            # An action may give back the bytes of an input: it did not make that input.
            records = [r for r in self._producers(digest) if r["key"] not in self.above]
            inputs[name] = source = source_of(digest, records, name, record)
            if source.producer is not None:
                self.visit(source.producer)
        self.above.remove(key)
        self.nodes[key] = Node(record, inputs)

    def _producers(self, digest: str) -> list[Record]:
        if digest not in self.makers:
            made = self.index.producers(digest)
            self.records |= {str(record["key"]): record for record in made}
            self.makers[digest] = made
        return self.makers[digest]
