"""For an action that is not on record: the record it replaces, and records that would serve it as they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from clipsteer.lineage.guess import is_more, is_pending
from clipsteer.lineage.reasons import Reason
from clipsteer.runner.run import Action
from clipsteer.store.actions import STORE_SEMANTICS, Record
from clipsteer.store.digest import canonical_json
from clipsteer.store.index import RecordIndex
from clipsteer.store.pointers import Member

Explain = Callable[[Record], list[Reason]]


class History:
    """The records of `index`, found by where they belong and by what they did."""

    def __init__(self, index: RecordIndex) -> None:
        self.index = index

    def before(
        self, step: str, name: str, label: str, member: Member | None, explain: Explain
    ) -> tuple[Record | None, list[Reason]]:
        """The action that the working copy's `member` stands for, and how the new one differs.

        Where there is no such member, or its record is gone: the nearest action of the same place
        (step, name, label). Nearest is the one with the fewest differences, then the one used last.
        """
        records = self.index.behind(step, member) if member else []
        records = records or self._places[step, name, label]
        explained = [(record, explain(record)) for record in records]
        return min(explained, key=lambda pair: len(pair[1]), default=(None, []))

    def fits(self, step: str, action: Action, code: str) -> bool:
        """Whether an action some of whose inputs are not known yet may turn out to be on record."""
        same = self._kinds[step, code, canonical_json(action.recipe)]
        return any(_agree(action.inputs, record["inputs"]) for record in same)

    @cached_property
    def _places(self) -> Mapping[tuple[str, Any, Any], list[Record]]:
        found = defaultdict(list)
        for record in self.index.records():
            run = record.get("run", {})
            found[record["step"], run.get("name"), run.get("label")].append(record)
        return found

    @cached_property
    def _kinds(self) -> Mapping[tuple[str, str, bytes], list[Record]]:
        found = defaultdict(list)
        for record in self.index.records():
            if record["semantics"] == STORE_SEMANTICS:
                recipe = canonical_json(record["recipe"])
                found[record["step"], record["code"], recipe].append(record)
        return found


def _agree(planned: Mapping[str, str], recorded: Mapping[str, str]) -> bool:
    """Whether the inputs of a record are as the planned ones, as far as those are known."""
    if not any(is_more(name) for name in planned) and planned.keys() != recorded.keys():
        return False
    return all(
        recorded.get(name, digest) == digest
        for name, digest in planned.items()
        if not is_pending(digest)
    )
