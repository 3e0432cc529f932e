"""A step's code as a run planned it, and as it is now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.runner.fingerprint import Code, inspect_code
from clipsteer.store.state import CACHES

FINGERPRINTS = CACHES / "code"


@dataclass(frozen=True)
class StepCode:
    """The script of a step in a checkout (`project`), and the modules that it imports by name."""

    name: str
    script: Path
    modules: Sequence[str]

    @property
    def project(self) -> Path:
        """The checkout: scripts lie in a folder of its root."""
        return self.script.parents[1]

    def label(self, member: str) -> str:
        """What people know one action of a job by."""
        return self.name if member == "all" else f"{self.name} {member}"

    def inspect(self) -> Code:
        """What the code consists of now. Raises ClipsteerError where it is gone or not Python."""
        return inspect_code(self.script, self.project, self.modules, FINGERPRINTS)

    def check(self, planned: str, when: str) -> Code:
        """As `inspect`; raises ClipsteerError where its fingerprint is not `planned`.

        So nothing is published under a key whose code is no longer what runs.
        """
        code = self.inspect()
        if code.fingerprint != planned:
            raise ClipsteerError(
                f"the code of this step ({self.script.name} and what it imports) was changed {when}: "
                f"found {code.fingerprint[:18]}..., the run was planned with {planned[:18]}.... "
                "Nothing was published; run the same command again."
            )
        return code

    def load(self) -> Callable[[Any], None]:
        """The script's `compute`."""
        compute: Callable[[Any], None] = loaded(self.script).compute
        return compute

    @classmethod
    def of_record(cls, record: Mapping[str, Any], project: Path) -> StepCode:
        """The step that made a record, in this checkout."""
        return cls(record["step"], project / record["script"], record["modules"])


def loaded(script: Path) -> Any:
    """A workflow script as a module, with `plan` and `compute`; each is loaded once.

    Raises ClipsteerError where there is no such script.
    """
    name = f"clipsteer_step_{script.stem}"
    if name not in sys.modules:
        spec = util.spec_from_file_location(name, script)
        if spec is None or spec.loader is None or not script.is_file():
            raise ClipsteerError(
                f"{script}: no such script; expected the workflow script of this step. Run in a "
                "checkout that has it."
            )
        module = util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
