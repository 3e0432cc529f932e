"""trash/: where gc puts what nobody seems to need, for a while, before it is deleted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.durable import remove
from clipsteer.store.layout import TRASH, resurrect
from clipsteer.store.state import read_note, write_note

# Since when each file lies in trash/, in seconds since 1970. A file's own time cannot say: it is
# when the file was last used, and a rename does not set it.
SINCE = "since.json"


class Trash:
    """The trash of one store root. Only the one gc that holds the lock may change it.

    ``names``: the path of every file in it, relative to it, such as objects/ab/cdef...; readers may
    have taken some of them back since it was listed.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._folder = f"{self._root}/{TRASH}"
        self.names = set(self._list())
        self.since: dict[str, float] = read_note(Path(self._folder, SINCE))

    def note(self, now: float) -> None:
        """Write down which files lie here and since when: those that are new here since ``now``.

        Whatever the note says of files that went and came back is forgotten with that, so call it
        before anything is moved here. A note that was lost or damaged makes everything new, and so
        does one that a full disk has no room for: gc has to work there too.
        """
        self.since = {name: min(self.since.get(name, now), now) for name in self.names}
        path = Path(self._folder, SINCE)
        try:
            write_note(path, self.since)
        except ClipsteerError:
            remove(os.fspath(path))

    def take(self, relative: str, limit: float) -> bool:
        """Move a file here that was older than ``limit`` just now; whether it is here then.

        A writer that sets the file's time does so either before the move, and then the second look
        at the time sees it, or after, and then it does not find the file in its place.
        """
        path, away = f"{self._root}/{relative}", f"{self._folder}/{relative}"
        try:
            os.makedirs(os.path.dirname(away), exist_ok=True)
            os.replace(path, away)
            self.names.add(relative)
            self.since.pop(relative, None)
            used = os.stat(away).st_mtime
        except FileNotFoundError:
            return False  # somebody else removed it, or a reader has brought it back
        if used >= limit:
            self.give_back(relative)
            return False
        return True

    def give_back(self, relative: str) -> None:
        """Move a file back to its place."""
        resurrect(self._root, relative)
        self.names.discard(relative)

    def in_place(self, relative: str) -> bool:
        """Whether a file that lies here is in its place as well (or again)."""
        return os.path.exists(f"{self._root}/{relative}")

    def used(self, relative: str) -> float:
        """When a file here was last used; of one that has gone: never."""
        with contextlib.suppress(FileNotFoundError):
            return os.stat(f"{self._folder}/{relative}").st_mtime
        return 0.0

    def size(self, relative: str) -> int:
        """Bytes of a file here; of one that has gone: none."""
        with contextlib.suppress(FileNotFoundError):
            return os.stat(f"{self._folder}/{relative}").st_size
        return 0

    def delete(self, relative: str) -> None:
        """Delete a file for good."""
        remove(f"{self._folder}/{relative}")
        self.names.discard(relative)

    def _list(self) -> Iterator[str]:
        start = len(self._folder) + 1
        for folder, _, names in os.walk(self._folder):
            for name in names:
                if not name.endswith(".tmp") and not (name == SINCE and folder == self._folder):
                    yield f"{folder}/{name}"[start:]
