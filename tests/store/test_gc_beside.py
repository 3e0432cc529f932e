"""gc beside runs: between any two file operations of the one, others do all of their work, or die.

A play begins with a history: what lies in the store, and how old. Hypothesis draws who is interrupted by
whom, and where; a model of its own (world.py) says what must still be there in the end.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from clipsteer.store import gc, objects
from clipsteer.store import reach as reach_module
from clipsteer.store.locks import held_lock
from clipsteer.store.objects import ObjectStore
from clipsteer.store.reach import Trees
from tests.store.places import quick_folder
from tests.store.world import KEYS, World

# What the store has gone through before a play, as calls of World.
HISTORIES: dict[str, list[tuple[str, ...] | tuple[str, float]]] = {
    "nothing": [],
    "fresh": [("run", "last")],
    "old": [("run", "last"), ("age", 40)],
    "unwanted": [("run", "last"), ("unroot",), ("age", 40)],
    "only the last": [("run", "last"), ("unroot", "base", "next"), ("age", 40)],
    "half": [("run", "last"), ("unroot", "next", "last"), ("age", 40)],
    "orphans": [("run", "last"), ("unroot",), ("forget",), ("age", 40)],
    "a maker forgotten": [("run", "last"), ("unroot",), ("forget", "next"), ("age", 40)],
    "deleted": [("run", "last"), ("unroot",), ("age", 40), ("gc",)],
    "twins": [("run", "twin"), ("run", "last"), ("unroot",), ("age", 40)],
}
ACTORS = [("run", "base"), ("run", "twin"), ("run", "last"), ("gc",)]
PLACE = quick_folder()
atexit.register(PLACE.cleanup)


class BlockedError(BaseException):
    """Somebody else holds the lock that this process now waits for."""


class Stage:
    """Actors in one thread: each is interrupted once, by all that come after it."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.pause: tuple[int, Callable[[], None]] | None = None
        self.blocked: Callable[[], None] | None = None

    def go(self, actors: list[Callable[[], object]], points: list[int]) -> None:
        """Let the first begin; the others come before its nth operation, or after it."""
        (first, *others), (point, *points) = actors, points
        if others:
            self.pause = point, lambda: self.go(others, points)
        first()
        self.interrupt(0)

    def interrupt(self, operations: int = 1) -> None:
        """Called before each operation of an actor, and after the last."""
        if self.pause is None:
            return
        left, others = self.pause
        self.pause = left - operations, others
        if left <= 0 or not operations:
            self.pause = None
            try:
                others()
            except BlockedError:  # it waits: it does nothing until the lock is free
                self.pause, self.blocked = None, others

    @contextmanager
    def lock(self, path: Path, kind: int) -> Iterator[bool]:
        """In the place of `held_lock`."""
        if self.held and fcntl.LOCK_EX in (kind, *self.held):
            raise BlockedError
        with held_lock(path, kind) as held:
            self.held.append(kind)
            try:
                yield held
            finally:
                self.held.pop()
        if self.blocked and not self.held:
            others, self.blocked = self.blocked, None
            others()


