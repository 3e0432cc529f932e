"""The most bytes that a store's objects ever took, as far as it was looked at: a hint for `store du`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.objects import MissingObjectError, ObjectStore
from clipsteer.store.state import read_note, write_note

PEAK = "peak.json"


@dataclass(frozen=True)
class Peak:
    """`bytes` of all objects, and when they were counted (ISO 8601)."""

    bytes: int
    when: str


def note_peak(objects: ObjectStore) -> int:
    """Bytes of all objects now, one `stat` each; noted where there were never more.

    To be called just before objects are removed, as that is when a store is largest.
    """
    total = 0
    for digest in objects.digests():
        with suppress(MissingObjectError):  # somebody else removes as well
            total += objects.size(digest)
    before = read_peak(objects.root)
    if before is None or total > before.bytes:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(ClipsteerError):  # a store that we may only read
            write_note(objects.root / PEAK, {"bytes": total, "when": now})
    return total


def read_peak(root: Path) -> Peak | None:
    """What was noted; None where nothing was, or where the note is damaged."""
    note = read_note(root / PEAK)
    return Peak(note["bytes"], note["when"]) if note else None
