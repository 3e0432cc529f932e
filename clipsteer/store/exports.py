"""Result files: copies of objects for people to read, which people may also edit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clipsteer.store.digest import digest_file
from clipsteer.store.pointers import Pointer

EDITED = ".edited"


def edited(pointer: Pointer, exports: Mapping[str, Path]) -> list[Path]:
    """The exported files that do not have the bytes their pointer names.

    `exports` says where each output of the pointer's members was written; where several members
    have an output of that name, the bytes of any will do. A file that is missing is none of this
    function's business.
    """
    found = []
    for name, path in exports.items():
        members = pointer.members.values()
        expected = {m.outputs[name].digest for m in members if name in m.outputs}
        if expected and path.is_file() and digest_file(path) not in expected:
            found.append(path)
    return found


def put_aside(path: Path) -> Path:
    """Rename a file so that nothing overwrites it; its place: `table.csv.edited`, `.edited2` ..."""
    place, number = path.with_name(path.name + EDITED), 1
    while place.exists():
        number += 1
        place = path.with_name(f"{path.name}{EDITED}{number}")
    return path.rename(place)