@contextmanager
def staged() -> Iterator[Stage]:
    """Inside, actors are interrupted before what they do with objects, records and root copies."""
    stage, shared = Stage(), ("/objects/", "/actions/", "/roots/")

    def interrupted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            if any(part in str(word) for word in words for part in shared):
                stage.interrupt()
            return real(*words, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("link", "listdir", "open", "replace", "stat", "unlink", "utime"):
            patch.setattr(os, name, interrupted(getattr(os, name)))
        patch.setattr(objects, "held_lock", stage.lock)
        patch.setattr(gc, "held_lock", stage.lock)
        yield stage


@contextmanager
def world_after(history: str) -> Iterator[World]:
    """A world with a history, always at the same place, as a working copy's id is its path."""
    past, present = Path(PLACE.name, history), Path(PLACE.name, "present")
    try:
        if not past.exists():
            present.mkdir()
            world = World(present)
            for name, *words in HISTORIES[history]:
                getattr(world, name)(*words)
            present.rename(past)
        shutil.copytree(past, present)
        yield World(present)
    finally:
        shutil.rmtree(present, ignore_errors=True)


def play(history: str, actors: list[tuple[str, ...]], points: list[int], own: bool) -> None:
    with world_after(history) as world:
        collect = partial(world.gc, older_than=0, working_copies=[world.copy] * own)
        work = [collect if verb == "gc" else partial(world.run, *of) for verb, *of in actors]
        stays = (world.needed() | set(KEYS)) & world.here()
        with staged() as stage:
            stage.go(list(work), points)
        check(world, stays)


def check(world: World, stays: set[str]) -> None:
    """What had to stay is here, so is what was computed, and the rest can be had again."""
    here = world.here()
    assert stays <= here
    assert set().union(*map(world.made_by, world.computed)) <= here
    for name in KEYS:
        if world.has(name):
            world.make(name, ObjectStore(world.root))
            world.read(name)


def search(
    history: str, examples: int, phases: tuple[Phase, ...] = tuple(Phase), **fixed: Any
) -> None:
    """So many plays after one history, always the same ones; ``fixed``: what is not drawn."""
    drawn: dict[str, Any] = {
        "actors": st.lists(st.sampled_from(ACTORS), min_size=1, max_size=2).flatmap(
            lambda others: st.permutations([("gc",), *others])
        ),
        "points": st.lists(st.integers(0, 120), min_size=3, max_size=3),
        "own": st.booleans(),
    }
    drawn |= {name: st.just(value) for name, value in fixed.items()}

    @settings(
        max_examples=examples,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(**drawn)
    def test(**drawn: Any) -> None:
        play(history, **drawn)

    test()


@pytest.mark.parametrize("history", HISTORIES)
def test_gc_beside_runs_loses_nothing(history: str) -> None:
    search(history, 60)


# ---- the search is worth something: it finds bugs that were put there


def gc_takes_no_lock(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def unlocked(root: Path) -> Iterator[Path]:
        yield root / gc.LOCK

    patch.setattr(gc, "_alone", unlocked)


def writers_take_no_lock(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def unlocked(self: ObjectStore) -> Iterator[bool]:
        yield True

    patch.setattr(ObjectStore, "_beside_gc", unlocked)


def writers_leave_times(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ObjectStore, "_refresh", lambda self, digest, size: self.exists(digest))


def moved_files_stay_old(patch: pytest.MonkeyPatch) -> None:
    real = ObjectStore.put_file

    def put_file(self: ObjectStore, path: Path, *, move: bool = False) -> str:
        digest = real(self, path, move=move)
        os.utime(f"{self.root}/{self.relative(digest)}", (0, 0))
        return digest

    patch.setattr(ObjectStore, "put_file", put_file)


def gc_trusts_its_first_look(patch: pytest.MonkeyPatch) -> None:
    def delete(self: gc._Run, item: gc.Item) -> bool:
        with gc._alone(self.root):
            return gc.drop(self.objects, [item.digest])[0] == 1

    patch.setattr(gc._Run, "delete", delete)


def gc_keeps_no_lineage(patch: pytest.MonkeyPatch) -> None:
    real = gc.reach

    def reach(trees: Trees, records: dict[str, Any], *rest: Any) -> set[str]:
        return real(trees, {key: {**r, "inputs": {}} for key, r in records.items()}, *rest)

    patch.setattr(gc, "reach", reach)


def gc_deletes_what_none_makes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reach_module, "given", lambda records: set())


def gc_sees_no_nested_trees(patch: pytest.MonkeyPatch) -> None:
    real = Trees.entries
    patch.setattr(Trees, "entries", lambda *a: [e._replace(kind="blob") for e in real(*a)])


# Each with a history and actors that let it show.
GC, BASE = ("gc",), ("run", "base")
BUGS = [
    (gc_takes_no_lock, "orphans", [GC, BASE]),
    (writers_take_no_lock, "orphans", [GC, BASE]),
    (writers_leave_times, "orphans", [GC, BASE]),
    (moved_files_stay_old, "nothing", [BASE, GC]),
    (gc_trusts_its_first_look, "orphans", [GC, BASE]),
    (gc_keeps_no_lineage, "only the last", [GC]),
    (gc_deletes_what_none_makes, "a maker forgotten", [GC]),
    (gc_sees_no_nested_trees, "old", [GC]),
]


@pytest.mark.parametrize(("bug", "history", "actors"), BUGS, ids=[b.__name__ for b, *_ in BUGS])
def test_the_search_finds(
    bug: Callable[[pytest.MonkeyPatch], None],
    history: str,
    actors: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with world_after(history):  # made by sound code
        bug(monkeypatch)
    with pytest.raises((AssertionError, OSError)):
        search(history, 150, (Phase.generate,), actors=actors, own=False)


# ---- kill -9


@pytest.mark.parametrize("history", ["unwanted", "half", "orphans", "a maker forgotten"])
def test_gc_killed_anywhere(history: str) -> None:
    with world_after(history) as world:
        stays = (world.needed() | set(KEYS)) & world.here()
        goes = world.here() - stays
        assert goes
    for number in range(len(goes) + 1):
        with world_after(history) as world:
            status = killed(lambda world=world: world.gc(), number)
            assert os.WIFSIGNALED(status) == (number < len(goes))
            assert len(goes & world.here()) == len(goes) - number
            assert stays <= world.here()
            world.gc()
            assert world.here() == stays
            check(world, stays)


def killed(work: Callable[[], object], number: int) -> int:
    """Do something in a process that is killed before it unlinks a file for the (n+1)th time."""
    process = os.fork()
    if process == 0:
        real, left = os.unlink, number

        def unlink(path: str) -> None:
            nonlocal left
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            real(path)

        os.unlink = unlink  # type: ignore[assignment]
        work()
        os._exit(0)
    return os.waitpid(process, 0)[1]
