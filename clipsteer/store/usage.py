"""Where a store's bytes are: by step and by kind of object, and beside the objects; and how many there ever were."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import ActionStore
from clipsteer.store.entries import BLOB, TREE
from clipsteer.store.index import RecordIndex
from clipsteer.store.layout import ACTIONS, QUARANTINE, SCRATCH, TMP
from clipsteer.store.objects import MissingObjectError, ObjectStore
from clipsteer.store.peek import PeekObjects
from clipsteer.store.reach import Trees
from clipsteer.store.roots import roots
from clipsteer.store.state import read_note, write_note

PEAK = "peak.json"


@dataclass
class Amount:
    """Files and their bytes (as one reads them, not as the file system stores them)."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.bytes += size


@dataclass
class StepUsage:
    """What the results of one step take. `own`: the objects that no other step's results use."""

    records: int = 0
    missing: int = 0
    all: Amount = field(default_factory=Amount)
    own: Amount = field(default_factory=Amount)


@dataclass(frozen=True)
class Peak:
    """The most `bytes` of all objects, as far as they were looked at, and when they were counted (ISO 8601)."""

    bytes: int
    when: str


@dataclass
class Usage:
    """`unnamed`: objects that no record names; `kinds`: by kind, of those that one does."""

    objects: Amount = field(default_factory=Amount)
    steps: dict[str, StepUsage] = field(default_factory=dict)
    shared: Amount = field(default_factory=Amount)
    kinds: dict[str, Amount] = field(default_factory=dict)
    unnamed: Amount = field(default_factory=Amount)
    folders: dict[str, Amount] = field(default_factory=dict)
    roots: list[dict[str, str | int]] = field(default_factory=list)
    peak: Peak | None = None


def usage(root: Path) -> Usage:
    """Measure a store. Raises ClipsteerError where it cannot be opened."""
    objects = ObjectStore(root)
    found = Usage(kinds={BLOB: Amount(), TREE: Amount()}, peak=read_peak(objects.root))
    sizes: dict[str, int] = {}
    for digest in objects.digests():
        with contextlib.suppress(FileNotFoundError):  # gc is at work
            sizes[digest] = os.stat(objects.root / objects.relative(digest)).st_size
            found.objects.add(sizes[digest])

    trees = Trees(PeekObjects(root))
    users: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for record in RecordIndex(ActionStore(root)).records():
        found.steps.setdefault(record["step"], StepUsage()).records += 1
        for output in record["outputs"].values():
            below = trees.below(output["digest"]) if output["kind"] == TREE else {}
            kinds |= {output["digest"]: output["kind"], **below}
            for digest in (output["digest"], *below):
                users.setdefault(digest, set()).add(record["step"])
    for digest, steps in users.items():
        for step in steps:
            if digest not in sizes:
                found.steps[step].missing += 1
                continue
            found.steps[step].all.add(sizes[digest])
            if len(steps) == 1:
                found.steps[step].own.add(sizes[digest])
    for digest, size in sizes.items():
        if digest not in users:
            found.unnamed.add(size)
            continue
        found.kinds[kinds[digest]].add(size)
        if len(users[digest]) > 1:
            found.shared.add(size)
    for name in (ACTIONS, SCRATCH, TMP, QUARANTINE):
        found.folders[name] = _measure(objects.root / name)
    for known in roots(root):
        pointers = sum(1 for _ in known.pointers())
        found.roots.append(
            {"id": known.id, "host": known.host, "path": known.path, "pointers": pointers}
        )
    return found


def note_peak(objects: ObjectStore) -> int:
    """Bytes of all objects now, one `stat` each; noted where there were never more.

    To be called just before objects are removed, as that is when a store is largest.
    """
    total = 0
    for digest in objects.digests():
        with contextlib.suppress(MissingObjectError):  # somebody else removes as well
            total += objects.size(digest)
    before = read_peak(objects.root)
    if before is None or total > before.bytes:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with contextlib.suppress(ClipsteerError):  # a store that we may only read
            write_note(objects.root / PEAK, {"bytes": total, "when": now})
    return total


def read_peak(root: Path) -> Peak | None:
    """What was noted; None where nothing was, or where the note is damaged."""
    note = read_note(root / PEAK)
    return Peak(note["bytes"], note["when"]) if note else None


def _measure(folder: Path) -> Amount:
    amount = Amount()
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                amount.add(os.lstat(os.path.join(place, name)).st_size)
    return amount
