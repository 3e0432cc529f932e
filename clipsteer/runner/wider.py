"""Results that lie within a wider one on record: some layers of an extraction that kept more of them.

A step whose results can lie within one another has, beside `plan` and `compute`, a function
`narrow(recipe, wider, objects)`: what an action of `recipe` gives, taken from the record of a wider
action of the same step, code and inputs; None where that one is not wider. It reads trees at most, no
values, and what it says has to be what `compute` would give, byte for byte: then nothing is computed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clipsteer.runner.code import StepCode, loaded
from clipsteer.runner.run import Action, Json
from clipsteer.store.actions import ActionStore, Record
from clipsteer.store.digest import canonical_json
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore


class Narrowed(NamedTuple):
    """A result that lies within another.

    `outputs`: name -> digest, size and kind, as in a record. `trees`: bytes of the trees among them that
    the store may not have yet.
    """

    outputs: Mapping[str, Mapping[str, Json]]
    trees: Sequence[bytes]


Narrow = Callable[[Mapping[str, Json], Record, ObjectStore], Narrowed | None]


class Wider:
    """The records of a store among which a wider action is looked for; each step's are read once."""

    def __init__(self, actions: ActionStore, objects: ObjectStore) -> None:
        self.actions, self.objects = actions, objects
        self._steps: dict[tuple[str, str], Mapping[bytes, list[Record]]] = {}

    def find(self, step: StepCode, planned: str, action: Action) -> tuple[Record, Narrowed] | None:
        """The record of an action that `action` lies within, and what that makes of it.

        `planned`: the fingerprint of the code. A record whose tree is lost is passed over.
        """
        narrow: Narrow | None = getattr(loaded(step.script), "narrow", None)
        if narrow is None:
            return None
        records = self._records(step.name, planned)
        for record in records.get(canonical_json(dict(action.inputs)), []):
            try:
                found = narrow(action.recipe, record, self.objects)
            except (MissingObjectError, DamagedObjectError):
                continue
            if found is not None:
                return record, found
        return None

    def _records(self, step: str, code: str) -> Mapping[bytes, list[Record]]:
        """By their inputs, as canonical JSON."""
        if (step, code) not in self._steps:
            found: defaultdict[bytes, list[Record]] = defaultdict(list)
            for record in self.actions.made_by(step, code):
                found[canonical_json(record["inputs"])].append(record)
            for records in found.values():  # those that were computed themselves come first
                records.sort(key=lambda record: "within" in record["run"])
            self._steps[step, code] = found
        return self._steps[step, code]
