"""Which stores the runs of a working copy have used: a note in it, so that commands find them again.

It is a hint only: `store.root` may be said in an overlay that the commands do not see. Losing the note
loses nothing.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.state import CACHES, read_note, write_note

_NOTE = CACHES / "stores"


def note_store(store: Path, working_copy: Path) -> None:
    """Note that a run of the working copy uses this store; a relative path counts from there."""
    before = _noted(working_copy)
    with suppress(ClipsteerError, OSError):  # where nothing can be written, nothing is noted
        if before[:1] != [str(store)]:
            others = [place for place in before if place != str(store)]
            write_note(working_copy / _NOTE, {"stores": [str(store), *others]})


def noted_stores(working_copy: Path) -> list[Path]:
    """The stores that its runs have used, the last one first. They need not be there any more."""
    return [working_copy / place for place in _noted(working_copy)]


def _noted(working_copy: Path) -> list[str]:
    return [str(place) for place in read_note(working_copy / _NOTE).get("stores", [])]
