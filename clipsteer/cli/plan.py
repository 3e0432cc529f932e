"""`clipsteer plan`: what a run would really compute and restore, and why."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsteer.cli.common import working
from clipsteer.cli.passed_on import add_options, words_of
from clipsteer.config.files import check_files
from clipsteer.errors import ClipsteerError
from clipsteer.store.roots import REFS

if TYPE_CHECKING:
    from clipsteer.lineage.foreseen import DagJob

_VALUE = re.compile(r"[a-zA-Z_][\w-]*=")
# What Snakemake says before it comes to the point.
_PREAMBLE = re.compile(r"(?:Using (?:work|pro)|Config file .* extended|Assuming|Building DAG)")
_PLACE = re.compile(r'File ".*", line \d+, in ')
# What comes before the point, such as a sentence of ours.
_BEFORE = re.compile(
    r'^(?:Building DAG of jobs\.\.\.|WorkflowError(?: in file ".*", line \d+)?:)$', re.M
)


def add(subparsers: Any) -> None:
    """The command of this file."""
    plan = subparsers.add_parser(
        "plan",
        help="what a run would really compute, what it would restore, and why",
        description="Says what `snakemake TARGET...` would really do: which actions would be "
        "computed, which restored from the store, which executed again for lost objects, and why. "
        "Computes nothing.",
    )
    plan.add_argument(
        "targets", nargs="*", metavar="TARGET", help="as for snakemake; none: all tables"
    )
    add_options(plan)
    plan.add_argument("--json", action="store_true", help="everything as JSON")
    plan.add_argument(
        "--resources",
        action="store_true",
        help="what the jobs would take of a cluster: memory, CPU and GPU time, disk",
    )
    plan.set_defaults(run=run_plan)


def run_plan(arguments: argparse.Namespace) -> int:
    """Print what a run would do. Raises ClipsteerError where Snakemake refuses targets or config."""
    from clipsteer.lineage.forecast import forecast, store_of

    sort_words(arguments)
    jobs = dag(arguments)
    _same_checkout(jobs)
    with working("reading the store"):
        found = forecast(jobs, Path.cwd())
    if arguments.json:
        print(json.dumps(found.as_json(), indent=1))
        return 0
    if arguments.resources:
        from clipsteer.cli.budget_words import lines
        from clipsteer.lineage.budget import budget

        print("\n".join(lines(budget(found), store_of(jobs), found.remade)))
        return 0
    from clipsteer.cli.plan_words import show

    show(found)
    return 0


def sort_words(arguments: argparse.Namespace) -> None:
    """Take the targets out of what follows --configfile and --config, which take all words they get.

    After --config a target is a word that is no NAME=VALUE, after the first file of --configfile one
    that is no config file. Raises ClipsteerError for a config file that is not there, or a
    --config that no NAME=VALUE follows.
    """
    if arguments.config and not _VALUE.match(arguments.config[0]):
        raise ClipsteerError(f"--config: found {arguments.config[0]!r}, expected NAME=VALUE.")
    first, rest = arguments.configfile[:1], arguments.configfile[1:]
    files = first + [word for word in rest if _is_config_file(word)]
    values = [word for word in arguments.config if _VALUE.match(word)]
    arguments.targets += [word for word in rest if word not in files]
    arguments.targets += [word for word in arguments.config if word not in values]
    arguments.configfile, arguments.config = files, values
    for file in files:
        if not Path(file).is_file():
            raise ClipsteerError(f"--configfile {file}: found no such file; check the path.")


def _is_config_file(word: str) -> bool:
    """Whether a word names a config file, there or not, and nothing that the workflow makes."""
    path = Path(os.path.normpath(word))
    if any(path.is_relative_to(folder) for folder in (REFS, "results")):
        return False
    return path.is_file() or path.suffix in (".yaml", ".yml", ".json")


def dag(arguments: argparse.Namespace) -> list[DagJob]:
    """The jobs that Snakemake finds by a dry run. Raises ClipsteerError with what it says against it."""
    from clipsteer.lineage.foreseen import DagJob

    check_files(arguments.configfile)  # Snakemake itself says neither which file nor which line
    with tempfile.TemporaryDirectory() as folder:
        description = Path(folder, "dag.json")
        # Quiet about just these two, Snakemake stops as soon as the DAG is there.
        words = [sys.executable, "-m", "snakemake", *arguments.targets, "--dry-run"]
        words += ["--quiet", "rules", "progress"]
        words += words_of(arguments)
        with working("asking snakemake"):
            done = subprocess.run(
                words,
                env={**os.environ, "CLIPSTEER_DESCRIBE": str(description)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        if done.returncode or not description.exists():
            raise ClipsteerError(f"snakemake refuses: {_complaint(done.stdout)}")
        return [DagJob(**job) for job in json.loads(description.read_text())["jobs"]]


def _complaint(text: str) -> str:
    """What Snakemake has against it, without what it says to every run."""
    parts = _BEFORE.split(text)
    lines = [
        line.rstrip()
        for line in parts[-1].splitlines()
        if line.strip() and not _PREAMBLE.match(line) and not _PLACE.match(line.strip())
    ]
    return "\n".join(lines) or "it gave no DAG and said nothing"


def _same_checkout(jobs: list[DagJob]) -> None:
    """Raises ClipsteerError where the jobs' scripts belong to another checkout than this library.

    The scripts' own `plan` is called, with the library that is here.
    """
    from clipsteer.lineage.forecast import project_of

    here, theirs = Path(__file__).resolve().parents[2], project_of(jobs)
    if theirs not in (None, here):
        raise ClipsteerError(
            f"{theirs}: found the scripts of another checkout than this library's ({here}), expected "
            f"the same. Run it as PYTHONPATH={theirs} python -m clipsteer plan ..."
        )
