"""Locks of the operating system, which end with their process.

They only avoid duplicate work; correctness never depends on them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def advisory_lock(path: Path) -> Iterator[None]:
    """Hold a lock while inside, waiting for it; go on without where the file system has none.

    It spares two processes the same work, no more. The file goes away afterwards.
    """
    with held_lock(path, fcntl.LOCK_EX) as held:
        try:
            yield
        finally:
            if held:
                _remove(path)


@contextlib.contextmanager
def held_lock(path: Path, kind: int) -> Iterator[bool]:
    """As `advisory_lock`, shared or exclusive (`kind`), and the file stays; gives whether it is held."""
    with contextlib.ExitStack() as stack:
        held = False
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a+"))
            fcntl.flock(file, kind)
            held = True
        yield held


def try_lock(path: Path) -> IO[str] | None:
    """A held lock, as long as the file stays open; None where another process holds it.

    Raises OSError where the file cannot be made or the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file


def is_locked(path: Path) -> bool:
    """Whether another process holds a lock just now."""
    try:
        file = try_lock(path)
    except OSError:
        return False
    if file is not None:
        file.close()
    return file is None


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
