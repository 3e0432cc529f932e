"""A working copy of toy steps: what its jobs would do is foreseen, then they run."""

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
from clipsteer.runner.fingerprint import code_fingerprint
from clipsteer.runner.step import main
from clipsteer.store.actions import ActionStore
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Pointer, read_pointer
from tests.lineage.agreement import Happened, agree

_HEAD = '"""A toy."""\n\nfrom clipsteer.runner.step import Action, Job, Run, main\n\n'
_TAIL = '\n\nif __name__ == "__main__":\n    main(plan, compute, __doc__)\n'
SCRIPTS = {
    # a number
    "number": """
def plan(job):
    return {"all": Action(job.recipe)}

def compute(run):
    run.put_json("value", run.recipe["value"])
    run.fact("value", run.recipe["value"])
""",
    # halves, rounded down: different numbers may give the same
    "half": """
def plan(job):
    number = {"number": job.output("number", "value")}
    return {name: Action({"times": t}, number) for name, t in job.recipe["members"].items()}

def compute(run):
    run.put_json("value", run.json("number") // 2 * run.recipe["times"])
""",
    # as many outputs as the number says
    "names": """
def plan(job):
    return {"all": Action({}, {"number": job.output("number", "value")})}

def compute(run):
    for i in range(run.json("number")):
        run.put_json(f"{i:03d}", i)
""",
    # one action for each of them
    "each": """
def plan(job):
    names = sorted(job.inputs["names"].members["all"].outputs)
    return {
        f"n/{name}": Action({"times": job.recipe["times"]}, {"name": job.output("names", name)})
        for name in names[job.recipe["part"] :: job.recipe["parts"]]
    }

def compute(run):
    run.put_json("value", 100 + run.recipe["times"] * run.json("name"))
""",
    "sum": """
def plan(job):
    values = {n: job.output("values", "value", n) for n in job.inputs["values"].members}
    return {"all": Action(job.recipe, values)}

def compute(run):
    run.put_json("value", run.recipe["plus"] + sum(run.json(name) for name in run.inputs))
""",
    # multiples of a number: those of fewer lie within those of more
    "multiples": """
def plan(job):
    return {"all": Action(job.recipe, {"number": job.output("number", "value")})}

def compute(run):
    for times in run.recipe["times"]:
        run.put_json(f"{times}", run.json("number") * times)

def narrow(recipe, wider, objects):
    from clipsteer.runner.wider import Narrowed

    if set(recipe["times"]) - set(wider["recipe"]["times"]):
        return None
    outputs = {f"{times}": wider["outputs"][f"{times}"] for times in recipe["times"]}
    for output in outputs.values():
        objects.get_bytes(output["digest"])  # as an extraction reads a tree
    return Narrowed(outputs, [])
""",
    # asks for a fact, not only for a digest
    "fact": """
def plan(job):
    return {"all": Action({"twice": 2 * job.facts("number")["value"]})}

def compute(run):
    run.put_json("value", run.recipe["twice"])
""",
}
CONFIG: dict[str, dict[str, Any]] = {
    "number": {"value": 10},
    "half": {"members": {"h/a": 1, "h/b": 3}},
    "names": {},
    "each": {"part": 0, "parts": 2, "times": 10},
    "sum": {"plus": 1},
    "multiples": {"times": [1, 2, 3]},
    "fact": {},
}


class Toys:
    """The steps in `root`, which has to be the current folder, on a store in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, root / "store"
        (root / "workflow_scripts").mkdir()
        for step in SCRIPTS:
            self.edit(step)

    def edit(self, step: str, old: str = "", new: str = "") -> None:
        """Put something else in a step's script."""
        text = (_HEAD + SCRIPTS[step].lstrip() + _TAIL).replace(old, new)
        self.script(step).write_text(text)
        sys.modules.pop(f"clipsteer_step_{step}", None)

    def script(self, step: str) -> Path:
        return self.root / "workflow_scripts" / f"{step}.py"

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
        recipe = {
            "step": step,
            "config": CONFIG[step] | dict(config or {}),
            "modules": [],
            "code": code_fingerprint(self.script(step), self.root),
        }
        name = name or step
        words = [sys.executable, str(self.script(step)), "--recipe", json.dumps(recipe)]
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
