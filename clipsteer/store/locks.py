"""Locks of the operating system: they die with their process.

Where the file system has none, all goes on without: the store needs none for its safety (see
`clipsteer.runner.fence` for what two runs in one folder then do to each other).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def advisory_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock while inside; go on without where the file system has none.

    Gives True; without `wait`, False where another process holds it, and then nothing is held. It
    spares two processes the same work, no more. The file goes away afterwards.
    """
    kind = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(held_lock(path, kind))
        except BlockingIOError:
            yield False
            return
        if held:
            stack.callback(_remove, path)
        yield True


@contextlib.contextmanager
def held_lock(path: Path, kind: int) -> Iterator[bool]:
    """As `advisory_lock`, shared or exclusive (`kind`), and the file stays; gives whether it is held.

    Who may only read the file can share it. Raises BlockingIOError where `kind` has LOCK_NB and
    another process holds it.
    """
    mode = os.O_RDONLY if kind & fcntl.LOCK_SH else os.O_RDWR  # as NFS wants it
    descriptor, held = -1, False
    try:
        try:
            descriptor = _open(path, mode | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(descriptor, kind)
            held = True
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield held
    finally:
        if descriptor >= 0:
            if held:
                # closing is not enough where a process was forked in the meantime
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


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


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o666)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
