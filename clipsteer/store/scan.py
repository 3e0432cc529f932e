"""Looks at a user's files before the DAG is built: what are they, and did any of them change?

A stat scan in git's manner: contents are hashed once and remembered with (size, mtime, ctime,
inode); while these four stay the same the file is not opened again. ctime is set by the system and
cannot be put back, so a change under the same size and a restored mtime is still noticed. An entry
that was hashed within the clock's grain of its last change is "racy": a second change may have left
no trace in the four numbers, so it is hashed again next time.

The outcome is a token, a small file with equal bytes for equal data: no times, hosts or absolute
paths. It is the declared input of the manifest step. DESIGN.md section 3.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import canonical_json, digest_bytes, digest_file
from clipsteer.store.durable import write_atomic
from clipsteer.store.trees import FolderTree

Watch = Literal["files", "labels", "off"]
FORMAT = "clipsteer-scan/1"
_WATCHES = ("files", "labels", "off")
# Time stamps are only as fine as the kernel's tick (ms), two seconds on FAT; a margin covers them
# all.
_GRAIN_NS = 2_000_000_000
_CHUNK = 2000


@dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    `token`: JSON-ready, deterministic. `digests`: path below the root (POSIX) -> content digest of
    each file whose content counts. `hashed`: how many files were opened in this scan.
    """

    token: dict[str, Any]
    digests: dict[str, str]
    hashed: int


def scan(
    root: Path,
    *,
    key: str,
    layout: str,
    watch: Watch,
    label_patterns: Sequence[str] = (),
    cache: Path,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> ScanResult:
    """Scan the user's folder `root`.

    watch `files`: every file's content counts. `labels`: the contents of the label files and the
    names of all others. `off`: images are not looked at, nor is any folder below the root; only the
    contents of the label files directly in the root count, so that two data sets with label files
    of the same names are still two. `label_patterns` are globs relative to the root (`*` within one
    name, `**/` any depth). Links to folders are followed (not by `off`); a link back to a folder
    above it is not.

    `key` is the config key that names the root and `layout` the layout expected there, both for
    messages. `progress` is called with the number of files hashed since its last call.

    Raises ClipsteerError for a missing root and for a file that cannot be read.
    """
    if watch not in _WATCHES:
        raise ClipsteerError(f"watch: found {watch!r}; expected one of {', '.join(_WATCHES)}.")
    if not os.path.isdir(root):
        what = "a file" if os.path.exists(root) else "nothing"
        raise ClipsteerError(
            f"{key}: found {what} at {root}; expected a folder with this layout:\n{layout}\n"
            f"Put the data there, or set {key} to the folder that holds them."
        )
    try:
        return _scan(root, watch, _matcher(label_patterns), cache, max(1, threads), progress)
    except OSError as error:
        raise ClipsteerError(
            f"{key}: {error.filename or root} cannot be read ({error.strerror});"
            " expected a readable file or folder. Mend or remove it and run again."
        ) from error


def _scan(
    root: Path,
    watch: Watch,
    is_label: Callable[[str], bool],
    cache: Path,
    threads: int,
    progress: Callable[[int], None] | None,
) -> ScanResult:
    if watch == "off":
        with os.scandir(root) as entries:
            paths = sorted(entry.name for entry in entries if is_label(entry.name))
    else:
        paths = sorted(_walk(root))
    counted = [path for path in paths if watch == "files" or is_label(path)]
    digests, hashed = _digests(root, counted, cache, threads, progress)
    names = [] if watch == "files" else [path for path in paths if path not in digests]
    return ScanResult(_token(watch, digests, names), digests, hashed)


class ScannedTree(FolderTree):
    """The user's folder as a scan found it: what has changed since is refused, not mixed in.

    `digests`: path below the root -> the scanned digest (`ScanResult.digests`, `cached_digests`).
    Files that are not in it are read unchecked. Raises ClipsteerError where `root` is no folder.
    """

    def __init__(self, root: str | os.PathLike[str], digests: Mapping[str, str]) -> None:
        super().__init__(root)
        self.digests = digests

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
    return {path: digest for path, (_, digest) in _read_cache(cache)[1].items()}


def _token(watch: str, digests: dict[str, str], names: Sequence[str]) -> dict[str, Any]:
    # NUL cannot occur in a path, so the text below is unambiguous.
    text = "\0".join([*(f"{path}\0{digests[path]}" for path in digests), "", *names])
    return {
        "digest": digest_bytes(os.fsencode(text)),
        "files": len(digests),
        "format": FORMAT,
        "names": len(names),
        "watch": watch,
    }


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


def _walk(root: Path) -> Iterator[str]:
    """Relative POSIX paths of everything that is not a folder, in no particular order."""
    start = os.stat(root)
    pending: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [
        (os.fspath(root), "", ((start.st_dev, start.st_ino),))
    ]
    while pending:
        folder, prefix, above = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir():  # follows links; a link that leads nowhere is not a folder
                    yield prefix + entry.name
                    continue
                about = os.stat(entry.path)
                here = (about.st_dev, about.st_ino)
                if here not in above:
                    pending.append((entry.path, f"{prefix}{entry.name}/", (*above, here)))


def _stamps(root: str, paths: Sequence[str]) -> list[tuple[str, str, int]]:
    """(path, the four numbers, ctime) of the regular files among `paths` that are still there."""
    found = []
    for path in paths:
        try:
            s = os.stat(f"{root}/{path}")
        except FileNotFoundError:
            continue
        if stat.S_ISREG(s.st_mode):
            numbers = f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}"
            found.append((path, numbers, s.st_ctime_ns))
    return found


