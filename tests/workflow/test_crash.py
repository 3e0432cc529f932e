"""Killed runs, orphans, two runs at once: the same command, once more, finishes, and says the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipsteer.__main__ import main
from clipsteer.store.actions import ActionStore
from clipsteer.store.gc import Options, collect
from clipsteer.store.verify import verify
from tests.workflow.conftest import Share
from tests.workflow.processes import (
    FORK,
    LINUX,
    SNAKEMAKE,
    STEP,
    Family,
    Invocation,
    Process,
    family,
    until,
)
from tests.workflow.runs import BASE, TINY, WorkingCopy, nested

pytestmark = pytest.mark.skipif(not LINUX, reason="finds processes through /proc")

WORLD = "artifacts/refs/celeba/world.json"
SHARDS = "artifacts/refs/celeba/activations/train/shards.json"  # the world, its manifest, and this


def painted(images: int, dataset: str = "celeba") -> dict[str, Any]:
    """A configuration whose world takes a while to paint."""
    return nested(f"datasets.{dataset}.painted.counts.train", [images, 12, 20, 8])


SLOW = painted(400)


@pytest.fixture
def ours() -> Iterator[Family]:
    with family() as members:
        yield members


@pytest.fixture(scope="module")
def reference(share: Share) -> WorkingCopy:
    """SHARDS of the slow world, in one go."""
    return share("slow-world", lambda copy: copy.run(SHARDS, config=SLOW))


def frozen(
    copy: WorkingCopy, ours: Family, target: str, **settings: Any
) -> tuple[Invocation, Process]:
    """A run, and the process that paints for its step, stopped (SIGSTOP) while it computes."""
    before = attempts(copy)
    run = Invocation(copy, ours, target, **settings)
    until(lambda: attempts(copy) - before or not run.alive)
    [attempt] = attempts(copy) - before
    pid = attempt.name.split("-")[-2]  # <host>-<pid>-<random>
    [step] = [process for process in ours.members() if str(process.pid) == pid]
    assert ours.signal(step, signal.SIGSTOP), run.text
    return run, step


def attempts(copy: WorkingCopy) -> set[Path]:
    return set((copy.store / "scratch").glob("*/*-*/"))


def kill(run: Invocation) -> None:
    run.process.kill()
    assert run.process.wait(30) == -signal.SIGKILL


def sound(copy: WorkingCopy) -> None:
    """Nothing is locked, damaged or half-written for anybody to see."""
    assert not list((copy.folder / ".snakemake/locks").glob("*"))
    assert not list((copy.store / "quarantine").iterdir())
    actions = ActionStore(copy.store)
    assert None not in map(actions.get, actions.keys())
    visible = [p for p in copy.leftovers() if "/artifacts/refs/" in p or "/results/" in p]
    assert visible == []


# ------------------------------------------------------------------------------- killed, and orphans


def test_an_orphan_and_the_next_run_side_by_side(
    fresh: WorkingCopy, reference: WorkingCopy, ours: Family
) -> None:
    run, orphan = frozen(fresh, ours, SHARDS, config=SLOW)
    kill(run)
    assert not (fresh.folder / WORLD).exists()
    again = Invocation(fresh, ours, SHARDS, config=SLOW)
    until(lambda: len(attempts(fresh)) == 2 or not again.alive)
    ours.signal(orphan, signal.SIGCONT)  # now both paint, into folders of their own
    outcome = again.outcome().ok()
    ours.wait()
    assert fresh.pointers() == reference.pointers()
    assert sum(outcome.counts) == 3
    sound(fresh)
    assert fresh.leftovers() == []
    following = fresh.run(SHARDS, config=SLOW).ok()
    assert following.idle
    assert following.counts == (0, 0)


def test_an_orphan_of_another_configuration_writes_no_pointer(
    fresh: WorkingCopy, ours: Family
) -> None:
    run, orphan = frozen(fresh, ours, WORLD, config=SLOW)
    kill(run)
    fresh.run(WORLD, config=painted(10)).ok()
    newer, log = fresh.pointers(), fresh.folder / "logs/paint_world/celeba.log"
    said = log.read_text()
    ours.signal(orphan, signal.SIGCONT)
    ours.wait()
    assert fresh.pointers() == newer
    assert log.read_text() == said, "the orphan has written into the newer job's log"
    assert fresh.steps() == ["paint_world"] * 2  # what it found out is kept
    assert fresh.run(WORLD, config=painted(10)).ok().idle
    assert fresh.run(WORLD, config=SLOW).ok().counts == (0, 1)
    assert fresh.pointers() != newer
    sound(fresh)


def test_a_step_that_is_killed(fresh: WorkingCopy, reference: WorkingCopy, ours: Family) -> None:
    """As when memory runs out. What it left is cleared by the next attempt at the same action."""
    run, step = frozen(fresh, ours, SHARDS, config=SLOW)
    ours.signal(step, signal.SIGKILL)
    outcome = run.outcome()
    assert outcome.code != 0
    assert "Error in rule paint_world" in outcome.text
    assert "logs/paint_world/celeba.log" in outcome.text
    assert len(attempts(fresh)) == 1
    assert fresh.run(SHARDS, config=SLOW).ok().counts == (3, 0)
    assert fresh.pointers() == reference.pointers()
    assert fresh.leftovers() == []
    sound(fresh)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_run_that_is_asked_to_stop(fresh: WorkingCopy, ours: Family, number: int) -> None:
    """Snakemake alone would wait for its jobs, hours perhaps: they are asked as well."""
    config = painted(60_000)
    run = Invocation(fresh, ours, WORLD, config=config)
    until(lambda: attempts(fresh) or not run.alive)
    began = time.monotonic()
    run.process.send_signal(number)
    assert run.outcome().code != 0
    assert time.monotonic() - began < 60  # painting would take many minutes
    assert ours.members() == []
    assert fresh.leftovers() == []
    assert fresh.steps() == []
    assert fresh.run(WORLD, config=painted(10)).ok().counts == (1, 0)
    sound(fresh)


# --------------------------------------------------------------------------------------- two at once


def test_two_runs_in_one_folder(fresh: WorkingCopy, reference: WorkingCopy, ours: Family) -> None:
    fresh.run(WORLD, config=SLOW).ok()
    before = fresh.pointers()
    other = "artifacts/refs/waterbirds/world.json"
    run, step = frozen(fresh, ours, other, config=painted(300, "waterbirds"))
    second = fresh.run(WORLD, config=painted(10))
    second.refused("another run is going on in this folder", str(run.process.pid), "store.root")
    assert fresh.pointers() == before, "a run that is refused has deleted something"
    for options in (["-n"], ["--lint"], ["--unlock"]):
        fresh.run(WORLD, config=painted(10), options=options).ok()
    assert fresh.pointers() == before
    ours.signal(step, signal.SIGCONT)
    assert run.outcome().ok().counts == (1, 0)
    assert fresh.pointers().keys() == {"celeba/world.json", "waterbirds/world.json"}
    sound(fresh)


def test_no_lock_outlives_its_run(fresh: WorkingCopy, ours: Family) -> None:
    run, orphan = frozen(fresh, ours, WORLD, config=SLOW)
    kill(run)
    until(lambda: sorted(p.kind for p in ours.members()) == [FORK, STEP])
    other = Invocation(fresh, ours, WORLD, config=painted(10))
    assert other.outcome().ok().counts == (1, 0)
    ours.signal(orphan, signal.SIGKILL)
    assert fresh.run(WORLD, config=painted(10)).ok().idle


def test_two_clones_on_one_store(
    fresh: WorkingCopy, reference: WorkingCopy, tmp_path: Path, ours: Family
) -> None:
    clone = WorkingCopy(tmp_path / "clone", fresh.store)
    runs = [Invocation(copy, ours, SHARDS, config=SLOW) for copy in (fresh, clone)]
    counts = [run.outcome().ok().counts for run in runs]
    assert 3 <= sum(computed for computed, _ in counts) <= 6
    assert all(sum(pair) == 3 for pair in counts)
    for copy in (fresh, clone):
        assert copy.pointers() == reference.pointers()
        assert copy.leftovers() == []
        sound(copy)
    assert fresh.steps() == reference.steps()


def test_two_clones_and_gc_on_one_store(
    fresh: WorkingCopy, reference: WorkingCopy, tmp_path: Path, ours: Family
) -> None:
    fresh.run(SHARDS, config=painted(10)).ok()
    for path in [p for top in ("objects", "actions") for p in (fresh.store / top).glob("*/*")]:
        os.utime(path, (0, 0))
    earlier = set(ActionStore(fresh.store).keys())
    clone = WorkingCopy(tmp_path / "clone", fresh.store)
    runs = [Invocation(copy, ours, SHARDS, config=SLOW) for copy in (fresh, clone)]
    gone: set[str] = set()

    def collected() -> bool:
        over = not any(run.alive for run in runs)
        found = collect(fresh.store, Options(working_copies=[fresh.folder]))
        gone.update(item.digest for item in found.deleted)
        return over

    until(collected)
    assert [sum(run.outcome().ok().counts) for run in runs] == [3, 3]
    assert gone
    for copy in (fresh, clone):
        assert copy.pointers() == reference.pointers()
        assert copy.leftovers() == []
        sound(copy)
    found = verify(fresh.store, fresh.folder)
    assert found.sound
    assert {missing.key for missing in found.missing} <= earlier
    assert {missing.digest for missing in found.missing} <= gone
    # what the records say is known all the same, and is made again where it is needed
    assert fresh.run(SHARDS, config=painted(10)).ok().counts == (0, 3)
    words = ["get", str(fresh.folder / WORLD), str(tmp_path / "world"), "--store", str(fresh.store)]
    assert main(["store", *words]) == 0


def test_a_plan_while_a_run_is_going_on(fresh: WorkingCopy, ours: Family) -> None:
    run, step = frozen(fresh, ours, WORLD, config=SLOW)
    words = [sys.executable, "-m", "clipsteer", "plan", WORLD, "--json"]
    words += ["--snakefile", str(BASE / "Snakefile"), "--configfile", str(TINY), "overlay.yaml"]
    done = subprocess.run(
        words,
        cwd=fresh.folder,
        env={**os.environ, "PYTHONPATH": str(BASE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["computed"] == [1, 1]
    assert [p.kind for p in ours.members()].count(SNAKEMAKE) == 1
    ours.signal(step, signal.SIGCONT)
    assert run.outcome().ok().counts == (1, 0)
