"""Actions of the toy workflow, performed one by one, for the tests of how that is done."""

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
from tests.folders import contents
from tests.toy import Toy


class Bench(Toy):
    """Single actions of toy steps; `tell` collects the log."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.tell = io.StringIO()

    def executor(self, **runtime: Any) -> Executor:
        """As a new process has it."""
        log = Log(terminal=self.tell)
        return Executor(ObjectStore(self.store), Runtime(**runtime), self.root, log)

    def act(
        self,
        name: str,
        inputs: Mapping[str, str] | None = None,
        compute: Callable[[Run], None] | None = None,
        executor: Executor | None = None,
        found_in: Mapping[str, str] | None = None,
        **recipe: Any,
    ) -> dict[str, str]:
        """Perform one action; its outputs' digests, and its `key`."""
        step = StepCode(name, self.script(name), [])
        record = (executor or self.executor()).perform(
            step,
            step.inspect().fingerprint,
            Action(recipe, dict(inputs or {}), dict(found_in or {})),
            name,
            compute or step.load(),
        )
        return {n: o["digest"] for n, o in record["outputs"].items()} | {"key": record["key"]}

    def lose(self, *digests: str) -> None:
        for digest in digests:
            remove(str(self.objects.root / self.objects.relative(digest)))

    def damage(self, digest: str, at: int = 0) -> None:
        path = self.objects.root / self.objects.relative(digest)
        data = bytearray(path.read_bytes())
        data[at] ^= 1
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
        return contents(self.store / folder)

    def chain(self) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        made = self.act("make", text="one ")
        box = self.act("box", {"x": made["out"]}, mark="!")
        read = self.act("read", {"box": box["box"]})
        assert self.said("computed") == ["make", "box", "read"]
        return made, box, read
