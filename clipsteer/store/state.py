"""Small notes that the store's commands keep for themselves. Losing one costs time only.

Two lie in a working copy: which stores its runs have used, and what pointers do not say of the last run, so that
commands and notebooks find its results. Both may be said in an overlay that these do not see.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.durable import write_atomic

# Caches of a working copy, beside Snakemake's own: losing them costs time, nothing else.
CACHES = Path(".snakemake/clipsteer")
_STORES = CACHES / "stores"
_RUN = CACHES / "last-run"


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


def note_store(store: Path, working_copy: Path) -> None:
    """Note that a run of the working copy uses this store; a relative path counts from there."""
    before = _noted(working_copy)
    with suppress(ClipsteerError, OSError):  # where nothing can be written, nothing is noted
        if before[:1] != [str(store)]:
            others = [place for place in before if place != str(store)]
            write_note(working_copy / _STORES, {"stores": [str(store), *others]})


def noted_stores(working_copy: Path) -> list[Path]:
    """The stores that its runs have used, the last one first. They need not be there any more."""
    return [working_copy / place for place in _noted(working_copy)]


def note_run(told: dict[str, Any], working_copy: Path) -> None:
    """Note what the run that begins tells of itself, JSON values, in place of the last one's."""
    with suppress(ClipsteerError, OSError):
        if noted_run(working_copy) != told:
            write_note(working_copy / _RUN, told)


def noted_run(working_copy: Path) -> dict[str, Any]:
    """What the last run has told of itself; nothing where none has."""
    return read_note(working_copy / _RUN)


def _noted(working_copy: Path) -> list[str]:
    return [str(place) for place in read_note(working_copy / _STORES).get("stores", [])]
