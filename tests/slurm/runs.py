"""Runs through the profile on the Slurm of these tests, and what is known of their jobs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.processes import Family, Invocation, Process, until
from tests.workflow.runs import BASE, WorkingCopy, merged, nested

ASKED = os.environ.get("CLIPSTEER_TEST_SLURM") == "1"
on_slurm = pytest.mark.skipif(not ASKED, reason="make test-slurm starts a Slurm for it")
# One table with one dictionary, which is all that the profile needs to show.
SMALL = {"tables": {"celeba": ["topk"], "waterbirds": []}}
# A training that takes long enough to be disturbed; progress is saved all the time.
MODEL = "artifacts/refs/model/model.json"
SLOW = merged(nested("model.tiny.steps", 240), nested("runtime.checkpoint_steps", 20))


def options(*more: str, status: str = "squeue") -> list[str]:
    """The words of a run through the profile. It fits our nodes, and looks more often than on a real cluster."""
    words = ["--workflow-profile", str(BASE / "profiles/slurm")]
    words += ["--slurm-status-command", status]
    return [*words, "--slurm-init-seconds-before-status-checks", "4", *more]


def start(
    copy: WorkingCopy,
    ours: Family,
    *targets: str,
    config: Mapping[str, Any],
    more: tuple[str, ...] = (),
) -> Invocation:
    """A run through the profile, beside us."""
    return Invocation(copy, ours, *targets, config=config, options=options(*more))


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


def training(copy: WorkingCopy, ours: Family, run: Invocation, past: int) -> Process:
    """The step that trains, once it has saved progress beyond `past`."""
    until(lambda: saved(copy) > past or not run.alive, 300, "no checkpoint")
    assert run.alive, run.text
    [step] = ours.steps("pretrain_clip")
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
