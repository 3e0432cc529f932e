"""The folders of a store root, and the file that says which protocol they follow."""

from __future__ import annotations

import contextlib
import json
import os
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
TRASH = "trash"
FOLDERS = (OBJECTS, ACTIONS, SCRATCH, ROOTS, TMP, QUARANTINE, TRASH)

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
    return folder


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


def discard(root: str | os.PathLike[str], relative: str) -> bool:
    """Move `relative` to trash/ under a name from which it never comes back; whether it was there.

    Raises OSError for a disk that refuses.
    """
    base = os.fspath(root)
    kind, _, name = os.path.splitext(relative)[0].partition("/")
    target = f"{base}/{TRASH}/{kind.removesuffix('s')}-{name.replace('/', '')}"
    found = False
    # Thrice, as gc or a reader may be moving it from one place to the other.
    for source in (f"{base}/{relative}", f"{base}/{TRASH}/{relative}", f"{base}/{relative}"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(source, f"{target}-{token()}{os.path.splitext(relative)[1]}")
            found = True
    return found


def resurrect(root: str | os.PathLike[str], relative: str) -> bool:
    """Bring `relative` (such as objects/ab/cdef...) back from trash/; whether it is there now.

    One rename, so either this or gc's deletion comes first. Where it had come back by another way
    in the meantime, the rename puts the same content in its place.
    """
    path = f"{os.fspath(root)}/{relative}"
    away = f"{os.fspath(root)}/{TRASH}/{relative}"
    with contextlib.suppress(OSError):
        os.utime(away)  # before it is back: gc must never find it in its place and old
    try:
        os.replace(away, path)
    except OSError:
        return os.path.exists(path)
    return True
