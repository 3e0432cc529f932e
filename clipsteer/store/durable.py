"""Files that survive a crash: temp, flush, rename; and faults of the disk in plain words."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from clipsteer.errors import ClipsteerError

_FAULTS = {
    errno.ENOSPC: ("the disk is full", "free some space there, or use a bigger disk"),
    errno.EDQUOT: ("your disk quota is used up", "free some space there, or raise the quota"),
    errno.EFBIG: (
        "the file would exceed the size limit of this shell or file system",
        "raise the limit (`ulimit -f unlimited`) or use another file system",
    ),
    errno.EACCES: ("permission denied", "make the folder writable for you, or use another one"),
    errno.EPERM: ("operation not permitted", "make the folder writable for you, or use another"),
    errno.EROFS: ("the file system is read-only", "mount it writable, or use another folder"),
    errno.EIO: ("the disk reports a fault", "check the disk (`dmesg`), or use another one"),
}


@contextlib.contextmanager
def disk_errors(path: str | os.PathLike[str], key: str = "") -> Iterator[None]:
    """Turn a full, forbidden or failing disk into a ClipsteerError that names `path`.

    `key` is the config key that chooses the place, if one does. Other OSErrors (a missing file,
    say) pass through: they are not the disk's doing.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FAULTS:
            raise
        found, remedy = _FAULTS[error.errno]
        remedy += f" (config key `{key}`)" if key else ""
        raise ClipsteerError(
            f"{os.fspath(path)}: cannot write: {found} ({errno.errorcode[error.errno]}); expected "
            f"a folder with room that can be written. To mend it: {remedy}, then run "
            "the same command again; nothing half-written was left."
        ) from error


def token() -> str:
    """A name part that no other process, host or crash shares."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that `write_atomic` gives to what it has not finished."""
    return re.fullmatch(r"\..+\.\d+-[0-9a-f]{16}\.tmp", name) is not None


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte of `data` (one `write` may take fewer)."""
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]


def write_new(path: str, data: bytes, *, mode: int, flush: bool) -> None:
    """Create `path` (which must not exist) with `data`; removed again where that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(descriptor, data)
            if flush:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        remove(path)
        raise


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data` so that a reader sees the old or the new file, never a part.

    Makes missing parent folders. The temporary file lies beside `path`. Raises ClipsteerError
    for a full, forbidden or failing disk; nothing is left behind then.
    """
    temp = os.fspath(path.with_name(f".{path.name}.{token()}.tmp"))
    with disk_errors(path):
        make_folders(path.parent)
        write_new(temp, data, mode=mode, flush=True)
        try:
            os.replace(temp, path)
        except BaseException:
            remove(temp)
            raise
        flush_folder(path.parent)


def make_folder(path: str) -> bool:
    """Make a folder in one that is there; whether it was new."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def make_folders(path: Path) -> None:
    """Make a folder, and those above it, where they are missing; their names are durable on return.

    Raises ClipsteerError where a file stands in the way.
    """
    if not path.is_dir():
        make_folders(path.parent)
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError:
            raise ClipsteerError(
                f"{path}: found a file, expected a folder. Move the file away and run the same command again."
            ) from None
        flush_folder(path.parent)


def remove(path: str) -> bool:
    """Remove a file if it is there; whether it was."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def flush_file(path: str) -> None:
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: str | os.PathLike[str]) -> None:
    """Make the names in a folder durable. Some network file systems refuse this; they need none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def flush_many(folder: str, paths: Iterable[str], each: Callable[[str], None]) -> None:
    """Make many new files (or folders) below `folder` durable in one go.

    One `syncfs` where the system has it (thousands of fsyncs would cost seconds), else `each`
    (flush_file or flush_folder) on every path.
    """
    if not _syncfs(folder):
        for path in paths:
            each(path)


def _syncfs(folder: str) -> bool:
    """Flush the whole file system that holds `folder`; False where that cannot be asked for."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if call(descriptor) == 0:
            return True
        code = ctypes.get_errno()
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise OSError(code, os.strerror(code), folder)
        return False
    finally:
        os.close(descriptor)
