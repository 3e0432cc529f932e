"""What the store says of an action before anybody computes it: jobs act on the answer, `clipsteer plan` tells it.

Both ask here, so that what is foreseen is what happens. Looks only; changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from clipsteer.runner.code import StepCode
from clipsteer.runner.lost import Lost
from clipsteer.runner.run import Action
from clipsteer.runner.wider import Narrowed, Wider
from clipsteer.store.actions import ActionStore, Record, action_key
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member


class Found(NamedTuple):
    """An action's key, and the record that serves it.

    With `narrowed` that is a wider action's, which has more than was asked for.
    """

    key: str
    record: Record | None = None
    narrowed: Narrowed | None = None

    def member(self) -> Member | None:
        """What a pointer says of the action; None where it has to be computed."""
        if self.record is None:
            return None
        outputs = self.narrowed.outputs if self.narrowed else self.record["outputs"]
        return Member.of(outputs, self.record["facts"])


class Known:
    """The records of one store, and its objects; `project` is the checkout of the code."""

    def __init__(self, objects: ObjectStore, actions: ActionStore, project: Path) -> None:
        self.actions = actions
        self.lost = Lost(objects, actions, project)
        self._wider = Wider(actions, objects)

    def look_up(self, step: StepCode, planned: str, action: Action) -> Found:
        """The record that an action can be restored from; `planned` is the fingerprint of its code."""
        key = action_key(step.name, action.recipe, planned, action.inputs)
        record = self.actions.get(key)
        if record is not None:
            return Found(key, record)
        return Found(key, *(self._wider.find(step, planned, action) or ()))
