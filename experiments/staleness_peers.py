"""Which edits does plain Snakemake get right, which DVC, redun, clipsteer? One toy chain, many edits.

The same small chain is written for each tool (experiments/staleness_peers). Every edit is made to a fresh
copy of the finished state, the tool's command is given once more, and the steps that really ran, which
each step notes in a file that no tool watches, are held against the right answer; the result's bytes
against those of the scripts run from scratch without any tool. Prints a Markdown table and, after a full
run, writes docs/staleness_peers.md. DVC and redun get a virtual environment of their own.

    python experiments/staleness_peers.py [--environment DIR] [--json FILE] [--tools NAME ...] [--edits TEXT]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from staleness_peers_edits import EDITS, Edit, NotThereError
from staleness_peers_page import PAGE, document, table
from staleness_peers_tools import ALONE, BASE, PINS, STEPS, TOOLS, Place, Tool, make_environment


@dataclass(frozen=True)
class Cell:
    """What one tool made of one edit."""

    tool: str
    edit: str
    verdict: str
    ran: list[str] = field(default_factory=list)
    too_many: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    said: str = ""


def judge(tool: str, edit: Edit, ran: Sequence[str], right_result: bool, status: int) -> Cell:
    """The verdict on a run: right, too much, too little (by luck the result is right), stale, fails."""
    counts = Counter(ran)
    allowed = {step: 1 for step in edit.must | edit.may}
    too_many = sorted((counts - Counter(allowed)).elements())
    missing = sorted(edit.must - counts.keys())
    if status:
        verdict = "fails"
    elif not right_result:
        verdict = "stale"
    elif missing:
        verdict = "too little"
    else:
        verdict = "too much" if too_many else "right"
    return Cell(tool, edit.name, verdict, list(ran), too_many, missing)


def from_scratch(edit: Edit, folder: Path) -> bytes:
    """The result after an edit: the scripts one after another, no tool, nothing kept."""
    place = Place(folder, ALONE)
    place.lay_out()
    _run(place)
    for change in edit.changes:
        change(place)
    _run(place)
    report = place.report()
    assert report is not None
    return report


def _run(place: Place) -> list[str]:
    """A run that has to succeed."""
    ran, status, said = place.run()
    if status:
        raise RuntimeError(f"{place.tool.name} ended with {status} in {place.project}:\n{said}")
    return ran


class Bench:
    """A tool with its chain finished, ready for edits."""

    def __init__(self, tool: Tool, folder: Path, peers: Path | None) -> None:
        self.place = Place(folder, tool, peers)
        self.place.lay_out()
        ran = _run(self.place)
        if sorted(ran) != sorted(STEPS):
            raise RuntimeError(f"{tool.name}: the first run did {ran}, expected each step once")
        self.first = self.place.report()
        self.place.keep()

    def try_edit(self, edit: Edit, right: bytes) -> Cell:
        """Make the edit to a fresh copy of the finished state and run again."""
        place = self.place
        place.restore()
        if place.tool.inodes and edit.name != "nothing" and (ran := _run(place)):
            raise RuntimeError(f"{place.tool.name}: nothing was changed, and {ran} ran")
        if edit.clone:
            place.clone()
        try:
            for change in edit.changes[:-1]:
                change(place)
                _run(place)
            edit.changes[-1](place)
        except NotThereError:
            return Cell(place.tool.name, edit.name, "-")
        ran, status, said = place.run()
        cell = judge(place.tool.name, edit, ran, place.report() == right, status)
        return cell if status == 0 else Cell(**{**asdict(cell), "said": said})


def compare(tools: Sequence[Tool], edits: Sequence[Edit], peers: Path | None) -> list[Cell]:
    """Every edit with every tool. Raises RuntimeError where a tool cannot run the chain at all."""
    cells = []
    with tempfile.TemporaryDirectory(prefix="staleness-peers-") as name:
        work = Path(name).resolve()
        right = {edit.name: from_scratch(edit, work / f"alone-{i}") for i, edit in enumerate(edits)}
        unedited = from_scratch(EDITS[0], work / "alone")
        for number, tool in enumerate(tools):
            bench = Bench(tool, work / f"tool-{number}", peers)
            if bench.first != unedited:
                raise RuntimeError(f"{tool.name}: its chain is not the same as the others'")
            for edit in edits:
                cells.append(bench.try_edit(edit, right[edit.name]))
                last = cells[-1]
                print(f"{tool.name}: {edit.name}: {last.verdict} {last.ran}", file=sys.stderr)
    return cells


def versions() -> dict[str, str]:
    """What was compared."""
    python = ".".join(map(str, sys.version_info[:3]))
    own = tomllib.loads((BASE / "pyproject.toml").read_text())["project"]["version"]
    return {"python": python, "snakemake": version("snakemake"), **PINS, "clipsteer": own}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [tool.name for tool in TOOLS]
    parser.add_argument(
        "--environment",
        type=Path,
        metavar="DIR",
        help="virtual environment of DVC and redun, made if it is not there; else a temporary one",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every cell there too")
    parser.add_argument("--tools", nargs="+", default=names, choices=names, metavar="NAME")
    parser.add_argument("--edits", default="", metavar="TEXT", help="only edits with this text")
    given = parser.parse_args(arguments)
    tools = [tool for tool in TOOLS if tool.name in given.tools]
    edits = [edit for edit in EDITS if given.edits in edit.name]
    with tempfile.TemporaryDirectory(prefix="staleness-peers-environment-") as name:
        peers = None
        if any(tool.peer for tool in tools):
            peers = make_environment((given.environment or Path(name)).resolve())
        cells = [asdict(cell) for cell in compare(tools, edits, peers)]
    print(table(cells))
    if given.json:
        content = {"versions": versions(), "cells": cells}
        given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if len(tools) == len(TOOLS) and len(edits) == len(EDITS):
        PAGE.write_text(document(cells, versions()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
