"""Garbage collection: deletes objects that nobody needs now and that a record can make again.

Kept is what pointers and recently used records reach and what no record makes again
(`reach.reach`), and whatever is young. Records are never deleted, so a wrong guess costs time and
loses nothing. docs/store-protocol.md, section 9, says what holds while other processes work.
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import Record
from clipsteer.store.attempts import is_dead
from clipsteer.store.drop import drop
from clipsteer.store.durable import disk_errors, remove
from clipsteer.store.entries import TREE
from clipsteer.store.index import RecordIndex
from clipsteer.store.layout import KEY, LOCK, QUARANTINE, SCRATCH, TMP, open_root
from clipsteer.store.locks import held_lock
from clipsteer.store.peek import PeekActions, PeekObjects
from clipsteer.store.pointers import DamagedPointerError, Pointer, read_pointer
from clipsteer.store.reach import Trees, reach
from clipsteer.store.roots import forget as forget_root
from clipsteer.store.roots import peek_pointer, pointers_of, roots, stale, sync

DAY = 86400.0
# No attempt at an action, and no checkpoint worth resuming, is older.
SCRATCH_DAYS = 30.0


@dataclass(frozen=True)
class Options:
    """What to keep, in days. Objects that were made or read less than `grace` ago always are.

    `older_than`: what the records used more recently reach is kept (at least `grace`);
    `quarantine`: empty quarantine/ too; `working_copies`: their pointers count as they are now,
    those of all others as the store has them.
    """

    older_than: float = 30.0
    grace: float = 1.0
    quarantine: bool = False
    dry_run: bool = False
    forget: str | None = None
    working_copies: Sequence[Path] = ()


@dataclass(frozen=True)
class Item:
    """An object that nobody needs; `step`: of an action that makes it, or nothing."""

    digest: str
    bytes: int
    step: str


@dataclass
class Report:
    """What gc did, or in a dry run would have done. `refused`: what we may not delete."""

    dry_run: bool
    deleted: list[Item] = field(default_factory=list)
    freed: int = 0
    refused: int = 0
    young: int = 0
    young_bytes: int = 0
    temporary: int = 0
    temporary_bytes: int = 0


def collect(root: str | os.PathLike[str], options: Options | None = None) -> Report:
    """Delete what nobody needs, the least recently used first.

    Raises ClipsteerError where the file system has no locks, for a damaged copy in roots/ (what it
    names is not known, so nothing may be deleted), for an unknown `forget` and for a disk that
    refuses.
    """
    folder = open_root(root)
    with disk_errors(folder, KEY):
        return _Run(folder, options or Options()).collect()


@contextmanager
def _alone(root: Path) -> Iterator[Path]:
    """Hold the lock, so that nobody marks an object as used meanwhile; gives the lock's file."""
    path = root / LOCK
    with held_lock(path, fcntl.LOCK_EX) as held:
        if not held:
            raise ClipsteerError(
                f"{path}: cannot be locked; expected a file that you may write, on a file system "
                "with locks, so that nothing goes that a job is about to use. Run gc where both are so."
            )
        yield path


