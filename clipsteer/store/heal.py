"""A pointer that was damaged, mended from its copy in the store's roots/."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.durable import token, write_atomic
from clipsteer.store.layout import QUARANTINE
from clipsteer.store.pointers import DamagedPointerError, Pointer, read_pointer
from clipsteer.store.roots import copy_of


def read_or_heal(store_root: Path, working_copy: Path, pointer: Path) -> tuple[Pointer, bool]:
    """A pointer, and whether it had to be mended; its time stamp stays, so that nothing runs for it.

    Without a sound copy the damaged file is moved to quarantine/, so that Snakemake misses it and
    restores it in the next run. Raises ClipsteerError where there is no such pointer,
    DamagedPointerError where it cannot be mended.
    """
    try:
        return read_pointer(pointer), False
    except DamagedPointerError as damage:
        copy = copy_of(store_root, working_copy, pointer)
        try:
            found = read_pointer(copy)
            times = pointer.stat()
            write_atomic(pointer, copy.read_bytes())
        except (ClipsteerError, OSError):
            away = store_root / QUARANTINE / f"pointer-{pointer.name}-{token()}"
            with suppress(OSError):
                os.replace(pointer, away)
            raise damage from None
        os.utime(pointer, ns=(times.st_atime_ns, times.st_mtime_ns))
        return found, True
