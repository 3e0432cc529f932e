"""Root copies: what each working copy's pointers name, kept in the store so that gc spares it.

A working copy that was moved or is not mounted is not dead, so gc never looks for it: it believes
the copies under `roots/<id>/`, and only `gc --forget` drops all of one working copy's. A pointer that
was damaged is mended from its copy.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes
from clipsteer.store.durable import remove, token, write_atomic
from clipsteer.store.layout import OBJECTS, QUARANTINE, ROOTS
from clipsteer.store.pointers import DamagedPointerError, Pointer, pointer_bytes, read_pointer

REFS = "artifacts/refs"
VARIABLE = "CLIPSTEER_WORKING_COPY"
ROOT_FILE = "clipsteer-root.json"
# Copies of pointers that lie elsewhere in the working copy; no data set's name begins with a dot.
_ELSEWHERE = ".elsewhere"
# Below REFS: what stands for the user's own files (clipsteer/runner/scan.py); it names no objects.
_RAW = "raw"
# A step writes a pointer at once after its copy.
GRACE = 3600.0  # seconds


@dataclass(frozen=True)
class Root:
    """The copies of one working copy's pointers. `host` and `path` are for people only."""

    id: str
    host: str
    path: str
    folder: Path

    def pointers(self) -> Iterator[Path]:
        """The file of every copy, in sorted order."""
        for folder, folders, names in os.walk(self.folder):
            folders.sort()
            for name in sorted(names):
                if not _is_ours(name):
                    yield Path(folder, name)


def hand_on(working_copy: Path) -> None:
    """Let the jobs of this process have its name for the working copy, whichever node they run on.

    They inherit it by their environment. Without it each node of a cluster would have a root of its
    own for a folder that all of them share.
    """
    os.environ[VARIABLE] = _own_name(working_copy)


def root_id(working_copy: Path) -> str:
    """The name of a working copy's folder under roots/: it stands for the host and the real path.

    The host is that of the run which a job belongs to.
    """
    text = _name(working_copy)
    return digest_bytes(text.encode("utf-8", "surrogateescape")).partition(":")[2][:16]


def copy_of(store_root: Path, working_copy: Path, pointer: Path) -> Path:
    """Where the copy of `pointer` lies, whether it is there or not.

    Raises ClipsteerError where the pointer lies outside the working copy.
    """
    relative = _relative(working_copy, pointer)
    return Path(store_root, ROOTS, root_id(working_copy), relative)


def keep_pointer(store_root: Path, working_copy: Path, pointer: Path, data: bytes) -> None:
    """Keep `data` as the copy of a pointer that is about to be written; durable on return.

    Call it just before the pointer itself is written. Raises ClipsteerError for a full disk and
    for a pointer outside the working copy. A store where we may not add objects is left as it is:
    its objects were put there by others, whose own copies spare them, and nobody depends on ours;
    what its owner removes all the same has a record, and is missed aloud when it is read.
    """
    copy = copy_of(store_root, working_copy, pointer)
    try:
        _write_once(copy, data)
        _write_once(Path(store_root, ROOTS, root_id(working_copy), ROOT_FILE), _about(working_copy))
    except (ClipsteerError, PermissionError):
        if os.access(Path(store_root, OBJECTS), os.W_OK):
            raise


def read_or_heal(store_root: Path, working_copy: Path, pointer: Path) -> tuple[Pointer, bool]:
    """A pointer, and whether it had to be mended from its copy.

    Its time stamp stays, so that nothing runs for it. Without a sound copy the damaged file is moved to
    quarantine/, so that Snakemake misses it and restores it in the next run. Raises ClipsteerError where
    there is no such pointer, DamagedPointerError where it cannot be mended.
    """
    try:
        return read_pointer(pointer), False
    except DamagedPointerError as damage:
        copy = copy_of(store_root, working_copy, pointer)
        try:
            found = read_pointer(copy)
            times = pointer.stat()
            write_atomic(pointer, copy.read_bytes())
        except (ClipsteerError, OSError):
            away = store_root / QUARANTINE / f"pointer-{pointer.name}-{token()}"
            with contextlib.suppress(OSError):
                os.replace(pointer, away)
            raise damage from None
        os.utime(pointer, ns=(times.st_atime_ns, times.st_mtime_ns))
        return found, True


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
    with contextlib.suppress(ClipsteerError):
        return read_pointer(copy_of(store_root, working_copy, path))
    return None


