"""The private folder of one attempt at an action: scratch/<key>/<host>-<pid>-<random>/."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipsteer.store.durable import disk_errors, make_folder, token
from clipsteer.store.layout import KEY, SCRATCH

_HOST = "".join(c if c.isalnum() else "_" for c in socket.gethostname())


def action_folder(root: Path, key: str) -> Path:
    """The folder of all attempts at an action; its checkpoints lie in it."""
    return root / SCRATCH / key.replace(":", "-")


@contextmanager
def attempt(root: Path, key: str) -> Iterator[Path]:
    """A new empty folder for one attempt, gone afterwards whatever happened.

    What attempts of dead processes of this machine left there is removed first: a killed job's
    half-written shards are of no use to anybody. Other attempts may be going on; they stay.
    Raises ClipsteerError for a full, forbidden or read-only disk.
    """
    home = action_folder(root, key)
    folder = home / f"{_HOST}-{token()}"
    with disk_errors(home, KEY):
        while not folder.exists():
            with suppress(FileNotFoundError):  # the last other attempt has just removed its home
                home.parent.mkdir(parents=True, exist_ok=True)
                make_folder(os.fspath(home))
                for left in home.iterdir():
                    if left.is_dir() and is_dead(left.name):
                        shutil.rmtree(left, ignore_errors=True)
                folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # checkpoints or another attempt may still be in there
            home.rmdir()


def is_dead(name: str) -> bool:
    """Whether the folder's name says a process of this machine that is no more."""
    host, _, rest = name.partition("-")
    pid = rest.partition("-")[0]
    if host != _HOST or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
