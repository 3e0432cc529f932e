"""gc, writers and readers, stopped between file operations and interleaved in every way.

A play begins with a history: what lies in the store, how old, what was thrown away and when. Then gc
runs beside other processes in bursts that hypothesis draws, and some are killed. Before any file in
trash/ is deleted, a model of its own (world.py) says whether it is needed; so it does at the end.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from clipsteer.errors import ClipsteerError
from clipsteer.store import gc, objects, trash
from clipsteer.store.actions import ActionStore
from clipsteer.store.objects import ObjectStore
from clipsteer.store.reach import Reached, Trees
from tests.store.places import quick_folder
from tests.store.stage import Actor, Killed, Stop, stage
from tests.store.world import World

# What the store has gone through before a play, as calls of World.
HISTORIES: dict[str, list[tuple[str, ...] | tuple[str, float]]] = {
    "nothing": [],
    "fresh": [("run", "last")],
    "old": [("run", "last"), ("age", 40)],
    "unwanted": [("run", "last"), ("unroot",), ("age", 40)],
    "in trash": [("run", "last"), ("unroot",), ("age", 40), ("gc",), ("age", 0.6)],
    "due": [("run", "last"), ("unroot",), ("age", 40), ("gc",), ("age", 2)],
    "only the last": [("run", "last"), ("unroot", "base", "next"), ("age", 40)],
    "orphans": [("run", "last"), ("unroot",), ("forget",), ("age", 40)],
    "half": [("run", "last"), ("unroot", "next", "last"), ("age", 40)],
    "half due": [("run", "last"), ("unroot", "last"), ("age", 40), ("gc",), ("age", 2)],
    "restored": [
        *(("run", "last"), ("unroot",), ("age", 40), ("gc",), ("age", 0.6)),
        *(("run", "base"), ("unroot",), ("age", 40)),
    ],
    "not yet back": [
        *(("run", "last"), ("unroot",), ("age", 40), ("gc",), ("age", 0.6), ("run", "base")),
    ],
    "twins": [("run", "twin"), ("run", "last"), ("unroot",), ("age", 40)],
    "twins due": [
        *(("run", "twin"), ("unroot",), ("age", 40), ("gc",), ("age", 2)),
        *(("run", "last"), ("unroot", "base")),
    ],
    "one twin due": [
        *(("run", "base"), ("unroot",), ("age", 40), ("run", "twin"), ("gc",), ("age", 2)),
        *(("unroot",), ("age", 40)),
    ],
}
PLACE = quick_folder()
atexit.register(PLACE.cleanup)
PEERS = [
    ("run", "base"),
    ("run", "twin"),
    ("run", "last"),
    ("read", "base"),
    ("read", "last"),
    ("gc",),
]

# Who goes on (of those who did not just go), and how far: to the nth rename or setting of a time, or
# through so many percent of what the actor would do alone. Few switches in the right places find
# more than many anywhere.
FAR = st.one_of(
    *(st.tuples(st.just(call), st.integers(0, 8)) for call in ("replace", "utime")),
    st.tuples(st.just("%"), st.integers(0, 99)),
)
BURSTS = st.lists(st.tuples(st.integers(0, 1), FAR), min_size=1, max_size=3)
PLAYS = {
    "peers": st.lists(st.sampled_from(PEERS), min_size=1, max_size=2),
    "bursts": BURSTS,
    "order": st.sampled_from([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0)]),
    "killed": st.sampled_from([None, None, None, 0, 1]),
    "synced": st.booleans(),
    "days": st.sampled_from([1.0, 0.0]),
}


def is_shared(path: str) -> bool:
    return any(f"/{name}/" in path for name in ("objects", "actions", "roots"))


def nth(number: int, call: str = "") -> Stop:
    """Stop before the nth operation (of a kind) on an object, a record or a root copy."""
    left = number

    def stop(now: str, path: str) -> bool:
        nonlocal left
        left -= is_shared(path) and now in (call or now)
        return left < 0

    return stop


@functools.cache
def length(history: str, verb: str, *arguments: str) -> int:
    """How many operations on shared files it takes to do this alone."""
    with world_after(history) as world, stage():
        actor = Actor(verb, partial(getattr(world, verb), *arguments))
        actor.finish()
        return sum(is_shared(operation) for operation in actor.operations)


@contextlib.contextmanager
def world_after(history: str) -> Iterator[World]:
    """A world with a history, always at the same place, as a working copy's id is its path."""
    past, present = Path(PLACE.name, history), Path(PLACE.name, "present")
    try:
        if not past.exists():
            present.mkdir()
            world = World(present)
            for name, *arguments in HISTORIES[history]:
                getattr(world, name)(*arguments)
            world.check()
            present.rename(past)
        shutil.copytree(past, present)
        yield World(present)
    finally:
        shutil.rmtree(present, ignore_errors=True)


