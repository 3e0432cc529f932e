"""Runs through the profile on the Slurm of these tests, and what is known of their jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.processes import Family, Invocation, Process, until
from tests.workflow.runs import BASE, Outcome, WorkingCopy, merged, nested

ASKED = os.environ.get("CLIPSTEER_TEST_SLURM")  # "1", or "default" for the whole of it too
on_slurm = pytest.mark.skipif(not ASKED, reason="make test-slurm starts a Slurm for it")
PROFILE = ("--workflow-profile", str(BASE / "profiles/slurm"))
# One table with one dictionary, and nothing of other data sets.
SMALL = merged(
    {
        "tables": {"celeba": ["topk"], "waterbirds": []},
        "dictionaries": {"topk": {"trained_on": "celeba"}},
    },
    nested("model.tiny.worlds", ["celeba"]),
)
# A training that saves its progress often enough to be disturbed.
MODEL = "artifacts/refs/model/model.json"
SLOW = merged(
    SMALL, merged(nested("model.tiny.steps", 100), nested("runtime.checkpoint_steps", 10))
)
# What Python is to run for a head that does not keep a test waiting.
IMPATIENT = ("-P", str(BASE / "tests/slurm/impatient.py"))


def options(*more: str, status: str = "squeue") -> list[str]:
    """The words of a run through the profile, with the status command that our Slurm can answer."""
    words = [*PROFILE, "--slurm-status-command", status]
    return [*words, "--slurm-init-seconds-before-status-checks", "1", *more]


def submit(
    copy: WorkingCopy,
    *targets: str,
    more: tuple[str, ...] = (),
    status: str = "squeue",
    **settings: Any,
) -> Outcome:
    """A run through the profile."""
    return copy.run(
        *targets, options=options(*more, status=status), snakemake=IMPATIENT, **settings
    )


def start(copy: WorkingCopy, ours: Family, *targets: str, **settings: Any) -> Invocation:
    """A run through the profile, beside us."""
    return Invocation(copy, ours, *targets, options=options(), snakemake=IMPATIENT, **settings)


def ask(*words: str) -> str:
    """What one of Slurm's commands says."""
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def jobs(states: str = "PENDING,RUNNING") -> list[str]:
    """Ids of the jobs in these states."""
    return ask("squeue", "--noheader", "--format=%i", f"--states={states}").split()


def saved(copy: WorkingCopy) -> int:
    """The newest training step that a checkpoint in the store has; 0 without one."""
    found = (copy.store / "scratch").glob("*/step-*")
    return max((int(path.name.split("-")[1]) for path in found), default=0)


def held(copy: WorkingCopy, ours: Family, run: Invocation, after: Process | None = None) -> Process:
    """The step that trains, stopped once it has saved some progress; Slurm wakes what it ends.

    `after`: another one than this. So none is over before it is disturbed, however fast the machine.
    """

    def found() -> list[Process]:
        return [
            step for step in ours.steps("pretrain_clip") if after is None or step.pid != after.pid
        ]

    until(lambda: found() or not run.alive, 300, "no training")
    past = saved(copy)
    until(lambda: saved(copy) > past or not run.alive, 300, "no checkpoint")
    assert run.alive, run.text
    [step] = found()
    assert ours.signal(step, signal.SIGSTOP)
    return step


def environment(process: Process) -> dict[str, str]:
    """A process's environment; empty where it has just ended."""
    try:
        data = Path(f"/proc/{process.pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(item.split("=", 1) for item in data.decode().split("\0") if "=" in item)


def settle(seconds: float = 60.0) -> None:
    """Wait until no job is left."""
    limit = time.monotonic() + seconds
    while jobs() and time.monotonic() < limit:
        time.sleep(0.2)
    assert not jobs()
