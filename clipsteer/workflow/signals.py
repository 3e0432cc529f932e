"""Jobs end when their run does: signals are handed on to them, and orphans of killed runs are stopped."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from clipsteer.slurm import cancel, jobs_here

_Handler = Callable[[int, FrameType | None], object]


def hand_on_signals(folder: Path, *, on_slurm: bool) -> None:
    """Let SIGTERM and SIGINT reach the jobs too; Snakemake itself only waits until they have ended."""

    def hand_on(number: int, frame: FrameType | None, before: _Handler) -> None:
        if on_slurm:
            cancel(jobs_here(folder))
        else:
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    child.terminate()
        before(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if callable(before):  # not where it is ignored
            signal.signal(number, functools.partial(hand_on, before=before))


def cancel_orphans(folder: Path) -> None:
    """Stop jobs on Slurm whose run was killed: they may write no results here, and ours do their work."""
    orphans = jobs_here(folder)
    if orphans:
        print(
            f"clipsteer: jobs of an earlier run are stopped: {', '.join(orphans)} (what they have saved is used)",
            file=sys.stderr,
        )
        cancel(orphans, seconds=60)
