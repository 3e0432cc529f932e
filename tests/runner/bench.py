"""A project of toy steps with a store, for the tests of how actions are performed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clipsteer.runner.code import StepCode
from clipsteer.runner.execute import Executor
from clipsteer.runner.progress import Log
from clipsteer.runner.run import Action, Run, Runtime
from clipsteer.store.durable import remove
from clipsteer.store.objects import ObjectStore

SCRIPTS = {
    # no input: what a painter is
    "make": 'def compute(run):\n    run.put_bytes("out", run.recipe["text"].encode())\n',
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
    "list": 'def compute(run):\n    run.put_json("out", [run.recipe["b"]])\n',
    "look": """
def compute(run):
    run.put_bytes("out", b" and ".join(run.store.get_bytes(d) for d in [*run.json("list"), *run.json("list")]))
""",
    "helped": """
from toyhelp import twice


def compute(run):
    run.put_bytes("out", twice(run.blob("x")))
""",
}


class Bench:
    """A project of toy steps with a store; `tell` collects the log."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "workflow_scripts").mkdir()
        for name, text in SCRIPTS.items():
            self.script(name).write_text(text)
        (root / "toyhelp.py").write_text("def twice(x):\n    return x + x\n")
        self.objects = ObjectStore(root / "store")
        self.tell = io.StringIO()

    def script(self, name: str) -> Path:
        return self.root / "workflow_scripts" / f"{name}.py"

    def executor(self, **runtime: Any) -> Executor:
        """As a new process has it."""
        log = Log(terminal=self.tell)
        return Executor(ObjectStore(self.root / "store"), Runtime(**runtime), self.root, log)

    def act(
        self,
        name: str,
        inputs: Mapping[str, str] | None = None,
        compute: Callable[[Run], None] | None = None,
        executor: Executor | None = None,
        **recipe: Any,
    ) -> dict[str, str]:
        """Perform one action; its outputs' digests, and its `key`."""
        step = StepCode(name, self.script(name), [])
        record = (executor or self.executor()).perform(
            step,
            step.inspect().fingerprint,
            Action(recipe, dict(inputs or {})),
            name,
            compute or step.load(),
        )
        return {n: o["digest"] for n, o in record["outputs"].items()} | {"key": record["key"]}

    def lose(self, *digests: str) -> None:
        for digest in digests:
            remove(str(self.objects.root / self.objects.relative(digest)))

    def damage(self, digest: str) -> None:
        path = self.objects.root / self.objects.relative(digest)
        data = bytearray(path.read_bytes())
        data[0] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)

    def said(self, how: str, *, surprised: bool = False) -> list[str]:
        """The labels of the log's `computed` or `remade` lines; the log is empty then.

        `surprised`: whether some computation had begun and then missed an object.
        """
        lines = [line.split(" ") for line in self.tell.getvalue().splitlines()]
        assert ("; making it again" in self.tell.getvalue()) == surprised
        self.tell.truncate(self.tell.seek(0))
        return [words[1] for words in lines if words[0] == how]

    def files(self, folder: str) -> dict[str, bytes]:
        root = self.root / "store" / folder
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def chain(self) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        made = self.act("make", text="one ")
        box = self.act("box", {"x": made["out"]}, mark="!")
        read = self.act("read", {"box": box["box"]})
        assert self.said("computed") == ["make", "box", "read"]
        return made, box, read
