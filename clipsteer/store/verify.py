"""Looks at everything in a store: objects by their digests, records and pointers by their checks.

What is damaged is moved to quarantine/, and remade when it is next needed; damaged pointers are
mended from their copies, and copies from their pointers. Objects that were hashed lately and have
not been touched since are passed over, so that a large store can be verified bit by bit.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import ActionStore
from clipsteer.store.entries import TREE
from clipsteer.store.index import RecordIndex
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from clipsteer.store.peek import PeekObjects
from clipsteer.store.pointers import DamagedPointerError, Pointer, read_pointer, write_pointer
from clipsteer.store.reach import Trees
from clipsteer.store.roots import Root, pointer_of, pointers_of, read_or_heal, roots
from clipsteer.store.state import read_note, write_note

STATE = "clipsteer-verify.json"
# How long it counts that an object was hashed and found sound.
DAYS = 30.0

# Called with bytes hashed and bytes to hash.
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Missing:
    """An object that a record names and that is not here. Its action is executed when needed."""

    digest: str
    key: str
    step: str


@dataclass
class Result:
    """What `verify` found. `damaged` is in quarantine/ now; `faults` need a person."""

    checked: int = 0
    bytes: int = 0
    sound_lately: int = 0
    left: int = 0
    records: int = 0
    pointers: int = 0
    damaged: list[str] = field(default_factory=list)
    damaged_records: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was damaged or lost. What is missing is not: it may have been dropped."""
        return not (self.damaged or self.damaged_records or self.mended or self.faults)


def verify(
    root: str | os.PathLike[str],
    working_copy: Path | None = None,
    *,
    budget: float | None = None,
    everything: bool = False,
    tell: Tell = lambda done, total: None,
) -> Result:
    """Verify a store, and the pointers of `working_copy`.

    `budget`: stop hashing after so many seconds, those first that were longest not hashed;
    `everything`: hash also what was found sound in the last 30 days. Raises ClipsteerError where
    the store cannot be opened.
    """
    run = _Run(ObjectStore(root), working_copy, tell)
    end = None if budget is None else time.monotonic() + budget
    run.look_at_records()
    run.hash_objects(end, everything)
    run.look_at_pointers()
    run.look_for_outputs()
    return run.result


class _Run:
    def __init__(self, objects: ObjectStore, working_copy: Path | None, tell: Tell) -> None:
        self.objects, self.working_copy, self.tell = objects, working_copy, tell
        self.root = objects.root
        self.actions = ActionStore(self.root)
        self.result = Result()
        self.index: RecordIndex
        self.pointers: list[tuple[Path, Pointer]] = []

    def look_at_records(self) -> None:
        keys = list(self.actions.keys())
        self.index = RecordIndex(self.actions)
        known = {record["key"] for record in self.index.records()}
        self.result.records = len(known)
        self.result.damaged_records = [key for key in keys if key not in known]

    def hash_objects(self, end: float | None, everything: bool) -> None:
        state = read_note(self.root / STATE)
        kept: dict[str, Any] = {}
        due: list[tuple[float, str, int]] = []
        limit = time.time() - DAYS * 86400
        for digest in self.objects.digests():
            with contextlib.suppress(MissingObjectError):
                info = self.objects.use_file(digest, os.stat)
                when, *seen = state.get(digest, [0.0])
                if seen == [info.st_size, info.st_mtime_ns]:
                    kept[digest] = state[digest]
                    if when > limit and not everything:
                        self.result.sound_lately += 1
                        continue
                else:
                    when = 0.0
                due.append((when, digest, info.st_size))
        due.sort()
        total = sum(size for _, _, size in due)
        try:
            for number, (_, digest, size) in enumerate(due):
                if end is not None and time.monotonic() >= end:
                    self.result.left = len(due) - number
                    break
                self.tell(self.result.bytes, total)
                kept.pop(digest, None)
                if (seen := self.hash_object(digest)) is not None:
                    kept[digest] = [time.time(), *seen]
                self.result.checked += 1
                self.result.bytes += size
            self.tell(self.result.bytes, total)
        finally:
            # A store that we may only read is hashed from the start next time.
            with contextlib.suppress(ClipsteerError):
                write_note(self.root / STATE, kept)

    def hash_object(self, digest: str) -> list[int] | None:
        """Hash one object; its size and time if it is sound."""
        try:
            info = self.objects.use_file(digest, os.stat)
            self.objects.verify(digest)
            return [info.st_size, info.st_mtime_ns]
        except DamagedObjectError:
            self.result.damaged.append(digest)
        except MissingObjectError:
            pass  # removed just now
        except PermissionError:
            self.result.faults.append(
                f"object {digest} cannot be read (permission denied); ask its owner to make the "
                "store readable."
            )
        return None

    # ---- pointers

    def look_at_pointers(self) -> None:
        if self.working_copy is not None:
            for path in pointers_of(self.working_copy):
                try:
                    pointer, mended = read_or_heal(self.root, self.working_copy, path)
                except ClipsteerError as error:
                    self.result.faults.append(str(error))
                    continue
                self.note_pointer(path, pointer, mended)
        for root in roots(self.root):
            for copy in root.pointers():
                try:
                    self.note_pointer(copy, read_pointer(copy), False)
                except DamagedPointerError:
                    self.mend_copy(root, copy)
                except ClipsteerError as error:
                    self.result.faults.append(str(error))

    def mend_copy(self, root: Root, copy: Path) -> None:
        """Take a damaged copy from its pointer, if that is on this machine."""
        pointer = pointer_of(root, copy)
        try:
            if root.host != socket.gethostname():
                raise FileNotFoundError(root.host)
            found = read_pointer(pointer)
            write_pointer(copy, found)
        except (ClipsteerError, OSError):
            self.result.faults.append(
                f"{copy}: found a damaged copy of the pointer {root.host}:{pointer}, which is not "
                "here or damaged too. gc deletes nothing until that is settled: run the same "
                "command again in that folder, or, if the folder is no more, `store gc --forget "
                f"{root.id}`."
            )
        else:
            self.note_pointer(copy, found, True)

    def note_pointer(self, path: Path, pointer: Pointer, mended: bool) -> None:
        self.result.pointers += 1
        self.pointers.append((path, pointer))
        if mended:
            self.result.mended.append(str(path))

    # ---- what is named and not here

    def look_for_outputs(self) -> None:
        """Look for all that records and pointers name."""
        objects = PeekObjects(self.root)
        trees = Trees(objects)
        lost: dict[str, Missing] = {}
        for record in self.index.records():
            for output in record["outputs"].values():
                for digest in _deep(trees, output["digest"], output["kind"]):
                    if digest not in lost and not objects.exists(digest):
                        lost[digest] = Missing(digest, record["key"], record["step"])
        self.result.missing = list(lost.values())
        for path, pointer in self.pointers:
            outputs = [
                out for member in pointer.members.values() for out in member.outputs.values()
            ]
            named = {d: None for out in outputs for d in _deep(trees, out.digest, out.kind)}
            orphans = [d for d in named if d not in lost and not objects.exists(d)]
            if orphans:
                more = f" and {len(orphans) - 1} more" if len(orphans) > 1 else ""
                self.result.faults.append(
                    f"{path}: names the object {orphans[0]}{more}, not in the store, and no action "
                    "is on record that made it. Delete the pointer and run the same command again."
                )


def _deep(trees: Trees, digest: str, kind: str) -> Iterator[str]:
    yield digest
    if kind == TREE:
        yield from trees.below(digest)
