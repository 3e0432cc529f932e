"""Drops objects that can be made again, once nothing in a run still reads them.

Dropping is an effect and no result: there is no action and no record of it. What is missed later is
made again from the records (runner/execute.py), so a wrong guess here costs time and loses nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import read_pointer
from clipsteer.store.roots import Root, roots
from clipsteer.store.state import CACHES, read_note, write_note

READERS = CACHES / "readers.json"
# The fact of a marker pointer: by name, the outputs of which its working copy has no more need.
DROPPED = "dropped"
# Somebody else's object, or a store that we may only read.
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def expect(readers: Mapping[str, Iterable[str]]) -> None:
    """Note which pointers the run that begins now will write from objects that it may drop.

    `readers` has them by a name for those objects, such as a split's. Raises ClipsteerError for a
    full disk.
    """
    write_note(
        READERS,
        {name: {path: _stamp(path) for path in paths} for name, paths in readers.items()},
    )


def awaited() -> dict[str, list[str]]:
    """By name, the pointers that this working copy's run has still to write.

    Every name that the run knows is there; none where there is no run.
    """
    return {
        # Snakemake removes a pointer just before the job that writes it anew.
        name: sorted(path for path, before in noted.items() if _stamp(path) in ([], before))
        for name, noted in read_note(READERS).items()
    }


@dataclass(frozen=True)
class Holder:
    """A working copy with the outputs that its pointers name, and by name those that it dropped."""

    path: str
    named: set[str]
    dropped: dict[str, set[str]]

    @property
    def needed(self) -> set[str]:
        """What it names and has not dropped."""
        return self.named.difference(*self.dropped.values())


def holders(store_root: Path) -> dict[str, Holder]:
    """What the store knows of every working copy, by its id."""
    return {root.id: _holder(root) for root in roots(store_root)}


def drop(objects: ObjectStore, digests: Iterable[str]) -> tuple[int, int]:
    """Remove objects for good; how many were here, and their bytes.

    What may not be removed stays. Raises OSError for a disk that fails.
    """
    count = size = 0
    for digest in digests:
        path = objects.root / objects.relative(digest)
        try:
            bytes_ = path.stat().st_size
            os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            continue
        count, size = count + 1, size + bytes_
    return count, size


def _holder(root: Root) -> Holder:
    found = Holder(root.path, set(), {})
    for path in root.pointers():
        try:
            members = read_pointer(path).members.values()
        except ClipsteerError:  # damaged, or gone this moment: at worst something is made again
            continue
        for member in members:
            found.named.update(output.digest for output in member.outputs.values())
            for name, digests in member.facts.get(DROPPED, {}).items():
                found.dropped.setdefault(name, set()).update(digests)
    return found


def _stamp(path: str) -> list[int]:
    """What a file that is written anew does not keep; nothing where there is none."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return []
    return [info.st_ino, info.st_mtime_ns]
