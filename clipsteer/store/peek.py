"""A store looked at without changing it: nothing is laid out, put away, brought back or marked as used.

What lies in trash/ counts as here, as a reader that needed it would bring it back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import ActionStore, parse_record
from clipsteer.store.layout import FORMAT_FILE, TRASH, open_root
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import DamagedPointerError, Pointer, read_pointer
from clipsteer.store.roots import copy_of

T = TypeVar("T")


def _root(root: str | os.PathLike[str]) -> Path:
    """The root, which need not be there yet. Raises ClipsteerError where it is of another format."""
    folder = Path(os.path.abspath(root))
    return open_root(folder) if (folder / FORMAT_FILE).exists() else folder


class PeekObjects(ObjectStore):
    """The objects of a store. Do not call `path` on it: that marks an object as used."""

    _open = staticmethod(_root)

    def use_file(self, digest: str, use: Callable[[str], T]) -> T:
        relative = self.relative(digest)
        # The first place again, as somebody may have brought it back in the meantime.
        for folder in ("", f"{TRASH}/", ""):
            with suppress(FileNotFoundError):
                return use(f"{self._root}/{folder}{relative}")
        raise self.missing(digest)

    def quarantine(self, digest: str) -> Path | None:
        return None


class PeekActions(ActionStore):
    """The records of a store; a damaged one counts as absent."""

    _open = staticmethod(_root)

    def get(self, key: str) -> dict[str, Any] | None:
        for path in (self.file(key), f"{self._root}/{TRASH}/{self.relative(key)}"):
            with suppress(FileNotFoundError, NotADirectoryError):
                record = parse_record(Path(path).read_bytes(), key)
                if record is not None:
                    return record
        return None

    def keys(self) -> Iterator[str]:
        if os.path.isdir(self._actions):
            yield from super().keys()


def peek_pointer(store_root: Path, working_copy: Path, path: Path) -> Pointer | None:
    """A pointer as a reader would find it: the copy in roots/ where it is damaged.

    None where there is no file, or no sound one.
    """
    try:
        return read_pointer(path)
    except DamagedPointerError:
        return former_pointer(store_root, working_copy, path)
    except ClipsteerError:
        return None


def former_pointer(store_root: Path, working_copy: Path, path: Path) -> Pointer | None:
    """The copy that roots/ has of a pointer, whether the pointer is there or not."""
    with suppress(ClipsteerError):
        return read_pointer(copy_of(store_root, working_copy, path))
    return None
