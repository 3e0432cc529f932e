"""A small store with a working copy: what processes do there, and a model of what gc must leave."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipsteer.store.actions import ActionStore, action_key
from clipsteer.store.digest import digest_bytes
from clipsteer.store.durable import token, write_atomic
from clipsteer.store.entries import Entry, tree_bytes
from clipsteer.store.gc import DAY, Options, Report, collect
from clipsteer.store.objects import MissingObjectError, ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, pointer_bytes
from clipsteer.store.roots import REFS, copy_of, keep_pointer
from clipsteer.store.trees import StoreTree, put_tree_entries

# Three actions in a row, and one that gives the same bytes as the first.
ONE, TWO, THREE, SAME, LAST = map(digest_bytes, (b"one", b"two", b"three", b"same", b"last"))
PAIR = digest_bytes(tree_bytes({"1": (ONE, 3, "blob"), "2": (TWO, 3, "blob")}))
INNER = digest_bytes(tree_bytes({"3": (THREE, 5, "blob")}))
OUTER = digest_bytes(tree_bytes({"1": (ONE, 3, "blob"), "in": (INNER, 5, "tree")}))
_BASE = {"blob": Output(SAME, 4), "tree": Output(PAIR, 6, "tree")}
OUTPUTS = {
    "base": _BASE,
    "twin": _BASE,
    "next": {"tree": Output(OUTER, 8, "tree")},
    "last": {"blob": Output(LAST, 4)},
}
INPUTS: Mapping[str, dict[str, str]] = {
    "base": {},
    "twin": {},
    "next": {"in": SAME},
    "last": {"in": OUTER},
}
# Every object that an action's outputs consist of.
DEEP = {
    "base": {SAME, PAIR, ONE, TWO},
    "twin": {SAME, PAIR, ONE, TWO},
    "next": {OUTER, INNER, ONE, THREE},
    "last": {LAST},
}
CHAINS = {
    "base": ["base"],
    "twin": ["twin"],
    "next": ["base", "next"],
    "last": ["base", "next", "last"],
}
KEYS = {name: action_key(name, {}, "code", INPUTS[name]) for name in OUTPUTS}
MAKERS: dict[str, list[str]] = {}
for _name, _outputs in OUTPUTS.items():
    for _output in _outputs.values():
        MAKERS.setdefault(_output.digest, []).append(_name)


def record_of(name: str) -> dict[str, Any]:
    return {
        "step": name,
        "recipe": {},
        "code": "code",
        "inputs": INPUTS[name],
        "outputs": {n: vars(output) for n, output in OUTPUTS[name].items()},
        "facts": {},
        "run": {"name": "test", "seconds": 1.5, "began": "2026-01-01T00:00:00+00:00"},
    }


class World:
    """A store and a working copy below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.copy = folder, folder / "store", folder / "clone"
        self.copy.mkdir(exist_ok=True)
        self.objects, self.actions = ObjectStore(self.root), ActionStore(self.root)
        self.computed: set[str] = set()
        self._root_copies = {n: copy_of(self.root, self.copy, self.pointer(n)) for n in OUTPUTS}
        # Of each object, and of each action's record.
        relative = {d: self.objects.relative(d) for d in set.union(*DEEP.values())}
        relative |= {name: self.actions.relative(key) for name, key in KEYS.items()}
        self._places = {name: f"{self.root}/{path}" for name, path in relative.items()}

    # ---- what processes do

    def run(self, target: str) -> None:
        """A run of the workflow for one result: the actions that lead to it, in order."""
        objects, actions = ObjectStore(self.root), ActionStore(self.root)
        for name in CHAINS[target]:
            if actions.get(KEYS[name]) is None or not actions.touch(KEYS[name]):
                self.make(name, objects)
                actions.publish(KEYS[name], record_of(name))
                self.computed.add(name)
            pointer = self.pointer(name)
            data = pointer_bytes(Pointer(name, {"all": Member(OUTPUTS[name])}))
            keep_pointer(self.root, self.copy, pointer, data)
            write_atomic(pointer, data)

    def make(self, name: str, objects: ObjectStore) -> None:
        """Compute an action as runner/execute.py does: what it misses is made again from its record."""
        try:
            self.compute(name, objects)
        except MissingObjectError as missing:
            makers = [made for made in OUTPUTS if missing.digest in DEEP[made] and self.has(made)]
            if not makers:
                raise AssertionError(f"{missing.digest} is lost for good") from missing
            self.make(makers[0], objects)
            self.make(name, objects)

    def compute(self, name: str, objects: ObjectStore) -> None:
        """Make an action's outputs, by every way into the store."""
        for digest in INPUTS[name].values():
            objects.get_bytes(digest)
            objects.path(digest).read_bytes()
        if name == "next":
            assert objects.put_many([b"one", b"three"]) == [ONE, THREE]
            assert put_tree_entries(objects, {"3": Entry(THREE, 5)}) == INNER
            entries = {"1": Entry(ONE, 3), "in": Entry(INNER, 5, "tree")}
            assert put_tree_entries(objects, entries) == OUTER
        elif name == "last":
            assert objects.put_bytes(b"last") == LAST
        else:
            source = self.folder / token()
            source.write_bytes(b"same")
            os.utime(source, (0, 0))  # an old file that becomes a new object
            assert objects.put_file(source, move=True) == SAME
            source.write_bytes(b"one")
            assert [objects.put_file(source), objects.put_bytes(b"two")] == [ONE, TWO]
            entries = {"1": Entry(ONE, 3), "2": Entry(TWO, 3)}
            assert put_tree_entries(objects, entries) == PAIR

    def read(self, name: str) -> None:
        """Read every byte of a result, by every way out of the store."""
        objects = ObjectStore(self.root)
        for output in OUTPUTS[name].values():
            if output.kind == "tree":
                tree = StoreTree(objects, output.digest)
                for path in tree.paths():
                    assert digest_bytes(tree.read(path)) == tree.digest(path)
                    tree.local_path(path)
            else:
                objects.verify(output.digest)
                assert objects.size(output.digest) == output.size

    def gc(self, **options: Any) -> Report:
        return collect(self.root, Options(**options))

    # ---- what happens to a store otherwise

    def pointer(self, name: str) -> Path:
        return self.copy / REFS / f"{name}.json"

    def unroot(self, *names: str) -> None:
        """The user wants these (or no) results any more."""
        for name in names or tuple(OUTPUTS):
            self.pointer(name).unlink(missing_ok=True)
            self._root_copies[name].unlink(missing_ok=True)

    def forget(self, *names: str) -> None:
        """These (or all) records are taken away; their objects stay."""
        for name in names or tuple(KEYS):
            self.actions.forget(KEYS[name])

    def age(self, days: float) -> None:
        """Time passes: everything in the store is older now."""
        for top in ("objects", "actions", "roots", "tmp", "scratch"):
            for folder, folders, names in os.walk(self.root / top):
                for name in names + folders:
                    path = os.path.join(folder, name)
                    when = os.stat(path).st_mtime - days * DAY
                    os.utime(path, (when, when))

    # ---- the model

    @staticmethod
    def made_by(name: str) -> set[str]:
        """An action (for its record) and its objects."""
        return {name, *DEEP[name]}

    def has(self, name: str) -> bool:
        """Whether an object (by digest) or an action's record (by name) is here."""
        return os.path.exists(self._places[name])

    def here(self) -> set[str]:
        """The objects and records that are here."""
        return {name for name in self._places if self.has(name)}

    def needed(self) -> set[str]:
        """The objects that must stay: what pointers, young records, and remaking, lead to."""
        limit = time.time() - 30 * DAY
        recorded = {name for name in KEYS if self.has(name)}
        waiting = [name for name, path in self._root_copies.items() if os.path.exists(path)]
        waiting += [n for n in recorded if os.stat(self._places[n]).st_mtime >= limit]
        found: set[str] = set()
        done: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in done:
                done.add(name)
                digests = {*INPUTS[name].values(), *(o.digest for o in OUTPUTS[name].values())}
                found |= DEEP[name] | set(INPUTS[name].values())
                waiting += [m for d in digests for m in MAKERS[d] if m in recorded]
        # what is needed to execute a record, and that none makes
        for name in recorded:
            for digest in INPUTS[name].values():
                if not recorded.intersection(MAKERS[digest]):
                    found |= DEEP["next"] if digest == OUTER else {digest}
        return found
