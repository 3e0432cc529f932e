"""Stored objects as real files in a folder of the user's: whole or not at all, every byte verified."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import ALGORITHM, new_hash
from clipsteer.store.durable import (
    disk_errors,
    flush_file,
    flush_folder,
    flush_many,
    make_folders,
    token,
    write_all,
)
from clipsteer.store.entries import EXTERNAL, PACKED, TREE
from clipsteer.store.objects import DamagedObjectError, ObjectStore
from clipsteer.store.pointers import Output
from clipsteer.store.trees import StoreTree

_CHUNK = 2**20


def unpack(
    objects: ObjectStore,
    outputs: Mapping[str, Output],
    folder: Path,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int]:
    """Write objects into a new or empty folder; the number of files and of bytes.

    `outputs`: path below the folder -> what goes there; of a tree, at the path "", its files go into
    the folder itself. `tell` is called with bytes done and bytes in all.

    Raises ClipsteerError where the folder cannot be filled (see `check_target`) or a tree names files
    that are not the store's own, MissingObjectError and DamagedObjectError. Nothing is left then.
    """
    check_target(folder)
    place = Path(os.path.realpath(folder))
    files = list(_files(objects, outputs))
    total = sum(file.size for file in files)
    temp = place.with_name(f".{place.name}.{token()}.tmp")
    done, written = 0, list[str]()
    with disk_errors(folder):
        make_folders(place.parent)
        try:
            temp.mkdir()
            for file in files:
                target = temp / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                if file.pack:
                    _write(target, file.pack.read(file.inside))
                else:
                    _copy(objects, file.digest, file.path, target)
                written.append(os.fspath(target))
                done += file.size
                tell(done, total)
            flush_many(os.fspath(temp), written, flush_file)
            _rename(temp, place, folder)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise
    return len(files), total


def check_target(folder: Path) -> None:
    """Raises ClipsteerError for a folder that has something in it, that is no folder, or that is current."""
    place = Path(os.path.realpath(folder))
    above = next(path for path in (place, *place.parents) if path.exists())
    if not above.is_dir():
        raise ClipsteerError(f"{above}: found a file, expected a folder. Name another folder.")
    if above == place and any(place.iterdir()):
        raise ClipsteerError(
            f"{folder}: found a folder that is not empty, expected a new or an empty one, so that "
            "nothing of yours is mixed with what is written. Name another, or empty it."
        )
    if Path.cwd().is_relative_to(place):
        raise ClipsteerError(
            f"{folder}: found the current folder, expected another one. Name a new folder in it."
        )


class _File(NamedTuple):
    """A file to write: an object, or the one at `inside` in a pack."""

    path: str
    digest: str
    size: int
    pack: StoreTree | None = None
    inside: str = ""


def _files(objects: ObjectStore, outputs: Mapping[str, Output]) -> Iterator[_File]:
    for name, output in outputs.items():
        if output.kind != TREE:
            yield _File(name, output.digest, output.size)
            continue
        tree = StoreTree(objects, output.digest)
        for path in tree.paths():
            entry = tree.entry(path)
            if entry.kind == EXTERNAL:
                raise ClipsteerError(
                    f"object {output.digest}: {path} is a file of your own, which the store only "
                    "knows by its digest, expected objects of the store; copy it from its folder."
                )
            place = f"{name}/{path}".lstrip("/")
            pack = tree if entry.kind == PACKED else None
            yield _File(place, entry.digest, entry.size, pack, path)


def _write(target: Path, data: bytes) -> None:
    with target.open("xb", buffering=0) as out:
        write_all(out.fileno(), data)


def _copy(objects: ObjectStore, digest: str, path: str, target: Path) -> None:
    """Write an object's bytes into a new file, and see that they are what its digest stands for."""

    def copy(source: str) -> str:
        hasher = new_hash()
        with open(source, "rb", buffering=0) as stream, target.open("xb", buffering=0) as out:
            while chunk := stream.read(_CHUNK):
                hasher.update(chunk)
                write_all(out.fileno(), chunk)
        return f"{ALGORITHM}:{hasher.hexdigest()}"

    if objects.use_file(digest, copy) != digest:
        objects.quarantine(digest)
        raise DamagedObjectError(
            f"{objects.root}: object {digest} ({path}) is damaged: found other bytes than its digest "
            "stands for, expected those. `store verify` finds all that are; then give the same command "
            "again, which makes them anew.",
            digest,
        )


def _rename(temp: Path, place: Path, folder: Path) -> None:
    try:
        os.rename(temp, place)  # replaces an empty folder
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise ClipsteerError(
            f"{folder}: cannot be replaced by what was written ({error.strerror}); expected a folder "
            "that is no mount point and that nobody fills. Name a new folder in it."
        ) from error
    flush_folder(place.parent)
