"""Small notes that the store's own commands keep for themselves. Losing one costs time only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.durable import write_atomic

# Caches of a working copy, beside Snakemake's own: losing them costs time, nothing else.
CACHES = Path(".snakemake/clipsteer")


def write_note(path: Path, value: dict[str, Any]) -> None:
    """Write a note, whole or not at all. Raises ClipsteerError for a full or forbidden disk."""
    text = canonical_json(value)
    write_atomic(path, digest_bytes(text).encode("ascii") + b"\n" + text + b"\n")


def read_note(path: Path) -> dict[str, Any]:
    """What a note says; nothing where it is missing or damaged in any way."""
    try:
        check, _, text = path.read_bytes().removesuffix(b"\n").partition(b"\n")
        value = json.loads(text)
    except (OSError, ValueError):
        return {}
    if check.decode("ascii", "replace") != digest_bytes(text) or not isinstance(value, dict):
        return {}
    return value
