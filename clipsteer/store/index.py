"""All action records of a store in memory, found by what they made."""

from __future__ import annotations

import os
from collections.abc import Iterator

from clipsteer.store.actions import ActionStore, Record
from clipsteer.store.entries import TREE
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Pointer
from clipsteer.store.reach import Trees


class RecordIndex:
    """The records of `actions`, each read once, by key and by output digest.

    Records that are published later are found when a digest is asked for that no known record
    made. Damaged records are quarantined and left out (see `ActionStore.get`).
    """

    def __init__(self, actions: ActionStore) -> None:
        self.actions = actions
        self._records: dict[str, Record] = {}
        self._makers: dict[str, list[str]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Learn of records that were published or removed since the last reading."""
        present = set(self.actions.keys())
        for key in self._records.keys() - present:
            record = self._records.pop(key)
            for digest in _made(record):
                self._makers[digest].remove(key)
                if not self._makers[digest]:
                    del self._makers[digest]
        for key in sorted(present - self._records.keys()):
            found = self.actions.get(key)
            if found is not None:
                self._records[key] = found
                for digest in _made(found):
                    self._makers.setdefault(digest, []).append(key)

    def records(self) -> list[Record]:
        """Every record, sorted by key, as known at the last reading."""
        return [self._records[key] for key in sorted(self._records)]

    def producers(self, digest: str) -> list[Record]:
        """The records that name `digest` as an output, the most recently used first."""
        if digest not in self._makers:
            self.refresh()
        keys = self._makers.get(digest, [])
        return [self._records[key] for key in sorted(keys, key=self._age)]

    def behind(self, step: str, member: Member) -> list[Record]:
        """The records that a pointer's member may stand for, the most recently used first."""
        outputs = {
            name: {"digest": out.digest, "kind": out.kind, "size": out.size}
            for name, out in member.outputs.items()
        }
        digest = next((out.digest for out in member.outputs.values()), "")
        return [
            record
            for record in (self.producers(digest) if digest else self.records())
            if record["step"] == step
            and record["outputs"] == outputs
            and record["facts"] == member.facts
        ]

    def knows(self, pointer: Pointer) -> bool:
        """Whether every action that a pointer stands for is on record; an effect has no outputs."""
        members = (member for member in pointer.members.values() if member.outputs)
        return all(self.behind(pointer.step, member) for member in members)

    def holders(self, digest: str, objects: ObjectStore) -> list[Record]:
        """The records with an output tree that `digest` is somewhere in, sorted by key.

        Slow: reads every output tree. A tree that is missing or damaged holds nothing.
        """
        trees = Trees(objects)
        return [
            record
            for record in self.records()
            if any(
                output["kind"] == TREE and digest in trees.below(output["digest"])
                for output in record["outputs"].values()
            )
        ]

    def _age(self, key: str) -> tuple[float, str]:
        try:
            return -os.stat(self.actions.file(key)).st_mtime_ns, key
        except OSError:
            return 0.0, key


def _made(record: Record) -> Iterator[str]:
    yield from {output["digest"] for output in record["outputs"].values()}
