"""The embedded default from nothing: one table in a fresh working folder with a store of its own.

    python -m benchmarks.cold [TARGET] [--folder DIR] [--configfile FILE ...] [--json FILE]

What `make results/celeba_table.csv` does in a fresh clone once everything is installed. Beside the wall time
stands its share in which no action is being computed: Snakemake, process starts, imports. The actions' own
records say when each of them computed (start to the second, length to the millisecond).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from benchmarks.lines import answer, new_file, positive, show, write_json
from benchmarks.restore import snakemake, timed, work_in


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("target", nargs="?", default="results/celeba_table.csv")
    words.add_argument("--folder", type=Path, help="to work in, and to keep; not there yet")
    words.add_argument("--configfile", nargs="+", type=Path, default=[])
    words.add_argument("--cores", type=positive, default=os.cpu_count())
    words.add_argument("--json", type=new_file, metavar="FILE", help="write the numbers there too")
    given = words.parse_args(argv)
    if given.folder and given.folder.exists():
        words.error(f"--folder {given.folder}: found something there, expected nothing")
    out = given.json.resolve() if given.json else None
    configfiles = [str(file.resolve()) for file in given.configfile]
    with tempfile.TemporaryDirectory() as scratch:
        work_in(given.folder or Path(scratch, "cold"))
        run = snakemake("--cores", str(given.cores), given.target, configfiles=configfiles)
        seconds = timed(run)
        spans, steps = [], defaultdict(float)
        for path in Path("artifacts/actions").rglob("*.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            began = datetime.fromisoformat(record["run"]["began"]).timestamp()
            spans.append((began, began + record["run"]["seconds"]))
            steps[record["step"]] += record["run"]["seconds"]
        os.chdir(scratch)
    lines = [
        answer("cold/seconds", seconds),
        answer("cold/outside", 100 * (1 - covered(spans) / seconds)),
    ]
    print(
        f"{given.target}, {given.cores} cores, {len(spans)} actions\n\n| step | seconds |\n|---|--:|"
    )
    for step, taken in sorted(steps.items(), key=lambda item: -item[1]):
        print(f"| {step} | {taken:.1f} |")
    print()
    show(lines)
    write_json(out, lines, seconds=seconds, steps=steps, actions=len(spans))
    return 0


if __name__ == "__main__":
    sys.exit(main())
