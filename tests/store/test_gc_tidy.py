from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.store import gc, locks
from clipsteer.store.gc import SCRATCH_DAYS, Options, collect
from clipsteer.store.layout import LOCK
from clipsteer.store.locks import held_lock, is_locked
from tests.store.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# ---- what dead processes left


def test_leftovers(world: World) -> None:
    tmp, scratch = world.root / "tmp", world.root / "scratch"
    for name in ("tmp/old", "tmp/new", "tmp/many/1"):
        (world.root / name).parent.mkdir(exist_ok=True)
        (world.root / name).write_bytes(b"12")
    for name in ("old/attempt", "new/attempt/deep", "kept/attempt"):
        (scratch / name).mkdir(parents=True)
        (scratch / name / "file").write_bytes(b"123")
    (scratch / "kept/step.checkpoint").write_bytes(b"1234")
    world.age(SCRATCH_DAYS + 1)
    (tmp / "new").touch()
    (scratch / "new/attempt/deep/file").touch()
    (scratch / "kept/step.checkpoint").touch()
    assert world.gc(dry_run=True).temporary == 4
    report = world.gc()
    assert (report.temporary, report.temporary_bytes) == (4, 2 + 2 + 3 + 3)
    assert [path.name for path in tmp.iterdir()] == ["new"]
    left = sorted(p.relative_to(scratch).as_posix() for p in scratch.rglob("*") if p.is_file())
    assert left == ["kept/step.checkpoint", "new/attempt/deep/file"]
    assert not (scratch / "old").exists()


def test_attempts_of_dead_processes_go_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dead", "alive"):
        (world.root / "scratch/key" / name).mkdir(parents=True)
    monkeypatch.setattr(gc, "is_dead", lambda name: name == "dead")
    world.gc()
    assert [path.name for path in (world.root / "scratch/key").iterdir()] == ["alive"]


def test_quarantine_goes_on_request_only(world: World) -> None:
    (world.root / "quarantine/object-1").write_bytes(b"damaged")
    world.age(400)
    assert world.gc().temporary == 0
    assert world.gc(quarantine=True).temporary_bytes == 7
    assert not list((world.root / "quarantine").iterdir())


# ---- the lock


def test_gc_waits_for_the_lock_which_dies_with_its_process(world: World) -> None:
    world.run("base")
    code = (
        "import fcntl, sys, time; from pathlib import Path; from clipsteer.store.locks import held_lock\n"
        "with held_lock(Path(sys.argv[1]), fcntl.LOCK_SH) as held: print(held, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(world.root / LOCK)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"True\n"
        assert is_locked(world.root / LOCK)
        world.objects.put_bytes(b"same")  # who only marks an object as used shares it
        other = threading.Thread(target=world.gc)
        other.start()
        child.kill()
        other.join(60)
        assert not other.is_alive()
        assert not is_locked(world.root / LOCK)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_forked_process_does_not_keep_the_lock(world: World) -> None:
    told, tell = os.pipe()
    with held_lock(world.root / LOCK, fcntl.LOCK_SH):
        process = os.fork()
        if process == 0:
            os.read(told, 1)
            os._exit(0)
    try:
        assert not is_locked(world.root / LOCK)
        world.gc()
    finally:
        os.write(tell, b".")
        os.waitpid(process, 0)


def test_a_file_system_without_locks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs go on, as a lost object is made again; gc deletes nothing."""

    def refuse(*_: object) -> None:
        raise OSError(37, "no locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    world.run("last")
    world.unroot()
    world.age(40)
    before = world.here()
    with pytest.raises(ClipsteerError, match="cannot be locked"):
        world.gc()
    assert world.here() == before
    assert len(world.gc(dry_run=True).deleted) == len(before) - 3


def test_the_clock_is_the_file_systems(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run("base")
    world.unroot()
    monkeypatch.setattr(gc.time, "time", lambda: time.monotonic() + 1e10)
    assert collect(world.root, Options()).deleted == []
