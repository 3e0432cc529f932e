"""A working copy of the toy workflow: what its jobs would do is foreseen, then they run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipsteer.lineage.forecast import forecast
from clipsteer.lineage.foreseen import DagJob, Forecast
from clipsteer.runner.code import loaded
from clipsteer.runner.step import main
from clipsteer.store.actions import ActionStore
from clipsteer.store.digest import digest_bytes
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Pointer, read_pointer
from tests.lineage.agreement import Happened, agree
from tests.toy import Toy

CONFIG: dict[str, dict[str, Any]] = {
    "number": {"value": 10},
    "half": {"members": {"h/a": 1, "h/b": 3}},
    "names": {},
    "each": {"part": 0, "parts": 2, "times": 10},
    "sum": {"plus": 1},
    "multiples": {"times": [1, 2, 3]},
    "fact": {},
    "pack": {"a": "one"},
    "list": {"b": digest_bytes(b"the same")},
    "find": {},
}


class Toys(Toy):
    """The numbers among the toy steps; `root` has to be the current folder."""

    def job(
        self,
        step: str,
        *,
        name: str = "",
        runs: bool = True,
        missing: bool = False,
        options: str = "",
        config: Mapping[str, Any] | None = None,
        **inputs: list[str],
    ) -> DagJob:
        """A job of a step; `inputs` are the names of the jobs that it reads, by its own names."""
        recipe = self.recipe(step, CONFIG[step] | dict(config or {}))
        name = name or step
        words = [sys.executable, str(self.script(step)), "--recipe", recipe]
        words += ["--store", "store", "--name", name, "--pointer", f"refs/{name}.json"]
        words += ["--log", f"logs/{name}.log", *options.split()]
        for input_, jobs in inputs.items():
            words += ["--inputs", input_, *(f"refs/{job}.json" for job in jobs)]
        reason = {"missing": [f"refs/{name}.json"] if missing else []}
        return DagJob(step, {"name": name}, f"PYTHONPATH=x {shlex.join(words)}", runs, reason)

    def chain(self, *, runs: bool = True, **config: Mapping[str, Any]) -> list[DagJob]:
        """number -> half -> sum."""
        return [
            self.job("number", config=config.get("number"), runs=runs),
            self.job("half", config=config.get("half"), runs=runs, number=["number"]),
            self.job("sum", config=config.get("sum"), runs=runs, values=["half"]),
        ]

    def foresee(self, jobs: list[DagJob]) -> Forecast:
        return forecast(jobs, self.root)

    def run(self, jobs: list[DagJob]) -> Happened:
        """Run the jobs that run, in their order, each as its own command line says."""
        happened = Happened()
        for job in jobs:
            if job.runs:
                _, _, script, *words = shlex.split(job.command or "")
                step = loaded(Path(script))
                main(step.plan, step.compute, step.__doc__, words)
                text = (self.root / "logs" / f"{job.wildcards['name']}.log").read_text()
                happened.log(job.title, text)
        return happened

    def foresee_and_run(self, jobs: list[DagJob]) -> Forecast:
        """Run the jobs, and see that they do what was foreseen."""
        found = self.foresee(jobs)
        agree(json.loads(json.dumps(found.as_json())), self.run(jobs))
        return found

    def pointer(self, name: str) -> Pointer:
        return read_pointer(self.root / f"refs/{name}.json")

    def digest(self, name: str, member: str = "all") -> str:
        return self.pointer(name).members[member].outputs["value"].digest

    def lose(self, name: str, member: str = "all", output: str = "value") -> None:
        """Take an object out of the store."""
        digest = self.pointer(name).members[member].outputs[output].digest
        ObjectStore(self.store).path(digest).unlink()

    def value(self, name: str, member: str = "all") -> int:
        return int(ObjectStore(self.store).get_bytes(self.digest(name, member)))

    def recorded(self) -> set[str]:
        return set(ActionStore(self.store).keys())


def verdicts(found: Forecast) -> dict[str, str]:
    """Label -> what becomes of it."""
    actions = (action for job in found.jobs for action in job.actions)
    return {f"{action.step} {action.member}": action.verdict for action in actions}
