from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.store import gc
from clipsteer.store.gc import LOCK, SCRATCH_DAYS, Options, collect
from clipsteer.store.locks import try_lock
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


# ---- one at a time


def test_a_second_gc_is_refused(world: World) -> None:
    held = try_lock(world.root / LOCK)
    assert held is not None
    with held, pytest.raises(ClipsteerError, match="another gc"):
        world.gc()
    world.gc()


def test_the_lock_dies_with_its_process(world: World) -> None:
    code = (
        "import sys, time; from pathlib import Path; from clipsteer.store.locks import try_lock\n"
        "held = try_lock(Path(sys.argv[1])); print(held is not None, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(world.root / LOCK)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"True\n"
        with pytest.raises(ClipsteerError, match="another gc"):
            world.gc()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    world.gc()


def test_the_clock_is_the_file_systems(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run("base")
    world.unroot()
    monkeypatch.setattr(gc.time, "time", lambda: time.monotonic() + 1e10)
    assert collect(world.root, Options()).trashed == []
