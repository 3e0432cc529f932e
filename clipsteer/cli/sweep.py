"""`clipsteer sweep`: a table's grids, what of them is there, what the rest would take, and afterwards the front."""

from __future__ import annotations

import argparse
import csv
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsteer.cli.common import columns, working
from clipsteer.cli.passed_on import add_options
from clipsteer.cli.plan import dag, sort_words
from clipsteer.cli.words import count, duration
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from clipsteer.lineage.foreseen import DagJob, Forecast

_TRAINS, _TABLE = "train_dictionary", "sweep_table"
_STATES = {"fresh": "there", "restored": "in the store", "pending": "open", "computed": "to train"}


def add(subparsers: Any) -> None:
    """The command of this file."""
    sweep = subparsers.add_parser(
        "sweep",
        help="the points of a table's grids: what is there, what the rest would take, and the front",
        description="Lists every point of the grids of a table's dictionaries with what would become of it, says what "
        "the sweep would take and how to run it; once it has run, shows the front. Computes nothing.",
    )
    sweep.add_argument("dataset", metavar="DATASET", help="the data set of the table")
    add_options(sweep)
    sweep.set_defaults(run=run_sweep)


def run_sweep(arguments: argparse.Namespace) -> int:
    """Show it. Raises ClipsteerError where the table has no dictionary with a grid, or Snakemake refuses."""
    from clipsteer.lineage.forecast import forecast

    target = f"results/{arguments.dataset}_sweep.csv"
    arguments.targets = []
    sort_words(arguments)
    if arguments.targets:
        raise ClipsteerError(
            f"found {' '.join(arguments.targets)}, expected one data set. Write it before --configfile and --config."
        )
    arguments.targets = [target]
    jobs = dag(arguments)
    with working("reading the store"):
        found = forecast(jobs, Path.cwd())
    sweeps = _sweeps(jobs)
    print("\n".join(_points(sweeps, found)))
    print()
    print("\n".join(_cost(found)))
    fresh = all(not job.runs for job in jobs if job.command)
    if fresh and Path(target).is_file():
        print()
        print("\n".join(front(Path(target), sweeps)))
    else:
        words = [w for option in ("configfile", "config") for w in _given(arguments, option)]
        print(f"Run it:  snakemake --cores all {target}{''.join(f' {word}' for word in words)}")
    return 0


def _given(arguments: argparse.Namespace, option: str) -> list[str]:
    values: list[str] = getattr(arguments, option)
    return [f"--{option}", *map(shlex.quote, values)] if values else []


def _sweeps(jobs: Sequence[DagJob]) -> list[dict[str, Any]]:
    """The grids, as the job of the table is told of them."""
    for job in jobs:
        if job.rule == _TABLE and job.command:
            words = shlex.split(job.command)
            recipe = json.loads(words[words.index("--recipe") + 1])
            found: list[dict[str, Any]] = recipe["config"]["sweeps"]
            return found
    raise ValueError(f"no job of {_TABLE} among {len(jobs)}")


def _points(sweeps: Sequence[Mapping[str, Any]], found: Forecast) -> Iterator[str]:
    """A line a point: its settings, and at how many layers it is there or to be trained."""
    states: dict[str, dict[str, int]] = {}
    for planned in found.jobs:
        for action in planned.actions if planned.job.rule == _TRAINS else ():
            point, _, _ = action.member.rpartition("/")
            word = _STATES[action.verdict]
            at = states.setdefault(point, {})
            at[word] = at.get(word, 0) + 1
    for sweep in sweeps:
        keys = sweep["keys"]
        yield f"{sweep['name']} ({sweep['architecture']}, {count(len(sweep['points']), 'point')})"
        rows = [("  point", *keys, "layers")]
        for point in sweep["points"]:
            told = ", ".join(f"{n} {word}" for word, n in states.get(point["name"], {}).items())
            values = (json.dumps(point["values"][key]) for key in keys)
            rows.append((f"  {point['name']}", *values, told))
        yield from columns(rows)


def _cost(found: Forecast) -> Iterator[str]:
    from clipsteer.lineage.budget import budget, total

    shares = budget(found)
    if not shares:
        yield "Nothing would be computed."
        return
    whole = total(shares.values())
    trained = shares.get(_TRAINS)
    yield (
        f"{count(whole.jobs, 'job')} would compute, about {duration(whole.cpu_seconds)} of CPU and "
        f"{duration(whole.gpu_seconds)} of GPU time, {count(trained.jobs if trained else 0, 'job')} of them to train. "
        "`plan --resources` says it rule by rule."
    )


def front(table: Path, sweeps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The points that no other beats, layer by layer, from a table that is there."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["pareto"] == "true" or row["chosen"] == "true"
        ]
    for sweep in sweeps:
        own = [row for row in rows if row["dictionary"] == sweep["name"]]
        own.sort(key=lambda row: (int(row["layer"]), float(row["l0"])))
        yield f"The front of {sweep['name']} (* is the one that tables use):"
        head = ("  layer", *sweep["keys"], "L0", "explained", "place", "on test", "edge", "")
        shown = [head]
        for row in own:
            shown.append(
                (
                    f"  {row['layer']}",
                    *(row[key] for key in sweep["keys"]),
                    f"{float(row['l0']):.1f}",
                    f"{float(row['explained_variance']):.3f}",
                    f"{row['rank']} of {row['points']}",
                    row["rank_test"],
                    row["edge"],
                    "*" if row["chosen"] == "true" else "",
                )
            )
        yield from columns(shown)
