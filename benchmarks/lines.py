"""What performance benchmarks share: work measured side by side, and one table of lines."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.targets import TARGETS


@dataclass(frozen=True)
class Line:
    """One row: what was measured, beside what, and whether the target was met."""

    what: str
    measured: float
    beside: str
    """The floor or the peer; `measured` is a multiple of it where the unit is `x`."""
    target: float | None
    """What passes; None where there is no target."""
    unit: str = "x"
    most: bool = False
    """Whether `measured` may be at most the target; else at least."""
    key: str | None = None
    """Which of benchmarks/targets.py it answers."""

    @property
    def passed(self) -> bool | None:
        """Whether the target was met; None where there is none."""
        if self.target is None:
            return None
        return self.measured <= self.target if self.most else self.measured >= self.target


def answer(key: str, measured: float, beside: str | None = None) -> Line:
    """The line that answers one of the targets; `beside` where only the run knows it."""
    target = TARGETS[key]
    beside = beside or target.beside
    return Line(target.what, measured, beside, target.limit, target.unit, target.most, key)


def side_by_side(
    work: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round, one after the other within a round.

    The machine may have other users: what they take in a round falls on all pieces alike. One round
    before those that count warms up. Each round begins with another piece: what runs after a process
    of a peer's is some per cent slower than what runs after a piece like itself.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    pieces = list(work.items())
    for number in range(rounds + 1):
        first = number % len(pieces)
        for name, run in pieces[first:] + pieces[:first]:
            begin = clock()
            run()
            if number:
                seconds[name].append(clock() - begin)
    return seconds


def times_as_fast(seconds: Mapping[str, Sequence[float]], name: str, beside: str) -> float:
    """Median over rounds of how many times as fast `name` was as `beside`."""
    return statistics.median(b / a for a, b in zip(seconds[name], seconds[beside], strict=True))


def number(value: float, unit: str) -> str:
    """A measured value or a target in words; more digits where it is small."""
    digits = 0 if value >= 100 or (unit == "" and value == int(value)) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def row(line: Line) -> str:
    """Cells of one line: what, target, measured, beside, verdict."""
    target = ""
    if line.target is not None:
        target = ("at most " if line.most else "") + number(line.target, line.unit)
    word = {True: "pass", False: "**missed**", None: ""}[line.passed]
    return (
        f"| {line.what} | {target} | {number(line.measured, line.unit)} | {line.beside} | {word} |"
    )


def show(lines: Sequence[Line]) -> None:
    """The table, as Markdown."""
    print("| line | target | measured | floor or peer | |\n|---|--:|--:|---|---|")
    for line in lines:
        print(row(line))


def write_json(
    path: Path | None,
    lines: Sequence[Line],
    failures: Mapping[str, str] | None = None,
    **more: Any,
) -> None:
    """The same lines, and whatever else was measured, where `--json` asks for it.

    `failures`: key of a target that could not be measured -> why.
    """
    if path is not None:
        rows = [{**asdict(line), "passed": line.passed} for line in lines]
        found = {"lines": rows, "failures": dict(failures or {}), **more}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


WALL = time.perf_counter
CPU = time.process_time


def cpu_of_children() -> float:
    """Processor seconds of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- what command lines say -----------------------------------------------------------------------


def positive(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {value}, expected a whole number from 1")
    return value


def existing_folder(text: str) -> Path:
    """A folder that is there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"found no folder at {text}")
    return Path(text)


def new_file(text: str) -> Path:
    """A file that can be written when all has been measured."""
    path = Path(text)
    if path.is_dir() or not os.access(existing_folder(str(path.parent)), os.W_OK):
        raise argparse.ArgumentTypeError(f"found a place where no file can be written: {path}")
    return path


def device(text: str) -> str:
    """A device that torch has here."""
    import torch

    try:
        torch.empty(1, device=text)
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(
            f"torch has no {text!r} here ({str(error).splitlines()[0]}); try cpu"
        ) from error
    return text
