"""Looks at a user's files before the DAG is built: what are they, and did any of them change?

A stat scan in git's manner: contents are hashed once and remembered with (size, mtime, ctime,
inode); while these four stay the same the file is not opened again. ctime is set by the system and
cannot be put back, so a change under the same size and a restored mtime is still noticed. An entry
that was hashed within the clock's grain of its last change is "racy": a second change may have left
no trace in the four numbers, so it is hashed again next time.

The outcome is a token, a small file with equal bytes for equal data: no times, hosts or absolute
paths. It is the declared input of the manifest step. docs/configuration.md, "Watch modes".
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from clipsteer.errors import ClipsteerError
from clipsteer.runner.stamps import Stamped, all_stamps
from clipsteer.store.clutter import NO_DATA, is_clutter
from clipsteer.store.digest import canonical_json, digest_bytes, digest_file
from clipsteer.store.durable import write_atomic
from clipsteer.store.trees import FolderTree

Watch = Literal["files", "labels", "off"]
FORMAT = "clipsteer-scan/1"
CACHE_FORMAT = "clipsteer-scan-cache/2"
_WATCHES = ("files", "labels", "off")
# Time stamps are only as fine as the kernel's tick (ms), two seconds on FAT; a margin covers them
# all.
_GRAIN_NS = 2_000_000_000
_HASHED = 100


class _Known(NamedTuple):
    """What a scan found: three columns as long as one another, each NUL-separated."""

    written: int
    """When, in ns."""
    content: str
    """Digest of the paths with their digests."""
    paths: bytes
    numbers: bytes
    """Size, mtime, ctime and inode, in one string."""
    digests: bytes

    def files(self) -> int:
        return 1 + self.paths.count(b"\0") if self.paths else 0

    def by_path(self) -> dict[str, str]:
        return dict(zip(_cells(self.paths), _cells(self.digests), strict=True))


@dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    `token`: JSON-ready, deterministic. `hashed`: how many files were opened in this scan.
    """

    token: dict[str, Any]
    hashed: int
    known: _Known = field(repr=False, compare=False)

    @property
    def digests(self) -> dict[str, str]:
        """Path below the root (POSIX) -> content digest of each file whose content counts."""
        return self.known.by_path()


@dataclass(frozen=True)
class Folder:
    """A folder of the user's and what counts in it.

    watch `files`: every file's content counts. `labels`: the contents of the label files and the
    names of all others. `off`: images are not looked at, nor is any folder below the root; only the
    contents of the label files directly in the root count, so that two data sets with label files
    of the same names are still two. `label_patterns` are globs relative to the root (`*` within one
    name, `**/` any depth).

    Hidden and system files and folders do not count, but for what the user names: `named(False)`
    gives the label files that the configuration names, and `named(True)`, called where a file or
    folder was passed by, also what those name in such places.

    `key` is the config key that names the root and `layout` the layout expected there, both for
    messages.
    """

    root: Path
    key: str
    layout: str
    watch: Watch
    label_patterns: Sequence[str] = ()
    named: Callable[[bool], Iterable[str]] | None = None


def scan(
    folder: Folder,
    *,
    cache: Path,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> ScanResult:
    """Scan a folder of the user's; `cache` is the file that remembers what was hashed.

    Links to folders are followed (not where `off`); a link back to a folder above it is not.
    `progress` is called with the number of files hashed since its last call.

    Raises ClipsteerError for a missing root and for a file that cannot be read.
    """
    root, key = folder.root, folder.key
    if folder.watch not in _WATCHES:
        found, expected = folder.watch, ", ".join(_WATCHES)
        raise ClipsteerError(f"watch: found {found!r}; expected one of {expected}.")
    if not os.path.isdir(root):
        what = "a file" if os.path.exists(root) else "nothing"
        raise ClipsteerError(
            f"{key}: found {what} at {root}; expected a folder with this layout:\n{folder.layout}\n"
            f"Put the data there, or set {key} to the folder that holds them."
        )
    try:
        return _scan(folder, cache, max(1, threads), progress)
    except OSError as error:
        raise ClipsteerError(
            f"{key}: {error.filename or root} cannot be read ({error.strerror});"
            " expected a readable file or folder. Mend or remove it and run again."
        ) from error


def _scan(
    folder: Folder, cache: Path, threads: int, progress: Callable[[int], None] | None
) -> ScanResult:
    root, watch, named = folder.root, folder.watch, folder.named
    is_label = _matcher(folder.label_patterns)
    left_out: list[str] = []
    paths: Iterable[str]
    if watch == "off":
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if not is_clutter(entry.name)]
        paths = list(filter(is_label, names))
    else:
        paths = list(_walk(root, left_out))
    labels: set[str] = set()
    if named is not None:
        labels = set(_files(root, named(False)))
        beside = any(path.rpartition("/")[2].casefold() not in NO_DATA for path in left_out)
        more = labels.union(_files(root, named(True) if beside else ()))
        paths = {*paths, *more} if more else paths
    paths = sorted(paths)
    counted = [path for path in paths if watch == "files" or is_label(path) or path in labels]
    known, hashed = _look(root, counted, cache, threads, progress)
    content, names = known.content, list[str]()
    if watch != "files":
        digests = known.by_path()
        names = [path for path in paths if path not in digests]
        content = _content(list(digests), list(digests.values()), names)
    token = {
        "digest": content,
        "files": known.files(),
        "format": FORMAT,
        "names": len(names),
        "watch": watch,
    }
    return ScanResult(token, hashed, known)


