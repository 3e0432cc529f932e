"""Slurm seen from the main process: whether its answers can be relied on, and jobs that outlived their run.

Snakemake's plugin submits and polls. What is here is what it leaves out: it polls for ever, and says nothing,
where the command that it polls with cannot answer; and it does not know the jobs of a run that was killed.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from clipsteer.errors import ClipsteerError

# The longest that the plugin (2.8.0) waits between two looks, in seconds.
_LONGEST_WAIT = 180
# The plugin names a job by its run, and says the rule in the comment.
_RUN = re.compile(r"([\w-]+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RULE = re.compile(r"(rule|group)_")
_UNITS = {"s": 1, "m": 60, "h": 3600}


def check_status_command(command: str) -> None:
    """See that the command with which the plugin will ask for its jobs' states can answer.

    `command`: `sacct` (Slurm's accounting) or `squeue` (the controller, which soon forgets jobs that have
    ended). Raises ClipsteerError with the setting to change; without it a run would never end.
    """
    accounting = _fault(["sacct", "--allocations", "--noheader", "--format=JobIdRaw,State"])
    key = "slurm-status-command in profiles/slurm/config.yaml"
    if command == "sacct" and accounting:
        raise ClipsteerError(
            f"{key}: found sacct, which cannot answer here ({accounting}): submitted jobs would run, and their "
            "end would never be noticed. Expected squeue, where Slurm keeps no accounts; or have accounting "
            "(slurmdbd) switched on."
        )
    age = _min_job_age()
    if command == "squeue" and age is not None and age <= _LONGEST_WAIT:
        remedy = (
            "ask the cluster's administrators for a MinJobAge of 300"
            if accounting
            else "set it to sacct, which answers here"
        )
        raise ClipsteerError(
            f"{key}: found squeue, but this cluster forgets jobs {age} s after their end (MinJobAge), and up to "
            f"{_LONGEST_WAIT} s pass between two looks: the end of a job could be missed, and be waited for "
            f"without end. Expected more than {_LONGEST_WAIT} s; {remedy}."
        )


def jobs_here(folder: Path) -> list[str]:
    """Ids of all jobs, waiting or running, that runs in this working copy have submitted; none without Slurm."""
    found = []
    for line in _output(["squeue", "--me", "--noheader", "--format=%i|%j|%k|%Z"]).splitlines():
        job, name, comment, place = line.split("|", 3)
        ours = _RUN.fullmatch(name) and _RULE.match(comment)
        if ours and os.path.realpath(place) == os.path.realpath(folder):
            found.append(job)
    return found


def cancel(jobs: Sequence[str], *, seconds: float = 0.0) -> None:
    """Cancel jobs: each is asked to stop (training saves its progress), and killed after Slurm's KillWait.

    Waits up to `seconds` for their end.
    """
    if not jobs:
        return
    _output(["scancel", *jobs])
    limit = time.monotonic() + seconds
    ask = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(jobs)}"]
    while _output(ask).strip() and time.monotonic() < limit:
        time.sleep(0.5)


def _min_job_age() -> int | None:
    """Seconds for which the controller remembers a job that has ended; None where it does not say."""
    found = re.search(
        r"^MinJobAge\s*=\s*(\d+)\s*([smh]?)", _output(["scontrol", "show", "config"]), re.M
    )
    return int(found[1]) * _UNITS[found[2] or "s"] if found else None


def _fault(words: Sequence[str]) -> str:
    """What a command says when it fails; nothing where it works."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip() or f"exit status {done.returncode}") if done.returncode else ""


def _output(words: Sequence[str]) -> str:
    """What a command prints; nothing where it is not there or does not answer."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
