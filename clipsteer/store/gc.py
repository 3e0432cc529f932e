"""Garbage collection: what nobody needs goes to trash/, and from there, days later, for good.

Kept is what the pointers in roots/ and recently used records reach (``reach.reach``), and whatever
is young. docs/store-protocol.md, section 9, says why nothing that anybody counts on is lost.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import ActionStore, parse_record
from clipsteer.store.attempts import is_dead
from clipsteer.store.digest import ALGORITHM
from clipsteer.store.durable import disk_errors, remove
from clipsteer.store.index import RecordIndex
from clipsteer.store.layout import ACTIONS, KEY, OBJECTS, QUARANTINE, SCRATCH, TMP, TRASH, open_root
from clipsteer.store.locks import try_lock
from clipsteer.store.peek import PeekObjects
from clipsteer.store.pointers import DamagedPointerError, read_pointer
from clipsteer.store.reach import Reached, Trees, reach
from clipsteer.store.roots import forget as forget_root
from clipsteer.store.roots import pointers_of, roots, stale, sync
from clipsteer.store.trash import Trash

DAY = 86400.0
LOCK = "clipsteer-gc.lock"
# No attempt at an action, and no checkpoint worth resuming, is older.
SCRATCH_DAYS = 30.0


@dataclass(frozen=True)
class Options:
    """What to keep, in days. Younger objects and records than ``grace`` are never moved.

    ``older_than``: records used more recently are kept with all that they reach; ``trash``: how
    long what was moved away can still come back; ``quarantine``: empty quarantine/ too.
    """

    older_than: float = 30.0
    grace: float = 1.0
    trash: float = 1.0
    quarantine: bool = False
    dry_run: bool = False
    forget: str | None = None
    working_copy: Path | None = None


@dataclass(frozen=True)
class Item:
    """A record or an object that nobody needs. ``step`` of a record; ``bytes`` of its file."""

    kind: str
    digest: str
    bytes: int
    step: str = ""


@dataclass
class Report:
    """What gc did, or in a dry run would have done."""

    dry_run: bool
    trashed: list[Item] = field(default_factory=list)
    brought_back: int = 0
    deleted: int = 0
    freed: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    young: int = 0
    young_bytes: int = 0
    temporary: int = 0
    temporary_bytes: int = 0


def collect(root: str | os.PathLike[str], options: Options | None = None) -> Report:
    """Remove what nobody needs.

    Raises ClipsteerError while another gc is going on, for a damaged copy in roots/ (what it names
    is not known, so nothing may be removed), for an unknown ``forget`` and for a disk that refuses.
    """
    options = options or Options()
    with contextlib.ExitStack() as stack:
        folder = open_root(root)
        now = time.time()
        if not options.dry_run:
            now = stack.enter_context(_lock(folder))
        with disk_errors(folder, KEY):
            return _Run(folder, options, now).collect()


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[float]:
    """Hold the lock that dies with the process; the time by the clock of the store's file system."""
    path = root / LOCK
    try:
        file = try_lock(path)
    except OSError as error:
        raise ClipsteerError(
            f"{path}: cannot be locked ({error.strerror}); expected a file system with locks, which "
            "gc needs so that only one runs. Run it on a machine that can, or mount with locks."
        ) from error
    if file is None:
        raise ClipsteerError(
            f"{path}: another gc is going on in this store; expected one at a time. Wait for it."
        )
    with file:
        os.utime(path)
        yield os.stat(path).st_mtime


