"""Python's own cache of compiled modules, made to go by content.

Python takes a source of the same size and the same second for the same source, so after an edit that
keeps both it would run what the module was, under the key of what it is. A cache file that carries its
source's hash (PEP 552) is compared with the source's bytes at every import, and stays of that kind when
Python renews it.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

from clipsteer.store.durable import remove

_CHECKED_HASH = 0b11  # the flags of a cache file: by hash, to be checked


def go_by_content(folder: Path) -> None:
    """Replace the cache files of all modules below a folder that go by size and time.

    Where Python is told to write none, they are removed. A folder that may not be written stays as
    it is.
    """
    for path in folder.rglob("*.py"):
        cached = Path(cache_from_source(path))
        flags = None
        with suppress(OSError), cached.open("rb") as file:
            flags = int.from_bytes(file.read(8)[4:], "little")
        if flags == _CHECKED_HASH or (flags is None and sys.dont_write_bytecode):
            continue
        if sys.dont_write_bytecode:
            with suppress(OSError):
                remove(str(cached))
        else:
            _compile(path)


def _compile(path: Path) -> None:
    from py_compile import PycInvalidationMode, PyCompileError, compile

    with suppress(OSError, PyCompileError):  # what is not Python is told of where it counts
        compile(str(path), doraise=True, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
