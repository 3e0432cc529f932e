"""Slurm seen from the main process: whether its answers can be relied on, and jobs that outlived their run.

Snakemake's plugin submits and polls. What is here is what it leaves out: it polls for ever, and says nothing,
where the command that it polls with cannot answer or Slurm's commands are missing; where sbatch refuses a group
of jobs, it does not say why; and it does not know the jobs of a run that was killed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from clipsteer.errors import ClipsteerError

# The longest that the plugin (2.8.0) waits between two looks, in seconds.
_LONGEST_WAIT = 180
# The plugin names a job by its run, and says the rule in the comment.
_RUN = re.compile(r"([\w-]+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RULE = re.compile(r"(rule|group)_")
_UNITS = {"s": 1, "m": 60, "h": 3600}
# What a job asks for (a resource in Snakemake's words) that sbatch is asked about beforehand.
_ASKED = {
    "slurm_partition": "--partition={}",
    "mem_mb": "--mem={}M",
    "runtime": "--time={}",
    "constraint": "--constraint={}",
    "qos": "--qos={}",
}
# sbatch of a job that has to wait: for nodes that are taken now, or away.
_LATER = re.compile(r"busy|down, drained|reserved|currently", re.I)


def check_profile(words: Sequence[str]) -> None:
    """See that the profile is there which Snakemake's command line names: Snakemake does without, in silence.

    Raises ClipsteerError.
    """
    for name, _, value in (word.partition("=") for word in _joined(words, "--workflow-profile")):
        if value != "none" and not Path(value).is_dir():
            raise ClipsteerError(
                f"{name} {value}: found no such folder, seen from {Path.cwd()}; expected one with a config.yaml, "
                "such as profiles/slurm."
            )


def check_commands() -> None:
    """See that Slurm's commands are here. Raises ClipsteerError."""
    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise ClipsteerError(
            f"profiles/slurm: found no {', '.join(missing)} on the PATH, expected Slurm's commands: start the run "
            "on a login node of the cluster (after `module load slurm`, perhaps). Without a cluster leave "
            "out --workflow-profile."
        )


def request(resources: Mapping[str, object], threads: int) -> tuple[str, ...]:
    """What a job asks for, in words for sbatch."""
    words = [f"--cpus-per-task={threads}"]
    for name, word in _ASKED.items():
        if resources.get(name):
            words.append(word.format(resources[name]))
    if number := resources.get("gpu"):
        model = resources.get("gpu_model")
        words.append(f"--gpus={model}:{number}" if model else f"--gpus={number}")
    return tuple(words)


def check_requests(requests: Mapping[tuple[str, ...], str]) -> None:
    """See that Slurm has nodes, now or later, for what the jobs ask for: `request` -> a rule that asks so.

    Raises ClipsteerError with what sbatch says; nothing is submitted.
    """
    for words, rule in requests.items():
        fault = _fault(["sbatch", "--test-only", "--wrap=true", *words])
        if fault and not _LATER.search(fault):
            raise ClipsteerError(
                f"profiles/slurm: Slurm refuses jobs of {rule} ({' '.join(words)}): {' '.join(fault.split())}. "
                "Expected a partition and a size that it has (`sinfo -o '%P %c %m %G %l'` lists them): see "
                "default-resources and set-resources in the profile's config.yaml, and `python -m clipsteer plan "
                "TARGET --resources`."
            )


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


def _joined(words: Sequence[str], option: str) -> list[str]:
    """Each `--option=value` of a command line, whose value may be a word of its own."""
    following = [*words[1:], ""]
    return [
        f"{word}={value}" if word == option else word
        for word, value in zip(words, following, strict=True)
        if word.partition("=")[0] == option
    ]


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
