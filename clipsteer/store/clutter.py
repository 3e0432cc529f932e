"""What programs leave in people's folders beside the data: it is no data, wherever it lies."""

from __future__ import annotations

import functools

# Besides all that begins with a dot (.git, .ipynb_checkpoints, .Trash-1000, .DS_Store, and ._name of
# AppleDouble), in lower case: Windows, macOS, Linux, Python, and Synology's, QNAP's and NetApp's shares.
_NAMES = frozenset(
    (
        *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db"),
        *("desktop.ini", "found.000", "__macosx", "temporary items", "lost+found", "__pycache__"),
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "~snapshot"),
    )
)
# Most names are ruled out by their first character, which is quicker than folding them.
_FIRST = frozenset(char for name in _NAMES for char in (name[0], name[0].upper()))

NO_DATA = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
"""Those of them that no user's own list names, in lower case."""


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or its system's own."""
    first = name[:1]
    return first == "." or (first in _FIRST and name.casefold() in _NAMES)


def in_clutter(path: str) -> bool:
    """Whether any part of a relative path is such a file or folder."""
    folder, _, name = path.rpartition("/")
    return is_clutter(name) or _is_clutter_folder(folder)


@functools.lru_cache(maxsize=4096)  # images lie side by side
def _is_clutter_folder(folder: str) -> bool:
    return folder != "" and in_clutter(folder)
