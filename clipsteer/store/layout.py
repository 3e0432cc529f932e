"""The folders of a store root, the file that says which protocol they follow, and whether all nodes see them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import ALGORITHM
from clipsteer.store.durable import (
    disk_errors,
    flush_folder,
    make_folders,
    remove,
    token,
    write_new,
)

OBJECTS = "objects"
ACTIONS = "actions"
SCRATCH = "scratch"
ROOTS = "roots"
TMP = "tmp"
QUARANTINE = "quarantine"
FOLDERS = (OBJECTS, ACTIONS, SCRATCH, ROOTS, TMP, QUARANTINE)
# Held shared to mark an object as used or to give it its name, exclusively by gc to delete one.
LOCK = "clipsteer-gc.lock"

# The node on which a run has seen the root: said to its jobs, which may be on others.
_SEEN_BY = "CLIPSTEER_STORE_SEEN_BY"

# The config key that users choose the root by; named in errors.
KEY = "store.root"

FORMAT_FILE = "clipsteer-store.json"
FORMAT = {"digest": ALGORITHM, "format": 1}


def open_root(root: str | os.PathLike[str]) -> Path:
    """Open a store root, laying it out if it is new; the absolute path.

    Any number of processes may do this at once. An existing root is only read, so a store on a
    read-only file system opens. Raises ClipsteerError where the root is of another format, is not
    a folder, or cannot be written when it has to be.
    """
    folder = Path(os.path.abspath(root))
    stamp = folder / FORMAT_FILE
    try:
        text = stamp.read_text(encoding="utf-8")
    except NotADirectoryError:
        raise ClipsteerError(
            f"store.root {folder}: found a file where a folder was expected; remove the file or "
            "choose another store.root."
        ) from None
    except FileNotFoundError:
        text = _create(folder, stamp)
    except (OSError, UnicodeDecodeError) as error:
        text = f"({error})"
    _check(stamp, text)
    for name in FOLDERS:
        with disk_errors(folder / name, KEY):
            make_folders(folder / name)
    _empty_trash(folder)
    return folder


def share(root: Path) -> None:
    """Let the jobs of this process know that the store's folder is there, wherever they run."""
    with contextlib.suppress(OSError):  # the jobs say what is wrong with it
        root.mkdir(parents=True, exist_ok=True)
    if root.is_dir():
        os.environ[_SEEN_BY] = socket.gethostname()


def check_shared(root: Path) -> None:
    """Raises ClipsteerError where the run has seen the store's folder, and this job does not.

    The job must not make one of its own on its node: objects in it would be lost to all others, and each
    node would compute what another has done.
    """
    host = os.environ.get(_SEEN_BY)
    if host and not root.is_dir():
        raise ClipsteerError(
            f"store.root: found no folder {root.resolve()} on {socket.gethostname()}, expected the one that {host} "
            "sees, where the run was started: the store has to be on a file system that all nodes share, under the "
            "same path."
        )


def _create(folder: Path, stamp: Path) -> str:
    """Write the format file, before anything else and by link: the first process wins."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder / OBJECTS) as entries:
        if any(True for _ in entries) and not stamp.exists():
            raise ClipsteerError(
                f"{stamp}: missing, though {folder / OBJECTS} is not empty; expected the file that "
                "names the store's format. If the store was made by this version, write "
                f"{json.dumps(FORMAT)} into it; else choose another store.root."
            )
    with disk_errors(folder, KEY):
        try:
            make_folders(folder)
        except FileExistsError:
            raise ClipsteerError(
                f"store.root {folder}: found a file where a folder was expected; remove the file "
                "or choose another store.root."
            ) from None
        temp = os.fspath(folder / f".{FORMAT_FILE}.{token()}.tmp")
        data = (json.dumps(FORMAT, sort_keys=True, indent=1) + "\n").encode("ascii")
        write_new(temp, data, mode=0o444, flush=True)
        try:
            publish_link(temp, os.fspath(stamp))
        finally:
            remove(temp)
        flush_folder(folder)
    return stamp.read_text(encoding="utf-8")


def _check(stamp: Path, text: str) -> None:
    try:
        found = json.loads(text)
    except ValueError:
        found = text[:80]
    if found != FORMAT:
        raise ClipsteerError(
            f"{stamp}: found {found!r}, expected {FORMAT!r}: the store was written by another "
            "version of clipsteer, or the file is damaged. Choose another store.root, or use the "
            "version that made this one."
        )


def _empty_trash(folder: Path) -> None:
    """Bring back what gc of earlier versions had set aside in trash/, so that nothing is lost there.

    What a person had taken away lies there under names of its own, and is deleted.
    """
    trash = folder / "trash"
    for place, _, names in os.walk(trash, topdown=False):
        for name in names:
            path = Path(place, name)
            with contextlib.suppress(OSError):
                if path.parent != trash:
                    home = folder / path.relative_to(trash)
                    make_folders(home.parent)
                    publish_link(os.fspath(path), os.fspath(home))
                remove(os.fspath(path))
        with contextlib.suppress(OSError):
            os.rmdir(place)


def publish_link(temp: str, path: str) -> bool:
    """Give the finished file `temp` its name if nobody has it yet; whether we were first.

    A hard link, because it is atomic and never replaces. Where the file system has none, a rename:
    then the last writer wins, which is as good for records that agree on everything but times.
    `temp` may or may not remain; the caller removes it.
    """
    try:
        os.link(temp, path)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:
        if os.path.exists(path):
            return False
        os.replace(temp, path)
    return True
