"""Runs whose jobs tell which code of the project they have run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.runner.traces import Ran
from tests.staleness.scene import check_out
from tests.workflow.runs import Outcome, WorkingCopy

# Python runs this at the start of every job and of the warm worker, as the checkout is on their path.
TRACER = """
import atexit, json, os, runpy, sys, threading, time

seen = set()


def look(frame, event, argument):
    seen.add(frame.f_code)  # and nothing of its lines


def tell():
    sys.settrace(None)
    recipe = json.loads(sys.argv[sys.argv.index("--recipe") + 1])
    kept = [c for c in list(seen) if c.co_filename.startswith({root!r} + os.sep)]
    outside = ("clipsteer/store/", "clipsteer/runner/", "clipsteer/errors.py", "sitecustomize.py")
    kept = [c for c in kept if not c.co_filename[len({root!r}) + 1 :].startswith(outside)]
    told = [(c.co_filename, c.co_name, c.co_firstlineno, c.co_flags) for c in kept]
    with open(os.path.join({place!r}, f"{{os.getpid()}}-{{time.time_ns()}}.json"), "w") as file:
        json.dump([sys.argv[0], recipe["modules"], recipe["code"], told], file)


def trace():
    threading.settrace(look)
    sys.settrace(look)


def run_path(script, **options):
    # in a fork of the worker, which ends without a word
    trace()
    try:
        return untraced(script, **options)
    finally:
        tell()


if any("workflow_scripts" in word for word in sys.orig_argv):
    atexit.register(tell)
    trace()
elif "clipsteer.runner.warmer" in sys.orig_argv:
    untraced, runpy.run_path = runpy.run_path, run_path
"""


class Traced:
    """A checkout of its own in a folder, with the tracer in it, and what its runs have told."""

    def __init__(self, place: Path) -> None:
        self.clone, self._told = place / "clone", place / "told"

    def check_out(self) -> None:
        check_out(self.clone)
        self._told.mkdir()
        tracer = TRACER.format(root=str(self.clone), place=str(self._told))
        (self.clone / "sitecustomize.py").write_text(tracer)

    def run(self, copy: WorkingCopy, *targets: str, config: Mapping[str, Any]) -> Outcome:
        """One run in a working copy, as a process of its own, whose worker is one too."""
        ours = WorkingCopy(copy.folder, copy.store, base=self.clone)
        return ours.run(*targets, config=config, script='exec "$@"')

    def jobs(self) -> Iterator[tuple[Path, list[str], str, list[Ran]]]:
        """Of each process of a job: script, modules, the fingerprint that was planned, what ran."""
        for path in self._told.iterdir():
            script, modules, planned, told = json.loads(path.read_text())
            yield Path(script), modules, planned, [Ran.of(*words) for words in told]
