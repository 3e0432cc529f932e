"""What a person asks of a store: which actions are on record, and all about one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lineage.graph import Node
from clipsteer.store.actions import ActionStore, Record
from clipsteer.store.digest import ALGORITHM
from clipsteer.store.entries import TREE
from clipsteer.store.index import RecordIndex
from clipsteer.store.objects import DamagedObjectError, MissingObjectError
from clipsteer.store.peek import PeekObjects
from clipsteer.store.pointers import DamagedPointerError, read_pointer
from clipsteer.store.reach import Trees
from clipsteer.store.roots import pointers_of
from clipsteer.store.trees import StoreTree

# How keys and digests may be written, cut short or whole.
PREFIX = re.compile(rf"(?:{ALGORITHM}:)?([0-9a-f]{{4,64}})")
_SHOWN = 10


@dataclass(frozen=True)
class Listed:
    """An action on record. `bytes` of its outputs; `missing`: how many objects are not here."""

    key: str
    step: str
    label: str
    began: str
    seconds: float
    bytes: int
    objects: int
    missing: int


def listing(root: Path, step: str | None = None) -> list[Listed]:
    """The actions on record (of one step), the newest last. Raises ClipsteerError for no such step."""
    records = RecordIndex(ActionStore(root)).records()
    steps = {record["step"] for record in records}
    if step is not None and step not in steps:
        raise ClipsteerError(
            f"--step {step}: found no such step on record, expected one of "
            f"{', '.join(sorted(steps)) or '(none)'}.{close_match(step, steps)}"
        )
    objects = PeekObjects(root)
    trees = Trees(objects)
    rows = []
    for record in records:
        if step in (None, record["step"]):
            named: set[str] = set()
            for output in record["outputs"].values():
                named.add(output["digest"])
                if output["kind"] == TREE:
                    named |= trees.below(output["digest"]).keys()
            node = Node(record, {})
            rows.append(
                Listed(
                    key=node.key,
                    step=record["step"],
                    label=node.label.removeprefix(record["step"]).strip(),
                    began=str(node.run.get("began", "")),
                    seconds=float(node.run.get("seconds", 0.0)),
                    bytes=sum(output["size"] for output in record["outputs"].values()),
                    objects=len(named),
                    missing=sum(not objects.exists(digest) for digest in named),
                )
            )
    return sorted(rows, key=lambda row: (row.began, row.key))


class Names:
    """Finds actions and objects by the first digits of their keys and digests."""

    def __init__(self, root: Path) -> None:
        self.objects, self.actions = PeekObjects(root), ActionStore(root)
        self.index = RecordIndex(self.actions)
        self._records = {record["key"]: record for record in self.index.records()}

    def record(self, key: str) -> Record:
        """A record that `find` has found."""
        return self._records[key]

    def find(self, text: str) -> tuple[str, str]:
        """("action", key) or ("object", digest). Raises ClipsteerError for none and for several.

        Objects that only a record names are found too.
        """
        match = PREFIX.fullmatch(text)
        if match is None:
            raise ClipsteerError(
                f"{text}: found something else, expected the key of an action or the digest of an "
                f"object: [{ALGORITHM}:] and 4 to 64 hexadecimal digits. `store ls` lists the keys."
            )
        prefix = f"{ALGORITHM}:{match[1]}"
        named = {o["digest"] for r in self._records.values() for o in r["outputs"].values()}
        found = [("action", key) for key in sorted(self._records) if key.startswith(prefix)]
        for digest in sorted(named.union(self.objects.digests())):
            if digest.startswith(prefix):
                found.append(("object", digest))
        if len(found) == 1:
            return found[0]
        if not found:
            raise ClipsteerError(
                f"{text}: found no action and no object that begins like this in "
                f"{self.objects.root}, expected one. `store ls` lists the keys."
            )
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        shown = ", ".join(f"{kind} {digest}" for kind, digest in found[:_SHOWN])
        raise ClipsteerError(
            f"{text}: fits {len(found)} names, expected one: {shown}{more}. Give more digits."
        )

    def makers(self, digest: str) -> Sequence[Record]:
        """The records that made an object: as an output, else as part of an output tree."""
        return self.index.producers(digest) or self.index.holders(digest, self.objects)


def about_record(names: Names, key: str) -> dict[str, Any]:
    """A record, and for each input who made it, for each output whether it is here."""
    record = names.record(key)
    node = Node(record, {})
    inputs = {}
    for name, digest in sorted(record["inputs"].items()):
        made = names.index.producers(digest)
        inputs[name] = {
            "digest": digest,
            "producers": [{"key": m["key"], "label": Node(m, {}).label} for m in made],
        }
    outputs = {
        name: {**output, "here": names.objects.exists(output["digest"])}
        for name, output in sorted(record["outputs"].items())
    }
    kept = ("key", "step", "script", "semantics", "code", "recipe", "facts")
    return {
        **{name: record[name] for name in kept if name in record},
        "kind": "action",
        "label": node.label,
        "run": dict(node.run),
        "inputs": inputs,
        "outputs": outputs,
    }


def about_object(names: Names, digest: str) -> dict[str, Any]:
    """An object's size, kind, entries and producers."""
    about: dict[str, Any] = {"digest": digest, "kind": "blob", "here": False, "bytes": None}
    try:
        about |= {"bytes": names.objects.size(digest), "here": True}
        entries = StoreTree(names.objects, digest).entries
        about["kind"] = "tree"
        about["entries"] = {name: entry._asdict() for name, entry in entries.items()}
    except (MissingObjectError, DamagedObjectError) as error:
        about |= {"here": False, "fault": str(error)}
    except ClipsteerError:
        pass  # no tree
    about["producers"] = [
        {"key": record["key"], "label": Node(record, {}).label} for record in names.makers(digest)
    ]
    return about


def named_in(working_copy: Path | None, records: Iterable[Record]) -> list[str]:
    """The pointers that name an output of one of these records, relative to their working copy."""
    digests = {out["digest"] for record in records for out in record["outputs"].values()}
    found: list[str] = []
    if working_copy is None or not digests:
        return found
    for path in pointers_of(working_copy):
        try:
            members = read_pointer(path).members.values()
        except DamagedPointerError:
            continue
        if any(out.digest in digests for member in members for out in member.outputs.values()):
            found.append(path.relative_to(working_copy).as_posix())
    return found
