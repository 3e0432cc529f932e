"""`clipsteer report`: all that has been made of a data set, in one file to hand round."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from clipsteer.cli.passed_on import add_options, words_of
from clipsteer.config.files import check_files
from clipsteer.errors import ClipsteerError
from clipsteer.store.roots import REFS

_KINDS = (".zip", ".html")


def add(subparsers: Any) -> None:
    """The command of this file."""
    report = subparsers.add_parser(
        "report",
        help="all that has been made of a data set, in one file to hand round",
        description="Runs the table of a data set and whatever else of its results has been made here, as far as it is "
        "not up to date, and writes Snakemake's report of them: captions, tables, figures, and the page of features.",
    )
    report.add_argument("dataset", metavar="DATASET", help="a data set that has a table")
    report.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="a .zip, or an .html of a single file; default: results/DATASET_report.zip",
    )
    report.add_argument(
        "--cores", default="all", metavar="N", help="as for snakemake; default: all"
    )
    add_options(report)
    report.set_defaults(run=run_report)


def run_report(arguments: argparse.Namespace) -> int:
    """Run what is not up to date, then report. Raises ClipsteerError where Snakemake refuses either."""
    dataset = arguments.dataset
    out = arguments.out or Path("results", f"{dataset}_report.zip")
    if out.suffix not in _KINDS:
        raise ClipsteerError(
            f"--out: found {out}, expected a file that ends in {' or '.join(_KINDS)}."
        )
    check_files(arguments.configfile)
    targets = [f"results/{dataset}_table.csv", *made(dataset)]
    words = [sys.executable, "-m", "snakemake", *targets, "--cores", arguments.cores]
    words += words_of(arguments)
    for more in ([], ["--report", str(out)]):
        if status := subprocess.run([*words, *more], check=False).returncode:
            raise ClipsteerError(
                f"snakemake ended with status {status}, and said why above; no report of {dataset} was written."
            )
    print(out)
    return 0


def made(dataset: str) -> list[str]:
    """The pointers of what belongs to a data set as a whole, which stand for the results that came with them."""
    return sorted(str(pointer) for pointer in Path(REFS, dataset).glob("*.json"))