def _digests(
    root: Path,
    paths: Sequence[str],
    cache: Path,
    threads: int,
    progress: Callable[[int], None] | None,
) -> tuple[dict[str, str], int]:
    """Digests by path, in the order of `paths`, and how many files had to be opened."""
    started = time.time_ns()  # before any stat: later changes carry a later ctime
    written, known = _read_cache(cache)
    base = os.fspath(root)

    def hash_one(path: str) -> str | None:
        try:
            digest = digest_file(Path(base, path))
        except FileNotFoundError:
            return None
        if progress is not None:
            progress(1)
        return digest

    with ThreadPoolExecutor(threads) as pool:
        chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
        run: Any = pool.map if threads > 1 else map
        stamped = [row for rows in run(lambda part: _stamps(base, part), chunks) for row in rows]
        stale = [
            path
            for path, numbers, ctime in stamped
            if (entry := known.get(path)) is None
            or entry[0] != numbers
            or ctime >= written - _GRAIN_NS
        ]
        # The stamp was taken before the content was read: a change in between shows in the next
        # scan's stamp.
        fresh = dict(zip(stale, run(hash_one, stale), strict=True))
    rows = [
        (path, numbers, digest)
        for path, numbers, _ in stamped
        if (digest := fresh[path] if path in fresh else known[path][1]) is not None
    ]
    if stale or len(rows) != len(known):
        _write_cache(cache, started, rows)
    return {path: digest for path, _, digest in rows}, len(stale)


# --- files ----------------------------------------------------------------------------------------
# The cache is NUL-separated text (a path holds any other character): reading 100,000 entries takes
# 0.1 s.


def _read_cache(path: Path) -> tuple[int, dict[str, tuple[str, str]]]:
    """(when it was written, path -> (the four numbers, digest)); damage counts as no cache."""
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        name, written, digest = head.decode().split(" ")
    except (OSError, ValueError):
        return 0, {}
    if name != FORMAT or digest != digest_bytes(body):
        return 0, {}
    cells = os.fsdecode(body).split("\0")
    return int(written), dict(
        zip(cells[0::3], zip(cells[1::3], cells[2::3], strict=False), strict=False)
    )


def _write_cache(path: Path, written: int, rows: Sequence[tuple[str, str, str]]) -> None:
    body = os.fsencode("\0".join(cell for row in rows for cell in row))
    with suppress(OSError, ClipsteerError):  # a cache that cannot be written only costs time
        write_atomic(path, f"{FORMAT} {written} {digest_bytes(body)}\n".encode() + body)
