"""Asks the system for the numbers of many files: size, mtime, ctime and inode of each.

On a local disk an answer takes 3 microseconds, all of them processor time, in which threads would
only wait for one another: other processes ask for a part each. Over a network it is waiting, and
threads wait together. This file is also what those processes run, so it imports nothing but the
standard library.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import NamedTuple

_CHUNK = 2000
# Seconds that an answer takes where it comes over a network.
_FAR = 50e-6
# Files that are worth a process: it starts in 20 ms.
_EACH = 50_000
#: Of a process's answer: without it the answer is cut short.
END = "end"


class Stamped(NamedTuple):
    """The regular files among some paths."""

    paths: list[str]
    numbers: list[str]
    """Size, mtime, ctime and inode of each, in one string."""
    newest: int
    """The last ctime."""


def all_stamps(root: str, paths: Sequence[str], threads: int) -> Stamped:
    """The numbers of those `paths` below `root` that are regular files and still there.

    At most so many threads or processes ask at once. Raises OSError where the system does not say.
    """
    began = time.perf_counter()
    first, rest = _stamps(root, paths[:_CHUNK]), paths[_CHUNK:]
    if time.perf_counter() - began > _FAR * _CHUNK:
        chunks = [rest[i : i + _CHUNK] for i in range(0, len(rest), _CHUNK)]
        with ThreadPoolExecutor(threads) as pool:
            return _joined([first, *pool.map(lambda chunk: _stamps(root, chunk), chunks)])
    parts = max(1, min(threads, os.cpu_count() or 1, len(rest) // _EACH))
    cuts = [len(rest) * i // parts for i in range(parts + 1)]
    shares = [rest[low:high] for low, high in pairwise(cuts)]
    asking = [(share, _ask(root, share)) for share in shares[1:]]
    try:
        done = [first, _stamps(root, shares[0])]
        # Whatever kept a process from answering is met again here, and named.
        done += [_answer(process) or _stamps(root, share) for share, process in asking]
    finally:
        for _, process in asking:
            _end(process)
    return _joined(done)


def _stamps(root: str, paths: Sequence[str]) -> Stamped:
    """The same, one after the other."""
    found: list[str] = []
    numbers: list[str] = []
    newest = 0
    for path in paths:
        try:
            s = os.stat(f"{root}/{path}")
        except FileNotFoundError:
            continue
        if stat.S_ISREG(s.st_mode):
            ctime = s.st_ctime_ns
            if ctime > newest:
                newest = ctime
            found.append(path)
            numbers.append(f"{s.st_size} {s.st_mtime_ns} {ctime} {s.st_ino}")
    return Stamped(found, numbers, newest)


def _joined(parts: Sequence[Stamped]) -> Stamped:
    found, numbers, newest = zip(*parts, strict=True)
    return Stamped(list(chain(*found)), list(chain(*numbers)), max(newest))


# --- other processes ------------------------------------------------------------------------------
# NUL-separated: a path holds any other character.


def _ask(root: str, paths: Sequence[str]) -> subprocess.Popen[bytes] | None:
    """A process that has been told what to look at; it reads all before it answers."""
    words = ["-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", __file__]
    try:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    assert process.stdin is not None
    try:
        with process.stdin as stream:
            stream.write(os.fsencode("\0".join([root, *paths])))
    except OSError:  # it has ended
        process.kill()
    return process


def _answer(process: subprocess.Popen[bytes] | None) -> Stamped | None:
    """What it found; None where it could not."""
    if process is None:
        return None
    assert process.stdout is not None
    head, *cells = os.fsdecode(process.stdout.read()).split("\0")
    words = head.split(" ")
    if process.wait() or len(words) != 2 or not cells or cells.pop() != END:
        return None
    files, newest = (int(word) for word in words)
    return Stamped(cells[:files], cells[files:], newest) if len(cells) == 2 * files else None


def _end(process: subprocess.Popen[bytes] | None) -> None:
    """It may still be at work, where another share has failed."""
    if process is not None and process.stdout is not None:
        process.stdout.close()
        process.kill()
        process.wait()


def main() -> None:
    """Reads root and paths from standard input, writes the files' stamps to standard output.

    First how many files there are and the last ctime, then their paths, their numbers and an end mark.
    """
    root, *paths = os.fsdecode(sys.stdin.buffer.read()).split("\0")
    found = _stamps(root, paths)
    head = f"{len(found.paths)} {found.newest}"
    text = "\0".join([head, *found.paths, *found.numbers, END])
    sys.stdout.buffer.write(os.fsencode(text))


if __name__ == "__main__":
    main()