def roots(store_root: Path) -> list[Root]:
    """Every working copy that the store knows of, sorted by id."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(Path(store_root, ROOTS))):
            folder = Path(store_root, ROOTS, name)
            if folder.is_dir():
                about = _read_about(folder / ROOT_FILE)
                found.append(Root(name, about["host"], about["path"], folder))
    return found


def sync(store_root: Path, working_copy: Path, *, grace: float = GRACE) -> None:
    """Make the copies of one working copy agree with its pointers.

    Sound pointers without a copy (or with another content) are copied, unless the store has nothing of
    what they name: they were brought here without it. `stale` copies are dropped. Raises
    ClipsteerError for a full disk.
    """
    held = _Held(store_root)
    for pointer in pointers_of(working_copy):
        try:
            found = read_pointer(pointer)
        except ClipsteerError as error:
            if isinstance(error, DamagedPointerError) or not pointer.exists():
                continue  # a copy, if there is one, says more
            raise
        data = pointer_bytes(found)
        with contextlib.suppress(OSError):
            if copy_of(store_root, working_copy, pointer).read_bytes() == data:
                continue
        if held.any_of(found):
            keep_pointer(store_root, working_copy, pointer, data)
    for copy in stale(store_root, working_copy, grace=grace):
        remove(os.fspath(copy))


def stale(store_root: Path, working_copy: Path, *, grace: float = GRACE) -> list[Path]:
    """The copies whose pointers are no more, once they are older than `grace` seconds.

    A younger one may belong to a step that has written the copy and is about to write the pointer.
    """
    folder = Path(store_root, ROOTS, root_id(working_copy))
    limit = time.time() - grace
    found = []
    for copy in Root("", "", "", folder).pointers():
        pointer = _pointer(working_copy, copy.relative_to(folder))
        with contextlib.suppress(FileNotFoundError):
            if not pointer.exists() and copy.stat().st_mtime < limit:
                found.append(copy)
    return found


def pointer_of(root: Root, copy: Path) -> Path:
    """Where the pointer of a copy lies on its host."""
    return _pointer(Path(root.path), copy.relative_to(root.folder))


def pointers_of(working_copy: Path) -> list[Path]:
    """Every pointer below a working copy's artifacts/refs, sorted; raw tokens are no pointers."""
    base = Path(working_copy, REFS)
    return [
        path
        for path in sorted(base.rglob("*.json"))
        if not _is_ours(path.name) and path.relative_to(base).parts[0] != _RAW
    ]


def forget(store_root: Path, id: str) -> None:
    """Drop all copies of one working copy. Raises ClipsteerError where there is none of that id."""
    known = [root.id for root in roots(store_root)]
    if id not in known:
        raise ClipsteerError(
            f"{Path(store_root, ROOTS)}: found no working copy {id!r}; expected one of "
            f"{', '.join(known) or '(none)'}. `store du` lists them with their folders."
        )
    with contextlib.suppress(FileNotFoundError):  # another gc may be at it
        shutil.rmtree(Path(store_root, ROOTS, id))


class _Held:
    """What a store has, as an object or on record."""

    def __init__(self, store_root: Path) -> None:
        # Here, since every job imports this file and none of them needs the records of all others.
        from clipsteer.store.index import RecordIndex
        from clipsteer.store.peek import PeekActions, PeekObjects

        self._objects = PeekObjects(store_root)
        self._index = functools.cache(lambda: RecordIndex(PeekActions(store_root)))

    def any_of(self, pointer: Pointer) -> bool:
        outputs = [out for member in pointer.members.values() for out in member.outputs.values()]
        here = not outputs or any(self._objects.exists(out.digest) for out in outputs)
        return here or self._index().knows(pointer)


def _relative(working_copy: Path, pointer: Path) -> Path:
    base = Path(os.path.realpath(working_copy))
    # The folder may lead through links, the name itself is the pointer's own.
    place = Path(os.path.realpath(Path(pointer).parent), Path(pointer).name)
    refs = Path(os.path.realpath(base / REFS))  # a link may lead to them, onto a larger disk
    for folder, prefix in ((refs, Path()), (base, Path(_ELSEWHERE))):
        if place.is_relative_to(folder) and place.name not in ("", "..", ROOT_FILE):
            return prefix / place.relative_to(folder)
    raise ClipsteerError(
        f"{pointer}: found a pointer outside its working copy {base} (or one that is called "
        f"{ROOT_FILE}); expected one below {REFS}. Run the command in the working copy."
    )


def _pointer(working_copy: Path, relative: Path) -> Path:
    """The pointer of a copy with this path below its root."""
    if relative.parts[0] == _ELSEWHERE:
        return Path(working_copy, relative.relative_to(_ELSEWHERE))
    return Path(working_copy, REFS, relative)


def _own_name(working_copy: Path) -> str:
    return f"{socket.gethostname()}:{os.path.realpath(working_copy)}"


def _name(working_copy: Path) -> str:
    """`host:path`, as handed on if that is this very folder, else as it is here."""
    handed = os.environ.get(VARIABLE, "")
    with contextlib.suppress(OSError):
        # a node may have mounted it elsewhere
        if handed and os.path.samefile(handed.partition(":")[2], working_copy):
            return handed
    return _own_name(working_copy)


def _about(working_copy: Path) -> bytes:
    host, _, path = _name(working_copy).partition(":")
    about = {"host": host, "path": path}
    return (json.dumps(about, sort_keys=True, indent=1) + "\n").encode("ascii")


def _read_about(path: Path) -> dict[str, str]:
    """What the file says; question marks where it is missing or damaged: the copies still count."""
    try:
        value = json.loads(path.read_bytes())
        return {name: str(value[name]) for name in ("host", "path")}
    except (OSError, ValueError, TypeError, KeyError):
        return {"host": "?", "path": "?"}


def _write_once(path: Path, data: bytes) -> None:
    """Write a file unless it says that already; then its time is set to now, as if it were written."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            os.utime(path)
            return
    write_atomic(path, data)


def _is_ours(name: str) -> bool:
    """Whether a file beside the pointers is no pointer."""
    return name == ROOT_FILE or (name.startswith(".") and name.endswith(".tmp"))
