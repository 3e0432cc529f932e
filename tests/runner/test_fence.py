"""One run at a time in a working copy; late jobs of killed runs write no pointers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsteer.runner import fence
from clipsteer.store import durable, roots

BASE = Path(__file__).parents[2]
BEGIN = """
from clipsteer.runner.fence import begin, look
begin(look())
print("begun", flush=True)
input()
"""
PLAN = """
from clipsteer.runner.fence import begin, look
seen = look()
print("looked", flush=True)
input()
begin(seen)
print("begun", flush=True)
"""
WRITE = """
from clipsteer.runner.fence import writing
with writing() as allowed:
    print("allowed" if allowed else "late", flush=True)
    input()
"""


class Processes:
    """Python processes in one working copy that say a word, then wait for one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[subprocess.Popen[str]] = []

    def start(self, program: str, run: str = "") -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(BASE)}
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=self.folder,
            env=environment | ({fence.VARIABLE: run} if run else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.all.append(process)
        return process

    def run_name(self) -> str:
        return (self.folder / ".snakemake/clipsteer/run").read_text()


def word(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    for process in made.all:
        process.kill()
        process.communicate()


def test_one_run_at_a_time_until_it_is_killed(processes: Processes) -> None:
    first = processes.start(BEGIN)
    assert word(first) == "begun"
    name = processes.run_name()
    second = processes.start(BEGIN)
    assert second.wait(30) != 0
    assert second.stderr is not None
    assert f"another run is going on in this folder (process {first.pid}, since" in (
        second.stderr.read()
    )
    assert processes.run_name() == name, "a run that is refused has taken the first one's place"
    first.kill()
    assert word(processes.start(BEGIN)) == "begun"
    assert processes.run_name() != name


@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_ends_while_another_is_planned(processes: Processes, before: bool) -> None:
    """What that one has found up to date may be so no more, whether the first began before its look or after."""
    started = {}
    for program in (BEGIN, PLAN) if before else (PLAN, BEGIN):
        started[program] = processes.start(program)
        assert word(started[program]) in ("begun", "looked")
    started[BEGIN].communicate("go\n")
    second = started[PLAN]
    _, said = second.communicate("go\n")
    assert second.returncode != 0
    assert "another run has ended in this folder" in said
    third = processes.start(PLAN)
    assert word(third) == "looked"
    assert third.communicate("go\n")[0] == "begun\n"


def test_who_only_looks_bars_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks holds the lock for a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(fence.VARIABLE, "")
    monkeypatch.setenv(roots.VARIABLE, "")
    looks = [None, fence.try_lock]

    def once(path: Path) -> object:
        act = looks.pop(0)
        return act and act(path)

    seen = fence.look()
    monkeypatch.setattr(fence, "try_lock", once)
    monkeypatch.setattr(fence, "_held", [])
    fence.begin(seen)
    assert looks == []
    assert fence.look().name not in ("", seen.name)


def test_a_late_job_may_not_write(processes: Processes) -> None:
    assert word(processes.start(BEGIN)) == "begun"
    assert word(processes.start(WRITE, processes.run_name())) == "allowed"
    assert word(processes.start(WRITE, "an-older-run")) == "late"
    assert word(processes.start(WRITE)) == "allowed"  # by hand


def test_a_run_begins_after_those_who_are_writing(processes: Processes) -> None:
    first = processes.start(BEGIN)
    assert word(first) == "begun"
    name = processes.run_name()
    writers = [processes.start(WRITE, name) for _ in range(2)]
    assert [word(writer) for writer in writers] == ["allowed"] * 2  # both at once
    first.kill()
    first.wait(30)
    second = processes.start(BEGIN)
    lock = processes.folder / ".snakemake/clipsteer/run.lock"
    while f"process {second.pid}," not in lock.read_text():
        time.sleep(0.01)
    time.sleep(0.5)  # all that is left to do for it would take a few milliseconds
    assert processes.run_name() == name
    for writer in writers:
        writer.communicate("go\n")
    assert word(second) == "begun"
    assert word(processes.start(WRITE, name)) == "late"


def test_a_run_clears_what_killed_jobs_were_writing(processes: Processes) -> None:
    token = durable.token()
    dead = [f"artifacts/refs/a/b/.c.json.{token}.tmp", f"results/.table.csv.{token}.tmp"]
    kept = ["results/table.csv", "results/.mine.tmp", f"artifacts/refs/raw/.a.json.{token}.tmp"]
    for name in (*dead, *kept):
        path = processes.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert word(processes.start(BEGIN)) == "begun"
    assert [name for name in dead if (processes.folder / name).exists()] == []
    assert [name for name in kept if (processes.folder / name).exists()] == kept


def test_temporary_names_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    monkeypatch.setattr(os, "replace", lambda source, target: names.append(Path(source).name))
    durable.write_atomic(tmp_path / "a.json", b"")
    found = [durable.is_temporary(name) for name in (*names, "a.json", ".a.tmp")]
    assert found == [True, False, False]