def play(
    history: str,
    peers: list[tuple[str, ...]],
    bursts: list[tuple[int, tuple[str, int]]],
    order: tuple[int, ...],
    killed: int | None,
    synced: bool,
    days: float,
) -> None:
    lengths = [length(history, *words) for words in [("gc",), *peers]]
    with world_after(history) as world:

        def watch(call: str, path: str) -> None:
            if call == "unlink" and "/trash/" in path:
                world.check(without=path)

        with stage(watch):
            collect = partial(world.gc, trash=days, working_copy=world.copy if synced else None)
            cast = [Actor("gc", collect)]
            # Only what somebody needs is sure to be there for a reader.
            safe = world.rooted()
            for verb, *targets in peers:
                work = collect if verb == "gc" else partial(getattr(world, verb), *targets)
                cast.append(
                    Actor(verb, work if verb != "read" or safe.issuperset(targets) else int)
                )
            last = None
            for other, (call, far) in bursts:
                number = [n for n in range(len(cast)) if n != last][other % (len(cast) - 1)]
                stop = nth(far, call) if call != "%" else nth(lengths[number] * far // 100)
                cast[number].go(stop)
                last = number
            for number in [number for number in order if number < len(cast)]:
                cast[number].kill() if number == killed else cast[number].finish()
        for actor in cast:
            expected = isinstance(actor.error, Killed) or "another gc" in str(actor.error)
            if actor.error is not None and not expected:
                raise actor.error
        world.check()
        # Whatever was killed: the next gc, alone and a day later, puts everything in order.
        world.age(1.1)
        world.gc()
        world.check(trash=False)
        for name in world.needed():
            world.read(name)


def search(
    history: str, examples: int, phases: tuple[Phase, ...] = tuple(Phase), **fixed: Any
) -> None:
    """So many plays after one history, always the same ones; ``fixed``: what is not drawn."""
    drawn = {**PLAYS, **{name: st.just(value) for name, value in fixed.items()}}

    @settings(
        max_examples=examples,
        phases=phases,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(**drawn)
    def test(**drawn: Any) -> None:
        play(history, **drawn)

    test()


@pytest.mark.parametrize("history", HISTORIES)
def test_gc_never_removes_what_is_needed(history: str) -> None:
    search(history, 40)


# ---- the search is worth something: it finds bugs that were put there


def deletes_by_the_first_look(patch: pytest.MonkeyPatch) -> None:
    real = gc._Run.look

    def look(self: gc._Run) -> tuple[Reached, Reached]:
        if "first" not in vars(self):
            vars(self)["first"] = (real(self)[0],) * 2
        return vars(self)["first"]

    patch.setattr(gc._Run, "look", look)


def deletes_what_it_does_not_keep(patch: pytest.MonkeyPatch) -> None:
    """Though a record in trash/ can still lead somebody to it."""
    real = gc._Run.look
    patch.setattr(gc._Run, "look", lambda self: (real(self)[0],) * 2)


def overlooks_records_in_trash(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gc._Run, "trashed_records", lambda self: iter(()))


def never_brings_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gc._Run, "bring_back", lambda self, kept: None)


def keeps_no_lineage(patch: pytest.MonkeyPatch) -> None:
    real = gc.reach

    def reach(trees: Trees, records: dict[str, Any], outputs: Any, keys: Any) -> Reached:
        plain = {key: {**record, "inputs": {}} for key, record in records.items()}
        return real(trees, plain, outputs, keys)

    patch.setattr(gc, "reach", reach)


def keeps_no_nested_trees(patch: pytest.MonkeyPatch) -> None:
    real = Trees.entries
    patch.setattr(Trees, "entries", lambda *a: [e._replace(kind="blob") for e in real(*a)])


def does_not_look_at_times_again(patch: pytest.MonkeyPatch) -> None:
    """Neither just after a move nor before it deletes."""
    real = trash.Trash.take
    patch.setattr(trash.Trash, "take", lambda self, name, limit: real(self, name, math.inf))
    patch.setattr(trash.Trash, "used", lambda self, name: 0.0)


def writer_does_not_touch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ObjectStore, "_refresh", lambda self, digest, size: self.exists(digest))


def moved_files_stay_old(patch: pytest.MonkeyPatch) -> None:
    real = ObjectStore.put_file

    def put_file(self: ObjectStore, path: Path, *, move: bool = False) -> str:
        digest = real(self, path, move=move)
        os.utime(f"{self.root}/{self.relative(digest)}", (0, 0))
        return digest

    patch.setattr(ObjectStore, "put_file", put_file)


def readers_do_not_resurrect(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(objects, "resurrect", lambda root, name: False)


def touch_says_yes(patch: pytest.MonkeyPatch) -> None:
    real = ActionStore.touch
    patch.setattr(ActionStore, "touch", lambda self, key: real(self, key) or True)


# Each with a history and a peer that let it show.
RUN, LAST = [("run", "base")], [("run", "last")]
BUGS = [
    (deletes_by_the_first_look, "due", 0.0, LAST),
    (deletes_what_it_does_not_keep, "restored", 1.0, RUN),
    (overlooks_records_in_trash, "restored", 1.0, RUN),
    (never_brings_back, "not yet back", 1.0, RUN),
    (keeps_no_lineage, "only the last", 1.0, RUN),
    (keeps_no_nested_trees, "old", 0.0, RUN),
    (does_not_look_at_times_again, "orphans", 0.0, RUN),
    (writer_does_not_touch, "orphans", 0.0, RUN),
    (moved_files_stay_old, "nothing", 0.0, RUN),
    (readers_do_not_resurrect, "not yet back", 1.0, [("read", "base")]),
    (touch_says_yes, "unwanted", 0.0, RUN),
]


@pytest.mark.parametrize(
    ("bug", "history", "days", "peers"), BUGS, ids=[bug.__name__ for bug, *_ in BUGS]
)
def test_the_search_finds(
    bug: Callable[[pytest.MonkeyPatch], None],
    history: str,
    days: float,
    peers: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with world_after(history):  # made by sound code
        bug(monkeypatch)
    with pytest.raises((AssertionError, ClipsteerError, OSError)):
        search(
            *(history, 150, (Phase.generate,)),
            **{"days": days, "peers": peers, "killed": None, "order": (0, 1, 2)},
        )
