"""Where a store's bytes are: by step and by kind of object, and beside the objects."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from clipsteer.store.actions import ActionStore
from clipsteer.store.entries import BLOB, TREE
from clipsteer.store.index import RecordIndex
from clipsteer.store.layout import ACTIONS, QUARANTINE, SCRATCH, TMP, TRASH
from clipsteer.store.objects import ObjectStore
from clipsteer.store.peak import Peak, read_peak
from clipsteer.store.peek import PeekObjects
from clipsteer.store.reach import Trees
from clipsteer.store.roots import roots


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
    for name in (ACTIONS, TRASH, SCRATCH, TMP, QUARANTINE):
        found.folders[name] = _measure(objects.root / name)
    for known in roots(root):
        pointers = sum(1 for _ in known.pointers())
        found.roots.append(
            {"id": known.id, "host": known.host, "path": known.path, "pointers": pointers}
        )
    return found


def _measure(folder: Path) -> Amount:
    amount = Amount()
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                amount.add(os.lstat(os.path.join(place, name)).st_size)
    return amount