class ScannedTree(FolderTree):
    """The user's folder as a scan found it: what has changed since is refused, not mixed in.

    Hidden and system files and folders are not listed.

    `digests`: path below the root -> the scanned digest (`ScanResult.digests`, `cached_digests`).
    Files that are not in it are read unchecked. Raises ClipsteerError where `root` is no folder.
    """

    def __init__(self, root: str | os.PathLike[str], digests: Mapping[str, str]) -> None:
        super().__init__(root, whole=False)
        self.digests = digests
        self._paths: list[str] | None = None

    def paths(self) -> list[str]:
        """As a FolderTree's, but looked for once."""
        if self._paths is None:
            self._paths = super().paths()
        return self._paths

    def read(self, path: str) -> bytes:
        """The content. Raises ClipsteerError where it is missing or not what the scan found."""
        data = super().read(path)
        expected = self.digests.get(path)
        if expected is not None and digest_bytes(data) != expected:
            raise ClipsteerError(
                f"{self.root / path}: found other content than at the start, expected the file "
                "that was scanned; it changed since the run began; run the same command again."
            )
        return data

    def digest(self, path: str) -> str:
        """The scanned digest, without opening the file: whoever reads it checks it again."""
        return self.digests.get(path) or super().digest(path)


def write_token(path: Path, token: dict[str, Any]) -> bool:
    """Write the token unless the file already holds it (its mtime then stays); True if written."""
    data = canonical_json(token) + b"\n"
    with suppress(OSError):
        if path.read_bytes() == data:
            return False
    write_atomic(path, data)
    return True


def cached_digests(cache: Path) -> dict[str, str]:
    """Path -> digest as the last scan with this cache found them; empty where the cache is unsound.

    A hint that saves hashing, not a promise: the file may have changed since.
    """
    return _read_cache(cache).by_path()


