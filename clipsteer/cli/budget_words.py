"""A budget in words for people: one line a rule."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from clipsteer.cli.words import count, duration
from clipsteer.lineage.budget import Share, total

_HEAD = ("", "jobs", "memory a job", "asked for", "CPU time", "GPU time", "new on disk")


def lines(shares: Mapping[str, Share], store: Path) -> Iterator[str]:
    """The table, its sum, and what it means for the disk that the store is on."""
    whole = total(shares.values())
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
    yield (
        f"Disk at peak: {size(whole.disk_mb)} more than now, if everything is there at once{_room(store)}."
    )
    yield f"GPU hours: {whole.gpu_seconds / 3600:.1f}. A model, not a promise: docs/cluster.md."


def size(megabytes: float) -> str:
    """`320 MB`, `1.5 GB`."""
    if megabytes < 1000:
        return f"{megabytes:.0f} MB"
    return f"{megabytes / 1000:.1f} GB" if megabytes < 1e6 else f"{megabytes / 1e6:.1f} TB"


def _row(name: str, share: Share) -> tuple[str, ...]:
    return (
        name,
        f"{share.jobs}",
        size(share.memory_mb),
        size(share.requested_mb),
        duration(share.cpu_seconds) if share.cpu_seconds else "-",
        duration(share.gpu_seconds) if share.gpu_seconds else "-",
        size(share.disk_mb),
    )


def _room(store: Path) -> str:
    """What is free on the store's disk; nothing where there is no telling."""
    for place in (store, *store.resolve().parents):
        if place.is_dir():
            return f"; free at {store}: {size(shutil.disk_usage(place).free / 1e6)}"
    return ""
