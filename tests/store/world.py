"""A small store with a working copy: what processes do there, and a model of what must stay."""

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
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, pointer_bytes
from clipsteer.store.roots import REFS, copy_of, keep_pointer
from clipsteer.store.state import read_note, write_note
from clipsteer.store.trash import SINCE
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
        self._root_copies = {n: copy_of(self.root, self.copy, self.pointer(n)) for n in OUTPUTS}
        # In place and in trash/: of each object, and of each action's record.
        self._places = {d: self._both(self.objects.relative(d)) for d in set.union(*DEEP.values())}
        self._places |= {n: self._both(self.actions.relative(key)) for n, key in KEYS.items()}

    # ---- what processes do

    def run(self, target: str) -> None:
        """A run of the workflow for one result: the actions that lead to it, in order."""
        objects, actions = ObjectStore(self.root), ActionStore(self.root)
        for name in CHAINS[target]:
            if actions.get(KEYS[name]) is None or not actions.touch(KEYS[name]):
                self.compute(name, objects)
                actions.publish(KEYS[name], record_of(name))
            pointer = self.pointer(name)
            data = pointer_bytes(Pointer(name, {"all": Member(OUTPUTS[name])}))
            keep_pointer(self.root, self.copy, pointer, data)
            write_atomic(pointer, data)

    def compute(self, name: str, objects: ObjectStore) -> None:
        """Make an action's outputs, by every way into the store."""
        for digest in INPUTS[name].values():
            objects.get_bytes(digest)
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

    def forget(self) -> None:
        """All records are taken away; their objects stay."""
        for key in KEYS.values():
            self.actions.forget(key)

    def age(self, days: float) -> None:
        """Time passes: everything in the store is older now."""
        for top in ("objects", "actions", "trash", "roots", "tmp", "scratch"):
            for folder, folders, names in os.walk(self.root / top):
                for name in names + folders:
                    path = os.path.join(folder, name)
                    when = os.stat(path).st_mtime - days * DAY
                    os.utime(path, (when, when))
        note = self.root / "trash" / SINCE
        write_note(note, {name: when - days * DAY for name, when in read_note(note).items()})

    # ---- the model

    def has(self, name: str, *, trash: bool = True, without: str = "") -> bool:
        """Whether an object (by digest) or an action's record (by name) is here.

        ``trash=False``: not counting what lies in trash/; ``without``: not counting this file.
        """
        places = self._places[name][: 1 + trash]
        return any(path != without and os.path.exists(path) for path in places)

    def _both(self, relative: str) -> tuple[str, str]:
        return f"{self.root}/{relative}", f"{self.root}/trash/{relative}"

    def rooted(self) -> set[str]:
        return {name for name, path in self._root_copies.items() if os.path.exists(path)}

    def young(self) -> set[str]:
        limit = time.time() - 30 * DAY
        files = {name: self._places[name][0] for name in KEYS}
        return {n for n, f in files.items() if os.path.exists(f) and os.stat(f).st_mtime >= limit}

    def needed(self) -> set[str]:
        """The actions whose results must stay: those that pointers and young records reach."""
        found: set[str] = set()
        waiting = [*self.rooted(), *self.young()]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                digests = [*INPUTS[name].values(), *(o.digest for o in OUTPUTS[name].values())]
                waiting += [m for d in digests for m in MAKERS[d] if self.has(m)]
        return found

    def check(self, *, trash: bool = True, without: str = "") -> None:
        """Nothing is lost that is needed, or that a record still says is to be had.

        ``trash=False``: nor does any of what is needed still lie in trash/. ``without``: as if this
        file were not there.
        """
        needed = self.needed()
        promised = {name for name in OUTPUTS if self.has(name, without=without)}
        for name in needed | promised if trash else needed:
            for digest in sorted(DEEP[name]):
                assert self.has(digest, trash=trash, without=without), f"{name} lost {digest}"
        for name in needed:
            digests = {*INPUTS[name].values(), *(o.digest for o in OUTPUTS[name].values())}
            for digest in sorted(digests):
                found = [self.has(m, trash=trash, without=without) for m in MAKERS[digest]]
                assert any(found), f"{name}: the lineage of {digest} is lost"