def _content(paths: Sequence[str], digests: Sequence[str], names: Sequence[str]) -> str:
    """One digest of files with their digests, and of the names of others."""
    both = [""] * (2 * len(paths))
    both[0::2], both[1::2] = paths, digests
    # NUL cannot occur in a path, so the text is unambiguous.
    return digest_bytes(_column([*both, "", *names]))


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A test for relative paths: `*` and `?` stay within a name, `**/` crosses folders."""
    if not patterns:
        return lambda path: False
    known = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    parts = []
    for pattern in patterns:
        tokens = re.split(r"(\*\*/|\*|\?)", pattern)
        parts.append("".join(known.get(token) or re.escape(token) for token in tokens))
    regex = re.compile("|".join(f"(?:{part})" for part in parts), re.DOTALL)
    return lambda path: regex.fullmatch(path) is not None


def _files(root: Path, paths: Iterable[str]) -> Iterator[str]:
    return (path for path in paths if os.path.isfile(root / path))


def _walk(root: Path, left_out: list[str]) -> Iterator[str]:
    """Relative POSIX paths of everything that is not a folder, in no particular order.

    Hidden and system files and folders go to `left_out`.
    """
    start = os.stat(root)
    pending: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [
        (os.fspath(root), "", ((start.st_dev, start.st_ino),))
    ]
    while pending:
        folder, prefix, above = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_clutter(entry.name):
                    left_out.append(prefix + entry.name)
                    continue
                if not entry.is_dir():  # follows links; a link that leads nowhere is not a folder
                    yield prefix + entry.name
                    continue
                about = os.stat(entry.path)
                here = (about.st_dev, about.st_ino)
                if here not in above:
                    pending.append((entry.path, f"{prefix}{entry.name}/", (*above, here)))


def _chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _look(
    root: Path,
    paths: Sequence[str],
    cache: Path,
    threads: int,
    progress: Callable[[int], None] | None,
) -> tuple[_Known, int]:
    """What the files at `paths` (sorted) are now, and how many had to be opened."""
    started = time.time_ns()  # before any stat: later changes carry a later ctime
    known = _read_cache(cache)
    base = os.fspath(root)
    stamped = all_stamps(base, paths, threads)
    columns = _column(stamped.paths), _column(stamped.numbers)
    racy = known.written - _GRAIN_NS
    if stamped.newest < racy and columns == (known.paths, known.numbers):
        return known, 0  # as nearly always: then no table of all files is made
    digests = _remembered(stamped, known, racy)
    stale = [i for i, digest in enumerate(digests) if digest is None]

    def hash_some(some: Sequence[int]) -> list[str | None]:
        return [_digest_of(Path(base, stamped.paths[i]), progress) for i in some]

    # The stamp was taken before the content was read: a change in between shows in the next
    # scan's stamp.
    with ThreadPoolExecutor(threads) as pool:
        run: Any = pool.map if threads > 1 else map
        for i, digest in zip(stale, chain(*run(hash_some, _chunks(stale, _HASHED))), strict=True):
            digests[i] = digest
    there = [i for i, digest in enumerate(digests) if digest is not None]
    found, numbers, sound = (
        [column[i] for i in there] for column in (stamped.paths, stamped.numbers, digests)
    )
    now = _Known(
        started, _content(found, sound, []), _column(found), _column(numbers), _column(sound)
    )
    if stale or now.paths != known.paths:
        _write_cache(cache, now)
    return now, len(stale)


def _digest_of(path: Path, progress: Callable[[int], None] | None) -> str | None:
    """None where the file is gone."""
    try:
        digest = digest_file(path)
    except FileNotFoundError:
        return None
    if progress is not None:
        progress(1)
    return digest


def _remembered(stamped: Stamped, known: _Known, racy: int) -> list[Any]:
    """The digest of each file that is known and not changed since; None for the others."""
    before = zip(_cells(known.numbers), _cells(known.digests), strict=True)
    table = dict(zip(_cells(known.paths), before, strict=True))

    def digest(path: str, numbers: str) -> str | None:
        was, digest = table.get(path, (None, None))
        return digest if was == numbers and int(numbers.split(" ")[2]) < racy else None

    return list(map(digest, stamped.paths, stamped.numbers))


# --- files ----------------------------------------------------------------------------------------
# The cache is text, NUL-separated (a path holds any other character) and column by column, so that a
# scan which finds nothing new compares whole columns.

_NOTHING = _Known(0, digest_bytes(b""), b"", b"", b"")


def _column(cells: Iterable[str]) -> bytes:
    return os.fsencode("\0".join(cells))


def _cells(column: bytes) -> list[str]:
    return os.fsdecode(column).split("\0") if column else []


def _read_cache(path: Path) -> _Known:
    """What the last scan found; damage counts as nothing."""
    try:
        head, _, rest = path.read_bytes().partition(b"\n")
        name, digest = head.decode().split(" ")
    except (OSError, ValueError):
        return _NOTHING
    if name != CACHE_FORMAT or digest != digest_bytes(rest):
        return _NOTHING
    about, _, body = rest.partition(b"\n")
    written, content, paths, numbers = about.decode().split(" ")
    first, second = int(paths), int(paths) + int(numbers)
    return _Known(int(written), content, body[:first], body[first:second], body[second:])


def _write_cache(path: Path, known: _Known) -> None:
    about = f"{known.written} {known.content} {len(known.paths)} {len(known.numbers)}\n"
    rest = b"".join([about.encode(), *known[2:]])
    with suppress(OSError, ClipsteerError):  # a cache that cannot be written only costs time
        write_atomic(path, f"{CACHE_FORMAT} {digest_bytes(rest)}\n".encode() + rest)
