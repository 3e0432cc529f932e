"""A budget in words for people: one line a rule."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clipsteer.cli.words import count, duration
from clipsteer.lineage.budget import Share, total
from clipsteer.lineage.foreseen import Remade

_HEAD = ("", "jobs", "memory a job", "asked for", "CPU time", "GPU time", "new on disk")


def lines(shares: Mapping[str, Share], store: Path, remade: Sequence[Remade] = ()) -> Iterator[str]:
    """The table, its sum, and what it means for the disk that the store is on.

    `remade`: what is executed again inside the jobs, which the table does not count.
    """
    whole = total(shares.values())
    if not shares:
        yield f"Nothing would be computed{_room(store)}."
        return
    rows = [_HEAD, *(_row(rule, share) for rule, share in shares.items()), _row("all", whole)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join([row[0].ljust(widths[0]), *numbers])
    yield ""
    if whole.pending:
        yield (
            f"{count(whole.pending, 'job')} of these may turn out to be restored: their inputs are not known yet."
        )
    if remade:
        yield (
            f"Not counted: {count(len(remade), 'recorded action')} executed again for lost objects "
            f"({duration(sum(action.seconds for action in remade))} when computed)."
        )
    yield from (f"Sizes: {note}." for note in whole.notes)
    disk = f"{size(whole.disk_mb)} more than now"
    if whole.unknown:
        disk = f"unknown, at least {disk}"
    yield f"Disk at peak: {disk}, if everything is there at once{_room(store)}."
    number = whole.gpu_seconds / 3600
    digits = 2 if 0 < number < 1 else 1
    hours = _cell(f"{number:.{digits}f}", whole.unknown_gpu, number > 0)
    yield f"GPU hours: {hours}. A model, not a promise: docs/cluster.md."


def size(megabytes: float) -> str:
    """`320 MB`, `1.5 GB`."""
    if megabytes < 1000:
        return f"{megabytes:.0f} MB"
    return f"{megabytes / 1000:.1f} GB" if megabytes < 1e6 else f"{megabytes / 1e6:.1f} TB"


def _row(name: str, share: Share) -> tuple[str, ...]:
    known = share.jobs > share.unknown
    times = ((share.cpu_seconds, share.unknown_cpu), (share.gpu_seconds, share.unknown_gpu))
    return (
        name,
        f"{share.jobs}",
        _cell(size(share.memory_mb), share.unknown, known),
        size(share.requested_mb),
        *(_cell(duration(time) if time else "-", unknown, time > 0) for time, unknown in times),
        _cell(size(share.disk_mb), share.unknown, known),
    )


def _cell(text: str, unknown: int, known: bool) -> str:
    """A number that leaves out so many jobs of unknown size; `known`: it counts others."""
    if not unknown:
        return text
    return f"{text} or more" if known else "unknown"


def _room(store: Path) -> str:
    """What is free on the store's disk; nothing where there is no telling."""
    for place in (store, *store.resolve().parents):
        if place.is_dir():
            return f"; free at {store}: {size(shutil.disk_usage(place).free / 1e6)}"
    return ""
