"""A store looked at without changing it: nothing is laid out, put away or marked as used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipsteer.store.actions import ActionStore, parse_record
from clipsteer.store.layout import FORMAT_FILE, open_root
from clipsteer.store.objects import ObjectStore


def _root(root: str | os.PathLike[str]) -> Path:
    """The root, which need not be there yet. Raises ClipsteerError where it is of another format."""
    folder = Path(os.path.abspath(root))
    return open_root(folder) if (folder / FORMAT_FILE).exists() else folder


class PeekObjects(ObjectStore):
    """The objects of a store. Do not call `path` on it: that marks an object as used."""

    _open = staticmethod(_root)

    def quarantine(self, digest: str) -> Path | None:
        return None


class PeekActions(ActionStore):
    """The records of a store; a damaged one counts as absent."""

    _open = staticmethod(_root)

    def get(self, key: str) -> dict[str, Any] | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            return parse_record(Path(self.file(key)).read_bytes(), key)
        return None

    def keys(self) -> Iterator[str]:
        if os.path.isdir(self._actions):
            yield from super().keys()
