"""One toy workflow for all tests of what runs steps: small steps as scripts, and a project of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from clipsteer.runner.fingerprint import code_fingerprint
from clipsteer.store.objects import ObjectStore

_HEAD = '"""A toy."""\n\nfrom clipsteer.runner.step import Action, Job, Run, main\n\n'
_TAIL = '\n\nif __name__ == "__main__":\n    main(plan, compute, __doc__)\n'
STEPS = {
    # ---- numbers, each a job of its own
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
    # times a number; some results are a user's fault, a bug or a full disk
    "double": """
from clipsteer.errors import ClipsteerError


def plan(job):
    number = {"number": job.output("number", "value")}
    return {m: Action({"times": t}, number) for m, t in job.recipe["members"].items()}


def compute(run):
    (run.scratch / "trace").write_text("here")
    value = run.json("number") * run.recipe["times"]
    if value == 13:
        raise ClipsteerError("number: found 13, expected luck. Choose another.")
    if value == 14:
        raise ValueError("a bug")
    if value == 15:
        raise OSError(28, "No space left on device", "somewhere")
    run.put_json("value", value)
    run.fact("even", value % 2 == 0)
""",
    # ---- files, for a disk that is looked at
    "written": """
def plan(job):
    return {name: Action({"files": count}) for name, count in job.recipe.items()}


def compute(run):
    folder = run.scratch / "files"
    folder.mkdir()
    for number in range(run.recipe["files"]):
        (folder / str(number)).write_text(f"{number} of {run.recipe['files']}")
    run.put_tree("files", folder)
    run.put_json("count", run.recipe["files"])
""",
    # ---- bytes and trees, for single actions
    # no input: what a painter is
    "make": """
def compute(run):
    run.put_bytes("out", run.recipe["text"].encode())
""",
    # a tree with a nested tree that is an output of its own: what a shard is
    "box": """
from clipsteer.store.trees import StoreTree


def compute(run):
    folder = run.scratch / "box"
    (folder / "in").mkdir(parents=True)
    (folder / "a").write_bytes(run.blob("x") + run.recipe.get("mark", "").encode())
    (folder / "in/b").write_bytes(run.blob("x") * 2)
    digest = run.put_tree("box", folder, ["in"])
    run.put_tree_digest("in", StoreTree(run.store, digest).subtree("in").root_digest)
    run.fact("b", StoreTree(run.store, digest).digest("in/b"))
""",
    # reads the tree by its files, or one blob by a digest that stands in a list: as images are read
    "read": """
def compute(run):
    tree = run.tree("box")
    run.put_bytes("out", b"".join(tree.read(path) for path in tree.paths()))
""",
    "list": """
def plan(job):
    return {"all": Action(job.recipe, {"pack": job.output("pack", "pack")})}


def compute(run):
    run.put_json("out", [run.recipe["b"]])
""",
    "look": """
def compute(run):
    run.put_bytes("out", b" and ".join(run.store.get_bytes(d) for d in [*run.json("list"), *run.json("list")]))
""",
    # a folder as one object; and files of it by their digests in a list, as painted images are read
    "pack": """
from clipsteer.data.packed import pack_bytes


def plan(job):
    return {"all": Action(job.recipe)}


def compute(run):
    files = {"a": run.recipe["a"].encode(), "b": b"the same"}
    run.put_tree_digest("pack", run.store.put_bytes(pack_bytes(files.items())))
""",
    "find": """
def plan(job):
    return {"all": Action(job.recipe, {"list": job.output("list", "out")}, job.each("pack"))}


def compute(run):
    tree = run.files("world")
    run.put_bytes("out", b"".join(tree.read(p) for p in tree.paths() if tree.digest(p) in run.json("list")))
""",
    "helped": """
from toyhelp import twice


def compute(run):
    run.put_bytes("out", twice(run.blob("x")))
""",
}


class Toy:
    """A project of all steps in `root`, and a store in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, root / "store"
        (root / "workflow_scripts").mkdir(parents=True)
        for step in STEPS:
            self.edit(step)
        (root / "toyhelp.py").write_text("def twice(x):\n    return x + x\n")

    @cached_property
    def objects(self) -> ObjectStore:
        """The store, which is made when it is first asked for."""
        return ObjectStore(self.store)

    def script(self, step: str) -> Path:
        return self.root / "workflow_scripts" / f"{step}.py"

    def edit(self, step: str, old: str = "", new: str = "") -> None:
        """Put something else in a step's script."""
        text = _HEAD + STEPS[step].lstrip() + _TAIL
        assert old in text
        self.script(step).write_text(text.replace(old, new) if old else text)
        sys.modules.pop(f"clipsteer_step_{step}", None)

    def recipe(self, step: str, config: Mapping[str, Any], code: str | None = None) -> str:
        """As the command line of a job has it."""
        code = code or code_fingerprint(self.script(step), self.root)
        return json.dumps({"step": step, "config": config, "modules": [], "code": code})