class _Run:
    def __init__(self, root: Path, options: Options, now: float) -> None:
        self.options, self.now, self.root = options, now, root
        self.objects = PeekObjects(root)
        self.actions = ActionStore(root)
        self.index = RecordIndex(self.actions)
        self.trash = Trash(root)
        self.report = Report(options.dry_run)
        self.young = now - options.grace * DAY
        self.young_record = now - max(options.older_than, options.grace) * DAY

    def collect(self) -> Report:
        self.clear()  # first, as that needs no room on the disk
        if not self.options.dry_run:
            if self.options.forget is not None:
                forget_root(self.root, self.options.forget)
            if self.options.working_copy is not None:
                sync(self.root, self.options.working_copy)
            # Before anything moves, so that no older note says since when it is in trash/.
            self.trash.note(self.now)
        kept, _ = self.look()
        self.sift(kept)
        # Records first: once they are gone for good, nobody can come by their objects any more.
        records = {self.actions.relative(key) for key in kept.records}
        self.delete(name for name in self.trash.names if self.is_spare_record(name, records))
        # Once more: a record may have been used, or a pointer written, since the first look.
        kept, guarded = self.look()
        self.bring_back(kept)
        needed = {self.objects.relative(digest) for digest in guarded.objects}
        self.delete(name for name in self.trash.names if self.is_spare(name, needed))
        if not self.options.dry_run:
            self.trash.note(self.now)
        self.report.waiting = len(self.trash.names)
        self.report.waiting_bytes = sum(self.trash.size(name) for name in self.trash.names)
        return self.report

    # ---- what is needed

    def look(self) -> tuple[Reached, Reached]:
        """What the pointers and the young records reach, now; and what they and all records do.

        All: also those in trash/, as anybody may still bring them back and count on their objects.
        """
        outputs = list(self.pointed())
        self.index.refresh()
        records: dict[str, dict[str, Any]] = {r["key"]: r for r in self.index.records()}
        for key, record in self.trashed_records():
            records.setdefault(key, record)
        trees = Trees(self.objects, strict=True)
        young = [key for key in records if self.is_young(key)]
        return reach(trees, records, outputs, young), reach(trees, records, outputs, records)

    def pointed(self) -> Iterator[tuple[str, str]]:
        """Digest and kind of all that the roots' pointers name."""
        dropped: set[Path] = set()
        if self.options.dry_run and self.options.working_copy is not None:
            dropped = set(stale(self.root, self.options.working_copy))
            for pointer in pointers_of(self.options.working_copy):
                with contextlib.suppress(DamagedPointerError):
                    yield from _outputs(pointer)
        for root in roots(self.root):
            if root.id == self.options.forget:
                continue
            for copy in root.pointers():
                if copy not in dropped and copy.exists():
                    try:
                        yield from _outputs(copy)
                    except DamagedPointerError as error:
                        raise ClipsteerError(
                            f"{copy}: found a damaged copy of a pointer of {root.host}:{root.path}; "
                            "expected a sound one, to know what must be kept. Nothing was removed. "
                            "Run `store verify` in that folder, or, if it is no more, `store gc "
                            f"--forget {root.id}`."
                        ) from error

    def trashed_records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for relative in sorted(self.trash.names):
            if relative.startswith(ACTIONS + "/"):
                key = f"{ALGORITHM}:{relative[len(ACTIONS) : -len('.json')].replace('/', '')}"
                with contextlib.suppress(OSError):
                    record = parse_record((self.root / TRASH / relative).read_bytes(), key)
                    if record is not None:
                        yield key, record

    def is_young(self, key: str) -> bool:
        """Whether a record was used lately; in trash/: whether somebody is just about to use it."""
        try:
            return os.stat(self.actions.file(key)).st_mtime >= self.young_record
        except FileNotFoundError:
            return self.trash.used(self.actions.relative(key)) >= self.young

    # ---- what goes

    def sift(self, kept: Reached) -> None:
        """Move away every record and object that is neither kept nor young; records first."""
        for record in self.index.records():
            if record["key"] not in kept.records:
                relative = self.actions.relative(record["key"])
                self.take("record", record["key"], relative, self.young_record, record["step"])
        for digest in self.objects.digests():
            if digest not in kept.objects:
                self.take("object", digest, self.objects.relative(digest), self.young)

    def take(self, kind: str, digest: str, relative: str, limit: float, step: str = "") -> None:
        """Move one file away, unless it is younger than ``limit``, and count it."""
        with contextlib.suppress(FileNotFoundError):
            info = os.stat(self.root / relative)
            if info.st_mtime >= limit:
                self.report.young += 1
                self.report.young_bytes += info.st_size
            elif self.options.dry_run or self.trash.take(relative, limit):
                self.report.trashed.append(Item(kind, digest, info.st_size, step))

    # ---- what goes for good

    def is_due(self, relative: str) -> bool:
        """Whether a file has lain in trash/ for long enough."""
        return self.trash.since.get(relative, self.now) <= self.now - self.options.trash * DAY

    def is_spare_record(self, relative: str, needed: set[str]) -> bool:
        """Whether this is a record that may go for good."""
        if not relative.startswith(ACTIONS + "/") or not self.is_due(relative):
            return False
        return relative not in needed or self.trash.in_place(relative)

    def is_spare(self, relative: str, needed: set[str]) -> bool:
        """Whether this is anything but a record and may go for good: nothing can lead to it now."""
        if relative.startswith(ACTIONS + "/") or not self.is_due(relative):
            return False
        return relative not in needed or self.trash.in_place(relative)

    def bring_back(self, kept: Reached) -> None:
        """Bring back what is needed after all."""
        wanted = {self.actions.relative(key) for key in kept.records}
        wanted |= {self.objects.relative(digest) for digest in kept.objects}
        for relative in sorted(self.trash.names):
            # Young: set to now by somebody who was about to use it as we moved it here.
            young = relative.startswith(OBJECTS + "/") and self.trash.used(relative) >= self.young
            if (relative in wanted or young) and not self.trash.in_place(relative):
                self.report.brought_back += 1
                if not self.options.dry_run:
                    self.trash.give_back(relative)

    def delete(self, names: Iterable[str]) -> None:
        for relative in sorted(names):
            self.report.deleted += 1
            self.report.freed += self.trash.size(relative)
            if self.options.dry_run:
                self.trash.names.discard(relative)
            else:
                self.trash.delete(relative)

    def clear(self) -> None:
        """Remove what dead processes left, and quarantine/ where that is asked for."""
        limit = self.now - max(self.options.grace, SCRATCH_DAYS) * DAY
        for path in sorted((self.root / TMP).iterdir()):
            self.drop(path, self.young)
        for home in sorted((self.root / SCRATCH).iterdir()):
            if home.is_dir():
                for path in sorted(home.iterdir()):
                    self.drop(path, math.inf if is_dead(path.name) else limit)
                if not self.options.dry_run:
                    with contextlib.suppress(OSError):
                        home.rmdir()
            else:
                self.drop(home, limit)
        if self.options.quarantine:
            for path in sorted((self.root / QUARANTINE).iterdir()):
                self.drop(path, math.inf)

    def drop(self, path: Path, limit: float) -> None:
        """Remove a file or folder if nothing in it is younger than ``limit``."""
        size, newest = _measure(path)
        if newest < limit:
            self.report.temporary += 1
            self.report.temporary_bytes += size
            if not self.options.dry_run:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    remove(os.fspath(path))


def _outputs(pointer: Path) -> Iterator[tuple[str, str]]:
    for member in read_pointer(pointer).members.values():
        yield from ((output.digest, output.kind) for output in member.outputs.values())


def _measure(path: Path) -> tuple[int, float]:
    """Bytes in a file or folder, and the time of its youngest part. What goes meanwhile is young."""
    try:
        info = os.lstat(path)
        size, newest = info.st_size, info.st_mtime
        if path.is_dir() and not path.is_symlink():
            size = 0
            for child in path.iterdir():
                more, time_ = _measure(child)
                size, newest = size + more, max(newest, time_)
    except FileNotFoundError:
        return 0, math.inf
    return size, newest
