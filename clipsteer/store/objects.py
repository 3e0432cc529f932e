"""Immutable blobs named by their digest. docs/store-protocol.md is normative."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import (
    ALGORITHM,
    digest_bytes,
    digest_file,
    is_digest,
    new_hash,
    parse_digest,
)
from clipsteer.store.durable import (
    disk_errors,
    flush_file,
    flush_folder,
    flush_many,
    make_folder,
    remove,
    token,
    write_all,
    write_new,
)
from clipsteer.store.layout import KEY, LOCK, OBJECTS, QUARANTINE, TMP, open_root
from clipsteer.store.locks import held_lock

T = TypeVar("T")

VERIFY_BELOW = 64 * 2**20
_READ_ONLY = 0o444
_CHUNK = 2**20
# Below this many files single fsyncs are quicker than flushing a busy file system as a whole.
_FEW = 8


class _ObjectError(ClipsteerError):
    def __init__(self, message: str, digest: str = "") -> None:
        super().__init__(message)
        self.digest = digest


class MissingObjectError(_ObjectError):
    """An object that something names is not in the store."""


class DamagedObjectError(_ObjectError):
    """An object's bytes do not have its digest; it lies in quarantine/ now."""


class ObjectStore:
    """The objects of one store root; any number of processes may read and add at once.

    `verify_below`: objects smaller than this many bytes are hashed on every `get_bytes`.
    Raises ClipsteerError where the root cannot be opened (see `layout.open_root`).
    """

    _open = staticmethod(open_root)

    def __init__(self, root: str | os.PathLike[str], *, verify_below: int = VERIFY_BELOW) -> None:
        self.root = self._open(root)
        self.verify_below = verify_below
        self._root = os.fspath(self.root)
        self._objects = f"{self._root}/{OBJECTS}"
        self._lock = self.root / LOCK

    # ---- reading

    def exists(self, digest: str) -> bool:
        """Whether the object is here (one `stat`)."""
        try:
            self.use_file(digest, os.stat)
        except MissingObjectError:
            return False
        return True

    def path(self, digest: str) -> Path:
        """The object's read-only file, for reading in parts. Its content is not verified.

        Its time is set to now where it may be, so that gc leaves it alone while the caller reads.
        Raises MissingObjectError.
        """
        return Path(self.use_file(digest, self._touch))

    def size(self, digest: str) -> int:
        """The object's size in bytes. Raises MissingObjectError."""
        return self.use_file(digest, os.stat).st_size

    def get_bytes(self, digest: str) -> bytes:
        """The object's content, verified where it is smaller than `verify_below`.

        Raises MissingObjectError, or DamagedObjectError once the object is in quarantine/.
        """
        try:
            data = self.use_file(digest, lambda path: Path(path).read_bytes())
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise self._damaged(digest) from error
        if len(data) < self.verify_below and digest_bytes(data) != digest:
            raise self._damaged(digest)
        return data

    def use_file(self, digest: str, use: Callable[[str], T]) -> T:
        """What `use` makes of the object's file. Raises MissingObjectError, and what `use` raises."""
        try:
            return use(self._file(digest))
        except FileNotFoundError:
            raise self.missing(digest) from None

    def verify(self, digest: str) -> None:
        """Hash the object whatever its size.

        Raises MissingObjectError, or DamagedObjectError once the object is in quarantine/.
        """
        if not self.use_file(digest, lambda path: self._sound(path, digest)):
            raise self._damaged(digest)

    def digests(self) -> Iterator[str]:
        """The digest of every object here, in sorted order."""
        for folder in sorted(os.listdir(self._objects)):
            for name in sorted(os.listdir(os.path.join(self._objects, folder))):
                if len(folder) == 2 and is_digest(digest := f"{ALGORITHM}:{folder}{name}"):
                    yield digest

    # ---- adding

    def put_bytes(self, data: bytes) -> str:
        """Add `data`; its digest. Durable on return.

        Raises ClipsteerError for a full, forbidden or failing disk; nothing is left behind then.
        """
        digest = digest_bytes(data)
        with disk_errors(self.root, KEY):
            if not self._refresh(digest, len(data)):
                temp = self._temp()
                write_new(temp, data, mode=_READ_ONLY, flush=True)
                self._publish(temp, digest, len(data))
        return digest

    def put_file(self, path: str | os.PathLike[str], *, move: bool = False) -> str:
        """Add a copy of a file (in bounded memory); its digest. Durable on return.

        `move=True` gives the file itself away instead, where it lies on the store's file system:
        only for files that nobody else has open for writing. Raises ClipsteerError as put_bytes;
        a file to be moved may be gone then.
        """
        source = os.fspath(path)
        with disk_errors(self.root, KEY):
            temp = self._temp()
            if move and self._movable(source):
                digest, size = digest_file(source), os.stat(source).st_size
                os.chmod(source, stat.S_IMODE(os.stat(source).st_mode) & _READ_ONLY)
                flush_file(source)
                os.replace(source, temp)
                os.utime(temp)  # gc goes by an object's time, not by its file's former life
            else:
                digest, size = self._copy(source, temp, flush=True)
            self._publish(temp, digest, size)
            if move:
                remove(source)
        return digest

    def put_many(self, items: Iterable[bytes | Path]) -> list[str]:
        """Add many small blobs (contents, or files to copy) with one flush; their digests.

        Durable on return, all of them; after an error or a crash any of them may be there (each
        whole), and no temporary file. Raises ClipsteerError as put_bytes.
        """
        folder = self._temp()
        digests: list[str] = []
        temps: dict[str, str] = {}
        with disk_errors(self.root, KEY):
            try:
                for number, item in enumerate(items):
                    temp = f"{folder}/{number}"
                    if isinstance(item, bytes):
                        digest = digest_bytes(item)
                        if digest not in temps and not self._refresh(digest, len(item)):
                            make_folder(folder)
                            write_new(temp, item, mode=_READ_ONLY, flush=False)
                            temps[digest] = temp
                    else:
                        make_folder(folder)
                        digest, size = self._copy(os.fspath(item), temp, flush=False)
                        if digest in temps or self._refresh(digest, size):
                            remove(temp)
                        else:
                            temps[digest] = temp
                    digests.append(digest)
                self._place_all(temps)
            finally:
                _sweep(folder)
        return digests

    def forget(self, digest: str) -> bool:
        """Delete an object; whether it was there."""
        with disk_errors(self.root, KEY):
            return remove(self._file(digest))

    # ---- damage

    def quarantine(self, digest: str) -> Path | None:
        """Move a damaged object out of the way; where it lies now.

        None where it was gone already, where the store cannot be written, or where the file turned
        out to be sound (a writer had just replaced the damaged one): then it stays.
        """
        path = self._file(digest)
        away = self.root / QUARANTINE / f"object-{parse_digest(digest)[1]}-{token()}"
        try:
            os.replace(path, away)
        except OSError:
            return None
        if self._sound(os.fspath(away), digest):
            os.replace(away, path)
            return None
        return away

    # ---- inside

    def relative(self, digest: str) -> str:
        """Where the object lies, or would lie, within the root."""
        algorithm, name = parse_digest(digest)
        if algorithm != ALGORITHM:
            raise ClipsteerError(
                f"{digest}: found a {algorithm} digest, but the store {self.root} names its "
                f"objects by {ALGORITHM}; use the store that the digest came from."
            )
        return f"{OBJECTS}/{name[:2]}/{name[2:]}"

    def _file(self, digest: str) -> str:
        return f"{self._root}/{self.relative(digest)}"

    def _temp(self) -> str:
        return f"{self._root}/{TMP}/{token()}"

    def missing(self, digest: str) -> MissingObjectError:
        """The error that says so."""
        return MissingObjectError(
            f"{self.root}: object {digest} is not in the store (removed, or never copied here); "
            "expected every object that a pointer or record names. Run the same command again to "
            "make it anew.",
            digest,
        )

    def _damaged(self, digest: str) -> DamagedObjectError:
        away = self.quarantine(digest)
        where = f"it was moved to {away}" if away else "it was replaced, or could not be moved"
        return DamagedObjectError(
            f"{self._file(digest)}: found other bytes than its name {digest} stands for (the file "
            f"is damaged; {where}). Run the same command again to make it anew; if it happens "
            "again, check the disk.",
            digest,
        )

    @staticmethod
    def _sound(path: str, digest: str) -> bool:
        try:
            return digest_file(path) == digest
        except OSError as error:
            if error.errno == errno.EIO:
                return False
            raise

    def _refresh(self, digest: str, size: int) -> bool:
        """Whether the object is here already; marked as new, so that gc spares it.

        False also where the object has another size (then it is quarantined), and where it belongs
        to somebody else, so that we may not touch it but may replace it by our own copy.
        """
        path = self._file(digest)
        try:
            if os.stat(path).st_size != size:
                self.quarantine(digest)
                return os.path.exists(path) and os.stat(path).st_size == size
            with self._beside_gc():
                os.utime(path)
        except FileNotFoundError:
            return False
        except PermissionError:
            return not os.access(os.path.dirname(path), os.W_OK)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
        return True

    def _touch(self, path: str) -> str:
        try:
            with self._beside_gc():
                os.utime(path)
        except FileNotFoundError:
            raise
        except OSError:  # somebody else's, or read-only: then it has only to be there
            os.stat(path)
        return path

    def _beside_gc(self) -> contextlib.AbstractContextManager[bool]:
        """Inside, gc looks at no object's time and deletes none: it comes before or after it."""
        return held_lock(self._lock, fcntl.LOCK_SH)

    def _movable(self, source: str) -> bool:
        info = os.lstat(source)
        same = info.st_dev == os.stat(self._objects).st_dev
        return stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and same

    @staticmethod
    def _copy(source: str, temp: str, *, flush: bool) -> tuple[str, int]:
        """Copy and hash in one pass, so that digest and size are those of the bytes written."""
        hasher, size = new_hash(), 0
        try:
            stream = open(source, "rb", buffering=0)  # noqa: SIM115  (closed below)
        except PermissionError as error:
            raise ClipsteerError(
                f"{source}: permission denied; expected a file that you may read. Change its "
                "permissions, then run the same command again."
            ) from error
        with stream:
            descriptor = os.open(
                temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READ_ONLY
            )
            try:
                try:
                    while chunk := stream.read(_CHUNK):
                        hasher.update(chunk)
                        write_all(descriptor, chunk)
                        size += len(chunk)
                    if flush:
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except BaseException:
                remove(temp)
                raise
        return f"{ALGORITHM}:{hasher.hexdigest()}", size

    def _publish(self, temp: str, digest: str, size: int) -> None:
        """Give one finished, flushed file its durable name, or drop it where it is here already."""
        try:
            if not self._refresh(digest, size):
                self._place(temp, digest)
                flush_folder(os.path.dirname(self._file(digest)))
        finally:
            remove(temp)

    def _place(self, temp: str, digest: str) -> None:
        """Rename a finished, flushed file to its name (the caller flushes the folder)."""
        path = self._file(digest)
        if make_folder(os.path.dirname(path)):
            flush_folder(self._objects)
        with self._beside_gc():
            os.replace(temp, path)

    def _place_all(self, temps: dict[str, str]) -> None:
        if not temps:
            return
        if len(temps) <= _FEW:
            for temp in temps.values():
                flush_file(temp)
        else:
            flush_many(self._root, temps.values(), flush_file)
        paths = {digest: self._file(digest) for digest in temps}
        folders = sorted({os.path.dirname(path) for path in paths.values()})
        if any([make_folder(folder) for folder in folders]):
            flush_folder(self._objects)
        with self._beside_gc():
            for digest, temp in temps.items():
                os.replace(temp, paths[digest])
        if len(folders) <= _FEW:
            for folder in folders:
                flush_folder(folder)
        else:
            flush_many(self._root, folders, flush_folder)


def _sweep(folder: str) -> None:
    """Remove a folder of temporary files. What cannot be removed is left to gc."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            remove(f"{folder}/{name}")
        os.rmdir(folder)