class _Run:
    def __init__(self, root: Path, options: Options) -> None:
        self.options, self.root = options, root
        self.objects, self.actions = PeekObjects(root), PeekActions(root)
        self.report = Report(options.dry_run)
        self.now = time.time() if options.dry_run else self.clock()
        self.young = self.now - options.grace * DAY

    def clock(self) -> float:
        """The time by the clock of the store's file system."""
        with _alone(self.root) as path:
            os.utime(path)
            return os.stat(path).st_mtime

    def collect(self) -> Report:
        self.clear()  # first, as that needs no room on the disk
        if not self.options.dry_run:
            if self.options.forget is not None:
                forget_root(self.root, self.options.forget)
            for folder in self.options.working_copies:
                sync(self.root, folder)
        for item in self.unneeded():
            if self.options.dry_run or self.delete(item):
                self.report.deleted.append(item)
                self.report.freed += item.bytes
        return self.report

    # ---- what is needed

    def unneeded(self) -> list[Item]:
        """The objects that neither are needed nor young, the least recently used first."""
        records = {record["key"]: record for record in RecordIndex(self.actions).records()}
        trees = Trees(self.objects, strict=True)
        limit = self.now - max(self.options.older_than, self.options.grace) * DAY
        recent = [key for key in records if self.used(self.actions.file(key)) > limit]
        kept = reach(trees, records, list(self.pointed()), recent)
        steps = _steps(trees, list(records.values()))
        found = []
        for digest in self.objects.digests():
            if digest not in kept:
                with suppress(FileNotFoundError):
                    info = os.stat(self.root / self.objects.relative(digest))
                    item = Item(digest, info.st_size, steps.get(digest, ""))
                    if info.st_mtime <= self.young:
                        found.append((info.st_mtime, item))
                    else:
                        self.report.young += 1
                        self.report.young_bytes += item.bytes
        return [item for _, item in sorted(found, key=lambda pair: pair[0])]

    def pointed(self) -> Iterator[tuple[str, str]]:
        """Digest and kind of all that pointers name."""
        gone: set[Path] = set()
        for folder in self.options.working_copies:
            if self.options.dry_run:
                gone.update(stale(self.root, folder))
            for path in pointers_of(folder):
                if (pointer := peek_pointer(self.root, folder, path)) is not None:
                    yield from _outputs(pointer)
        for root in roots(self.root):
            if root.id == self.options.forget:
                continue
            for copy in root.pointers():
                if copy in gone:
                    continue
                try:
                    yield from _outputs(read_pointer(copy))
                except DamagedPointerError as error:
                    raise ClipsteerError(
                        f"{copy}: found a damaged copy of a pointer of {root.host}:{root.path}; "
                        "expected a sound one, to know what must be kept. Nothing was deleted. "
                        "Run `store verify` in that folder, or, if it is no more, `store gc "
                        f"--forget {root.id}`."
                    ) from error
                except ClipsteerError:
                    if copy.exists():  # else dropped just now
                        raise

    @staticmethod
    def used(path: str) -> float:
        """When a file was last used; of one that has gone: never."""
        with suppress(FileNotFoundError):
            return os.stat(path).st_mtime
        return 0.0

    # ---- what goes

    def delete(self, item: Item) -> bool:
        """Delete an object unless somebody has marked it as used in the meantime; whether it went."""
        path = self.root / self.objects.relative(item.digest)
        with _alone(self.root), suppress(FileNotFoundError):
            if os.stat(path).st_mtime <= self.young:
                count, _ = drop(self.objects, [item.digest])
                self.report.refused += not count
                return bool(count)
        return False

    def clear(self) -> None:
        """Remove what dead processes left, and quarantine/ where that is asked for."""
        limit = self.now - max(self.options.grace, SCRATCH_DAYS) * DAY
        for path in sorted((self.root / TMP).iterdir()):
            self.drop(path, self.young)
        for home in sorted((self.root / SCRATCH).iterdir()):
            if home.is_dir():
                with suppress(FileNotFoundError):  # its job has just ended
                    for path in sorted(home.iterdir()):
                        self.drop(path, math.inf if is_dead(path.name) else limit)
                if not self.options.dry_run:
                    with suppress(OSError):
                        home.rmdir()
            else:
                self.drop(home, limit)
        if self.options.quarantine:
            for path in sorted((self.root / QUARANTINE).iterdir()):
                self.drop(path, math.inf)

    def drop(self, path: Path, limit: float) -> None:
        """Remove a file or folder if nothing in it is younger than `limit`."""
        size, newest = _measure(path)
        if newest < limit:
            self.report.temporary += 1
            self.report.temporary_bytes += size
            if not self.options.dry_run:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    remove(os.fspath(path))


def _steps(trees: Trees, records: Sequence[Record]) -> dict[str, str]:
    """Of every object that records make, the step of one."""
    found: dict[str, str] = {}
    for record in records:
        for output in record["outputs"].values():
            below = trees.below(output["digest"]) if output["kind"] == TREE else ()
            found |= dict.fromkeys((output["digest"], *below), record["step"])
    return found


def _outputs(pointer: Pointer) -> Iterator[tuple[str, str]]:
    for member in pointer.members.values():
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
