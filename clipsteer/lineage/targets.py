"""What a person may name a result by: a file, a pointer, an object's digest or an action's key."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.lineage.graph import Node, Source, Target, source_of
from clipsteer.lineage.listing import Names
from clipsteer.lineage.reasons import is_token
from clipsteer.store.actions import Record
from clipsteer.store.digest import ALGORITHM, digest_file
from clipsteer.store.entries import BLOB
from clipsteer.store.index import RecordIndex
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from clipsteer.store.pointers import Member, is_pointer, read_pointer

# An edited file is looked for among results below this size.
_LOOK_BELOW = 4 * 2**20
_SHOWN = 6
_FEWEST = 4  # digits of a name


def resolve(text: str, names: Names) -> Target:
    """The actions behind a file, a digest, a key, or the first 4 or more hex digits of these two.

    Raises ClipsteerError where there is no such thing, where no action on record made it (for a
    file: edited?), and where digits fit several.
    """
    path = Path(text)
    if path.is_file():
        return _file(path, text, names)
    digits = text.removeprefix(f"{ALGORITHM}:")
    if len(digits) < _FEWEST or not set(digits) <= set("0123456789abcdef"):
        raise ClipsteerError(
            f"{text}: found no such file, expected a result (results/...), a pointer "
            "(artifacts/refs/...json), the digest of an object or the key of an action. Check the "
            "path; if the result has not been made yet, make it with snakemake."
        )
    kind, digest = names.find(text)
    if kind == "action":
        return Target(text, {"": Source(digest, digest)})
    records = names.makers(digest)
    if not records:
        raise ClipsteerError(
            f"{text}: found an object that no action on record made, expected a result. "
            f"{_results(names.index.records())}"
        )
    return Target(text, {_output(records[0], digest): source_of(digest, records)})


def _file(path: Path, text: str, names: Names) -> Target:
    value = _json(path)
    if is_pointer(value):
        pointer = read_pointer(path)
        members = pointer.members.items()
        if not members:
            raise ClipsteerError(
                f"{text}: found a pointer of {pointer.step} with no members, expected one that stands "
                "for actions. Ask for a result."
            )
        made = {name: _member(text, pointer.step, name, m, names.index) for name, m in members}
        return Target(text, made)
    if is_token(value):
        raise ClipsteerError(
            f"{text}: found the token of a scan, expected a result: it stands for files of your "
            "own, which no action made. Ask for a result that depends on them."
        )
    digest = digest_file(path)
    records = names.makers(digest)
    if not records:
        raise _unknown(path, text, digest, names)
    return Target(text, {_output(records[0], digest): source_of(digest, records)})


def _output(record: Record, digest: str) -> str:
    """Which outputs of a record an object is; empty where it only is a file in one."""
    outputs = sorted(record["outputs"].items())
    return ", ".join(name for name, output in outputs if output["digest"] == digest)


def _member(text: str, step: str, name: str, member: Member, index: RecordIndex) -> Source:
    """The action that a pointer's member stands for."""
    digest = next((out.digest for out in member.outputs.values()), "")
    records = index.behind(step, member)
    if not records:
        raise ClipsteerError(
            f"{text}: found no action of the step {step} on record with the outputs of its member "
            f"{name!r}, expected one in {index.actions.root}. Is it from another store (--store)? "
            "Else run the command that made it again."
        )
    return source_of(digest, records, name)


# ---- a file that no action made


def _unknown(path: Path, text: str, digest: str, names: Names) -> ClipsteerError:
    records = names.index.records()
    near = _edited(path, records, names.objects)
    what = near or "it was edited since, made by other means, or its record is gone (gc)"
    return ClipsteerError(
        f"{text}: found bytes ({digest[:18]}...) that no action on record in {names.objects.root} "
        f"made: {what}. To have the recorded file back, run snakemake again; it keeps an edited "
        f"result as *.edited. {_results(records)}"
    )


def _edited(path: Path, records: Sequence[Record], objects: ObjectStore) -> str:
    """The result whose lines a file shares most of, in words; empty where there is none."""
    if path.stat().st_size > _LOOK_BELOW:
        return ""
    lines = _lines(path.read_bytes())
    best, found = 0, ""
    for record in _last(records):
        for name, output in sorted(record["outputs"].items()):
            if output["kind"] != BLOB or output["size"] > _LOOK_BELOW:
                continue
            try:
                theirs = _lines(objects.get_bytes(output["digest"]))
            except (MissingObjectError, DamagedObjectError):
                continue
            shared = (lines & theirs).total()
            if shared > best and 2 * shared > max(lines.total(), theirs.total()):
                differ = max(lines.total(), theirs.total()) - shared
                most = (
                    f"all but {differ} of its {lines.total()} lines are"
                    if differ
                    else "its lines are"
                )
                best, found = (
                    shared,
                    (
                        f"it was edited, {most} those of the output {name} of "
                        f"{Node(record, {}).label} ({record['key'][:18]}...)"
                    ),
                )
    return found


def _lines(data: bytes) -> Counter[bytes]:
    return Counter(data.splitlines())


def _last(records: Sequence[Record]) -> list[Record]:
    """The actions that no other action builds on: those whose outputs people read."""
    used = {digest for record in records for digest in record["inputs"].values()}
    return [
        record
        for record in records
        if not any(output["digest"] in used for output in record["outputs"].values())
    ]


def _results(records: Sequence[Record]) -> str:
    """Which results there are, in one sentence."""
    last = [Node(record, {}) for record in _last(records)]
    if not last:
        return "The store has no results yet."
    last.sort(key=lambda node: node.began, reverse=True)
    shown = [
        f"{node.label} ({', '.join(sorted(node.record['outputs']))}; {node.key[:18]}...)"
        for node in last[:_SHOWN]
    ]
    more = f" and {len(last) - _SHOWN} more" if len(last) > _SHOWN else ""
    return f"Results on record: {'; '.join(shown)}{more}."


def _json(path: Path) -> Any:
    """A small file's JSON object; None for anything else."""
    try:
        if os.path.getsize(path) > _LOOK_BELOW:
            return None
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
