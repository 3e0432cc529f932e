"""The processes that a test has started, found again whoever their parents are by now.

A mark in the environment, which children inherit, tells them from all others of the machine: also
orphans, whose parents were killed. Nothing else is ever signalled. Linux only (/proc, pidfd).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.workflow.ready import MARK
from tests.workflow.runs import Outcome, WorkingCopy

LINUX = sys.platform.startswith("linux") and hasattr(os, "pidfd_open")
_SCRIPT = re.compile(r"/workflow_scripts/(\w+)\.py")
SNAKEMAKE, SHELL, STEP, OTHER = "snakemake", "shell", "step", "other"
WORKER, FORK = "worker", "fork"  # the warm worker, and its forks, which compute for steps


@dataclass(frozen=True)
class Process:
    """One process: its parent, what it is, and for shells and steps the step's name and log file."""

    pid: int
    parent: int
    kind: str
    step: str = ""
    log: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.step}".strip()


@dataclass
class Family:
    """All processes with one mark in their environment."""

    mark: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def environment(self) -> dict[str, str]:
        """For a first process of the family."""
        return {**os.environ, "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg", MARK: self.mark}

    def members(self) -> list[Process]:
        """Those alive now, but for those just about to become another program."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and self._is_ours(int(entry)):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    found.append(_look(int(entry)))
        mains = {process.pid for process in found if process.kind == SNAKEMAKE}
        # a child of Snakemake that looks like Snakemake has not yet become the shell of its job
        return [p for p in found if not (p.kind == SNAKEMAKE and p.parent in mains)]

    def steps(self, name: str = "") -> list[Process]:
        """The steps alive now, or those of one name."""
        return [p for p in self.members() if p.kind == STEP and name in ("", p.step)]

    def signal(self, process: Process, number: int) -> bool:
        """Signal a member; whether it was still there. Its pid may be another's by now, so we look."""
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return False
        try:
            if not self._is_ours(process.pid):
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait(self, seconds: float = 300.0) -> None:
        """Wait until all members have ended by themselves."""
        until(lambda: not self.members(), seconds, "processes that never end")

    def end(self) -> None:
        """Kill whatever is left."""
        limit = time.monotonic() + 10
        while (left := self.members()) and time.monotonic() < limit:
            for process in left:
                self.signal(process, signal.SIGKILL)
            time.sleep(0.01)

    def _is_ours(self, pid: int) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"{MARK}={self.mark}".encode() in environment.split(b"\0")


class Invocation:
    """One command in a working copy, running beside us."""

    def __init__(
        self,
        copy: WorkingCopy,
        family: Family,
        *targets: str,
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.said = copy.folder / f"said-{time.time_ns()}.txt"
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                copy.command(*targets, **settings),
                cwd=copy.folder,
                env={**family.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C meant for us is none for it
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def text(self) -> str:
        return self.said.read_text(errors="replace")

    def outcome(self, seconds: float = 600.0) -> Outcome:
        """How it ended."""
        return Outcome(self.process.wait(seconds), self.text)


@contextlib.contextmanager
def family(mark: str | None = None) -> Iterator[Family]:
    """The family of a mark, or a new one, none of which outlives the block."""
    members = Family(mark) if mark else Family()
    try:
        yield members
    finally:
        members.end()


def until(done: Callable[[], object], seconds: float = 300.0, what: str = "nothing") -> None:
    """Wait for `done()`; AssertionError after so many seconds."""
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, f"after {seconds:.0f} s: {what}"
        time.sleep(0.005)


def _look(pid: int) -> Process:
    """Raises OSError where it has just ended."""
    words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    parent, group = int(numbers[1]), int(numbers[2])
    script = next((m for m in map(_SCRIPT.search, words) if m), None)
    if words[1:3] == ["-m", "snakemake"]:
        return Process(pid, parent, SNAKEMAKE)
    if words[1:3] == ["-m", "clipsteer.runner.warmer"]:
        return Process(pid, parent, WORKER if group == pid else FORK)
    if script is None:
        return Process(pid, parent, OTHER, Path(words[0]).name)
    if "-c" in words:
        return Process(pid, parent, SHELL, script[1])
    log = words[words.index("--log") + 1] if "--log" in words else ""
    return Process(pid, parent, STEP, script[1], log)
