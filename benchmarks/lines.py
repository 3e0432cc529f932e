"""What performance benchmarks share: work measured side by side, and one table of lines."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Line:
    """One row: what was measured, beside what, and whether the target was met."""

    what: str
    measured: float
    beside: str
    """The floor or the peer that `measured` is a multiple of."""
    target: float | None
    """The least multiple that passes; None where there is no target."""

    @property
    def passed(self) -> bool | None:
        """Whether the target was met; None where there is none."""
        return None if self.target is None else self.measured >= self.target


def side_by_side(
    work: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round, one after the other within a round.

    The machine may have other users: what they take in a round falls on all pieces alike. One round
    before those that count warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, run in work.items():
            begin = clock()
            run()
            if number:
                seconds[name].append(clock() - begin)
    return seconds


def times_as_fast(seconds: Mapping[str, Sequence[float]], name: str, beside: str) -> float:
    """Median over rounds of how many times as fast `name` was as `beside`."""
    return statistics.median(b / a for a, b in zip(seconds[name], seconds[beside], strict=True))


def show(lines: Sequence[Line]) -> None:
    """The table, as Markdown."""
    print("| line | measured | beside | target | pass |")
    print("|---|---|---|---|---|")
    words = {True: "yes", False: "**no**", None: ""}
    for line in lines:
        target = "" if line.target is None else f"{line.target:.2f} x"
        print(
            f"| {line.what} | {line.measured:.2f} x | {line.beside} | {target} | "
            f"{words[line.passed]} |"
        )


def write_json(path: Path | None, lines: Sequence[Line], **more: Any) -> None:
    """The same lines, and whatever else was measured, where `--json` asks for it."""
    if path is not None:
        rows = [{**asdict(line), "passed": line.passed} for line in lines]
        path.write_text(json.dumps({"lines": rows, **more}, indent=1) + "\n")


WALL = time.perf_counter
CPU = time.process_time
