"""Where tests that write thousands of durable files put them."""

from __future__ import annotations

import os
import tempfile

_MEMORY = "/dev/shm"


def quick_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder in memory where there is such a place: fsync costs nothing there."""
    usable = os.path.isdir(_MEMORY) and os.access(_MEMORY, os.W_OK)
    return tempfile.TemporaryDirectory(dir=_MEMORY if usable else None)
