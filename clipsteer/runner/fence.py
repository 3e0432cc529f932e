"""Only one run per working copy; jobs left over from a killed run may not write results.

Snakemake's own locks outlive a killed run and have to be removed by hand. Ours is the operating
system's and dies with its process. Jobs of a killed run may live on: what they publish into the store
is welcome, but only jobs of the newest run write pointers and results, so that a late one cannot put an
older configuration's in their place.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

from clipsteer.errors import ClipsteerError
from clipsteer.store.durable import is_temporary, token, write_atomic
from clipsteer.store.locks import held_lock, is_locked, try_lock
from clipsteer.store.roots import REFS, hand_on
from clipsteer.store.state import CACHES

VARIABLE = "CLIPSTEER_RUN"
_LOCK, _RUN, _WRITING = CACHES / "run.lock", CACHES / "run", CACHES / "writing.lock"
_A_LOOK = 0.1  # seconds, and more than a look at the lock takes
_held: list[IO[str]] = []  # until this process ends


class Seen(NamedTuple):
    """The newest run of a working copy at some moment: its name (empty: there was none)."""

    name: str
    going_on: bool


def look() -> Seen:
    """What there is of other runs in the current folder: before a run looks at what is up to date."""
    return Seen(_newest(), is_locked(_LOCK))


def begin(seen: Seen) -> None:
    """Make this process the one run of the working copy (the current folder), until it ends.

    Its jobs inherit the run's name by their environment. Waits for those of earlier runs that are just
    writing, and clears what killed ones left half-written beside pointers and results. Raises
    ClipsteerError while another run is going on, and where another one than those that were `seen` to
    have ended may have changed what this one has found up to date.
    """
    with suppress(OSError):  # where the file system has no locks
        lock = try_lock(_LOCK)
        if lock is None:  # somebody may only be looking, which takes no time
            time.sleep(_A_LOOK)
            lock = try_lock(_LOCK)
        if lock is None:
            raise ClipsteerError(
                f"{Path.cwd()}: another run is going on in this folder ({_holder()}); expected one at a "
                "time. Wait for it or stop it; or run in a clone with the same store.root: two clones "
                "may share a store at any time."
            )
        _held.append(lock)
        lock.seek(0)
        lock.truncate()
        lock.write(f"process {os.getpid()}, since {datetime.now():%H:%M:%S}")
        lock.flush()
    if seen != Seen(_newest(), going_on=False):
        raise ClipsteerError(
            f"{Path.cwd()}: another run has ended in this folder since this one looked at what is up to date; "
            "expected one at a time. Run the same command again."
        )
    name = token()
    with held_lock(_WRITING, fcntl.LOCK_EX) as alone:
        if alone:
            _sweep()
        write_atomic(_RUN, name.encode())
    os.environ[VARIABLE] = name
    hand_on(Path.cwd())


@contextmanager
def writing() -> Iterator[bool]:
    """Inside, no newer run begins; gives whether this job may write pointers and results.

    It may not if a newer run has begun since its own run started it. A job that belongs to no run
    (started by hand, or without the run's environment variables) always may.
    """
    with held_lock(_WRITING, fcntl.LOCK_SH):
        yield not _superseded()


def _superseded() -> bool:
    mine = os.environ.get(VARIABLE)
    return mine is not None and _newest() not in ("", mine)


def _newest() -> str:
    """The name of the newest run; empty where there was none."""
    try:
        return _RUN.read_text()
    except OSError:
        return ""


def _sweep() -> None:
    """Remove what killed jobs were writing; call it while no job can be writing."""
    for place in (Path(REFS), Path("results")):
        for path in place.rglob(".*.tmp"):
            # tokens are written by any Snakemake that looks at the user's folders
            if is_temporary(path.name) and path.parent != Path(REFS, "raw"):
                with suppress(OSError):
                    path.unlink()


def _holder() -> str:
    with suppress(OSError):
        return _LOCK.read_text() or "just started"
    return "unknown"
