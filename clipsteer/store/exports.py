"""Result files: copies of objects for people to read, which people may also edit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_file
from clipsteer.store.pointers import read_pointer

EDITED = ".edited"


def edited(pointer: Path, exports: Mapping[str, Path]) -> list[Path]:
    """The exported files that do not have the bytes their pointer names.

    `exports` says where each output of the pointer's members was written; where several members
    have an output of that name, the bytes of any will do. A file that is missing, or a pointer that
    is missing or damaged, is none of this function's business: Snakemake or a reader sees to it.
    """
    try:
        members = read_pointer(pointer).members.values()
    except (ClipsteerError, OSError):
        return []
    found = []
    for name, path in exports.items():
        expected = {m.outputs[name].digest for m in members if name in m.outputs}
        if expected and path.is_file() and digest_file(path) not in expected:
            found.append(path)
    return found


def put_aside(paths: Iterable[Path]) -> list[Path]:
    """Rename files so that nothing overwrites them: `table.csv` to `table.csv.edited`, `.edited2` ..."""
    places = []
    for path in paths:
        place, number = path.with_name(path.name + EDITED), 1
        while place.exists():
            number += 1
            place = path.with_name(f"{path.name}{EDITED}{number}")
        path.rename(place)
        places.append(place)
    return places
