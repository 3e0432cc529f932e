"""Small stores with records made by hand, for the tests of what is read from records."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipsteer.lineage.graph import Lineage, lineage
from clipsteer.lineage.listing import Names
from clipsteer.lineage.targets import resolve
from clipsteer.store.actions import ActionStore, action_key
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.objects import ObjectStore


def material(**modules: str) -> dict[str, Any]:
    """A code fingerprint's material; `__main__` is the script."""
    known = {"__main__": "one", **modules}
    return {
        "format": "clipsteer-code/2",
        "modules": {name: {"import": digest_bytes(text.encode())} for name, text in known.items()},
        "order": digest_bytes(b"order"),
        "packages": {"numpy": "numpy 2.4.6"},
        "python": "3.11",
    }


class Chain:
    """A store whose actions are said, not computed: outputs are given as bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects, self.actions = ObjectStore(root), ActionStore(root)
        self._clock = 1_700_000_000

    def act(
        self,
        step: str,
        inputs: Mapping[str, str],
        outputs: Mapping[str, bytes],
        *,
        recipe: Any = None,
        code: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, str]:
        """Publish an action's record, used later than those before; its outputs' digests, and `key`.

        `more` goes into the free part, `facts` and `semantics` into the record.
        """
        recipe, code = {} if recipe is None else recipe, code or material()
        fingerprint = digest_bytes(canonical_json(code))
        top = {name: more.pop(name) for name in ("facts", "semantics") if name in more}
        key = action_key(step, recipe, fingerprint, inputs, **_semantics(top))
        digests = {name: self.objects.put_bytes(data) for name, data in outputs.items()}
        self.actions.publish(
            key,
            {
                "step": step,
                "script": f"workflow_scripts/{step}.py",
                "modules": [],
                "recipe": recipe,
                "code": fingerprint,
                "inputs": dict(inputs),
                "outputs": {
                    name: {"digest": digests[name], "size": len(outputs[name]), "kind": "blob"}
                    for name in outputs
                },
                "facts": {},
                **top,
                "run": {
                    "began": "2026-01-02T03:04:05+00:00",
                    "host": "here",
                    "seconds": 2.5,
                    "code": code,
                    **more,
                },
            },
        )
        self.use(key)
        return {**digests, "key": key}

    def use(self, key: str) -> None:
        """Make a record the one that was used last."""
        self._clock += 10
        os.utime(self.actions.file(key), (self._clock, self._clock))

    def lineage(self, target: str | Path) -> Lineage:
        names = Names(self.root)
        return lineage(resolve(str(target), names), names.index)


def _semantics(top: Mapping[str, Any]) -> dict[str, Any]:
    return {"semantics": top["semantics"]} if "semantics" in top else {}
