"""What of a store is lost, and which recorded action makes it again. Looks only; changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.runner.code import StepCode
from clipsteer.runner.fingerprint import Code
from clipsteer.store.actions import ActionStore, Record
from clipsteer.store.entries import TREE
from clipsteer.store.index import RecordIndex
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Pointer
from clipsteer.store.trees import tree_complete


class Lost:
    """Objects of one store, and the records that name them; `project` is the checkout of the code."""

    def __init__(self, objects: ObjectStore, actions: ActionStore, project: Path) -> None:
        self.objects, self.actions, self.project = objects, actions, project
        self._kinds: dict[str, str] = {}

    @cached_property
    def index(self) -> RecordIndex:
        """All records; read only where something is missing."""
        return RecordIndex(self.actions)

    def know(self, pointers: Iterable[Pointer]) -> None:
        """Learn from pointers which objects are trees."""
        for pointer in pointers:
            for member in pointer.members.values():
                self._kinds |= {out.digest: out.kind for out in member.outputs.values()}

    def whole(self, digest: str) -> bool:
        """Whether an object, and all below a tree, is here."""
        kind = self._kinds.get(digest)
        if kind is None:
            for record in self.index.producers(digest):
                self._kinds |= {o["digest"]: o["kind"] for o in record["outputs"].values()}
            kind = self._kinds.get(digest)
        if kind == TREE:
            return tree_complete(self.objects, digest)
        return self.objects.exists(digest)

    def maker(self, digest: str, above: Collection[str] = ()) -> Record:
        """The record of the action that makes an object again, one whose code is as now if any is.

        `above`: keys of actions that are waiting for it. None of them made it, though an action may
        give back the bytes of an input. Raises ClipsteerError where no other record names the object.
        """
        records = [r for r in self.index.producers(digest) if r["key"] not in above]
        if not records:
            holders = self.index.holders(digest, self.objects)
            records = [r for r in holders if r["key"] not in above]
        if not records:
            raise ClipsteerError(
                f"object {digest}{self._use(digest)} is not in the store {self.objects.root}, and no "
                "action is on record that made it; expected the one or the other. Delete "
                "artifacts/refs, then run the same command again: what is on record is restored, and "
                "what is not is computed anew."
            )
        return next((r for r in records if self._is_fresh(r)), records[0])

    def hidden(self, inputs: Iterable[str]) -> list[str]:
        """The trees that cannot be looked into, of all that went into these objects.

        What no record names by itself may be in one of them.
        """
        found, seen, waiting = [], set(), list(inputs)
        while waiting:
            for record in self.index.producers(waiting.pop()):
                if record["key"] not in seen:
                    seen.add(record["key"])
                    waiting += record["inputs"].values()
                    trees = [o["digest"] for o in record["outputs"].values() if o["kind"] == TREE]
                    found += [t for t in trees if not self.objects.exists(t)]
        return found

    def _use(self, digest: str) -> str:
        """What an object is to some recorded action that needs it."""
        for record in self.index.records():
            for name, needed in record["inputs"].items():
                if needed == digest:
                    return f" ({name} of {record['run'].get('label', record['step'])})"
        return ""

    def _is_fresh(self, record: Record) -> bool:
        try:
            return bool(self.code(record).fingerprint == record["code"])
        except ClipsteerError:  # its script is no more
            return False

    def code(self, record: Record) -> Code:
        """The code of a record's step as it is now in this checkout."""
        return StepCode.of_record(record, self.project).inspect()
