"""kill -9 at random: logical runs of the workflow, each killed now and then and started again until done.

Every logical run begins with an empty store in a folder of its own. A random process of it (Snakemake, the
shell of a job, a step's Python, several at once; orphans of killed runs as well) is killed at a random
moment; then the same command is given again. Orphans live on and write meanwhile. In the end the results
have to be those of a run that nobody disturbed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import ActionStore, complete
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import read_pointer
from clipsteer.store.roots import copy_of
from tests.workflow.processes import FORK, SNAKEMAKE, STEP, Family, Invocation, Process
from tests.workflow.runs import REFS, WorkingCopy

Say = Callable[[str], None]
# A shell that stays beside its step, as Bash before 5.1 does; newer ones become the step.
_BASH = '#!/bin/sh\n{bash} "$@"\nexit $?\n'
_TIMEOUT = 900.0


@dataclass(frozen=True)
class Kill:
    """One kill: its logical run, the moment, the processes that it ended."""

    run: int
    moment: str
    kind: str
    steps: tuple[str, ...]
    disturbs: bool  # the run that is going on, not only orphans of earlier starts


@dataclass
class Verdict:
    """How a logical run ended: what is wrong with it (nothing), and what its killed processes left."""

    run: int
    starts: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)


class Harness:
    """Logical runs of one target, compared with one that nobody disturbs."""

    def __init__(
        self,
        folder: Path,
        targets: Sequence[str],
        settings: Mapping[str, Any],
        seed: int,
        say: Say,
        depth: int | None = None,
    ) -> None:
        """`depth`: how deep the outputs of every record have to be there in the end; None: wholly."""
        self.depth = depth
        self.folder, self.targets, self.settings, self.say = folder, targets, settings, say
        self.random = random.Random(seed)
        self.kills: list[Kill] = []
        self.verdicts: list[Verdict] = []
        self._shells = folder / "bin"
        self._shells.mkdir(parents=True)
        (self._shells / "bash").write_text(_BASH.format(bash=shutil.which("bash")))
        (self._shells / "bash").chmod(0o755)

    def refer(
        self, results: Mapping[str, bytes], pointers: Mapping[str, bytes], seconds: float
    ) -> None:
        """Compare with the outcome of an undisturbed run, which takes about so long."""
        self._results, self._pointers, self._span = results, pointers, seconds / 4

    def refer_to_a_new_run(self) -> None:
        copy = WorkingCopy(self.folder / "reference", self.folder / "reference_store")
        began = time.monotonic()
        counts = copy.run(*self.targets, **self.settings).ok().counts
        seconds = time.monotonic() - began
        self.refer(copy.exported(), copy.pointers(), seconds)
        self.say(f"undisturbed: computed={counts[0]} in {seconds:.0f} s")

    def run(self, kills: int, members: Family) -> Verdict:
        """One logical run with up to so many kills, until it is done; and what is to say of it."""
        number = len(self.verdicts) + 1
        verdict = Verdict(number)
        copy = WorkingCopy(self.folder / f"run_{number}", self.folder / f"store_{number}")
        # every second one with a shell beside each step
        path = f"{self._shells}:{os.environ['PATH']}" if number % 2 else os.environ["PATH"]
        began, last = time.monotonic(), len(self.kills) + kills
        while not verdict.faults:
            verdict.starts += 1
            before = len(self.kills)
            invocation = Invocation(
                copy, members, *self.targets, environment={"PATH": path}, **self.settings
            )
            while invocation.alive and len(self.kills) < last:
                self._kill(number, copy, invocation, members)
            outcome = invocation.outcome(_TIMEOUT)
            if outcome.code == 0:
                break
            if not any(kill.disturbs for kill in self.kills[before:]):
                verdict.faults.append(f"a start that nobody disturbed failed:\n{outcome.text}")
        if not verdict.faults:
            verdict.faults += [f"at once: {fault}" for fault in self._differences(copy)]
            members.wait(_TIMEOUT)
            verdict.faults += self._differences(copy) + _unsound(copy, self.depth)
            following = copy.run(*self.targets, **self.settings)
            if following.code or following.counts != (0, 0):
                verdict.faults.append(f"the following run had something to do:\n{following.text}")
        verdict.seconds = time.monotonic() - began
        verdict.left = _left(copy)
        self.verdicts.append(verdict)
        return verdict

    # ---- one kill

    def _kill(self, number: int, copy: WorkingCopy, run: Invocation, members: Family) -> None:
        """Wait for a random moment, then kill what chance says; nothing if the run ends before."""
        moment, wait = self.random.choice(
            [
                ("delay", self._delay),
                ("delay", self._delay),
                ("log", self._line),
                ("file", self._file),
            ]
        )
        about = wait(copy, run)
        if not run.alive:
            return
        alive = members.members()
        victims = self._victims(alive, about)
        ended = [victim for victim in victims if members.signal(victim, signal.SIGKILL)]
        if not ended:
            return
        # a fork whose worker was killed before is an orphan to look at, and yet a job of the run
        disturbs = [v for v in ended if v.kind == FORK or _within(v, run.process.pid, alive)]
        kind = ended[0].kind if disturbs else f"orphaned {ended[0].kind}"
        steps = tuple(sorted({victim.step for victim in ended if victim.step}))
        kind = "several" if len(ended) > 1 else kind
        self.kills.append(Kill(number, moment, kind, steps, bool(disturbs)))
        self.say(
            f"run {number}, kill {len(self.kills)}: {kind} {' '.join(steps)} "
            f"({moment}; alive were {', '.join(map(str, alive))})"
        )
        if any(victim.pid == run.process.pid for victim in ended):
            run.process.wait()

    def _victims(self, alive: Sequence[Process], about: str) -> list[Process]:
        """One process, by preference the one that the moment is about, or several."""
        chance = self.random.random()
        if not alive:
            return []
        if chance < 0.1:
            return list(alive)
        if chance < 0.25:
            return [p for p in alive if p.kind in (SNAKEMAKE, STEP, FORK)]
        meant = [p for p in alive if p.kind in (STEP, FORK) and about in (p.log, str(p.pid))]
        if meant and chance < 0.6:
            return meant
        return [self.random.choice(list(alive))]

    # ---- moments; each gives the log or the pid of the process that it is about, where it is about one

    def _delay(self, copy: WorkingCopy, run: Invocation) -> str:
        _pause(run, self.random.uniform(0.0, self._span))
        return ""

    def _line(self, copy: WorkingCopy, run: Invocation) -> str:
        """Right after a line of a step's log."""
        lines, before = self.random.randint(1, 12), _logs(copy)
        while run.alive:
            now = _logs(copy)
            for log in sorted(log for log in now if now[log] != before.get(log)):
                lines -= 1
                if lines <= 0:
                    return log
            before = now
            time.sleep(0.001)
        return ""

    def _file(self, copy: WorkingCopy, run: Invocation) -> str:
        """While a file of the store is being written."""
        _pause(run, self.random.uniform(0.0, self._span))
        before = _names(copy.store / "tmp")
        while run.alive:
            for name in _names(copy.store / "tmp") - before:
                _pause(run, self.random.uniform(0.0, 0.003))
                return name.partition("-")[0]
        return ""

    # ---- in the end

    def _differences(self, copy: WorkingCopy) -> list[str]:
        """What is not as in the undisturbed run, hidden files included."""
        faults = []
        for what, wanted, found in (
            ("results", self._results, copy.exported()),
            ("pointers", self._pointers, copy.pointers()),
        ):
            if wanted != found:
                names = {n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n)}
                faults.append(f"other {what}: {sorted(names)}")
        return faults


def _within(process: Process, main: int, alive: Sequence[Process]) -> bool:
    """Whether a process is the one with the pid `main` or below it."""
    parents, pid = {p.pid: p.parent for p in alive}, process.pid
    while pid in parents and pid != main:
        pid = parents[pid]
    return pid == main


def _unsound(copy: WorkingCopy, depth: int | None) -> list[str]:
    """Faults of the store and the pointers, all of which are read and hashed."""
    objects, actions = ObjectStore(copy.store), ActionStore(copy.store)
    faults = []
    for digest in objects.digests():
        try:
            objects.verify(digest)
        except ClipsteerError as error:
            faults.append(str(error))
    for key in list(actions.keys()):
        record = actions.get(key)
        if record is None or not complete(record, objects, depth):
            faults.append(f"record {key} is {'incomplete' if record else 'damaged'}")
    for name, data in copy.pointers().items():
        path = copy.folder / REFS / name
        try:
            read_pointer(path)
        except ClipsteerError as error:
            faults.append(str(error))
        if copy_of(copy.store, copy.folder, path).read_bytes() != data:
            faults.append(f"{name}: its copy in the store differs")
    if away := list((copy.store / "quarantine").iterdir()):
        faults.append(f"in quarantine: {away}")
    for said in (*copy.folder.glob("said-*.txt"), *(copy.folder / "logs").rglob("*.log")):
        text = said.read_text(errors="replace")
        for fault in ("Traceback", "LockException", "IncompleteFilesException", "\0"):
            if fault in text:
                faults.append(f"{fault!r} in {said}:\n{text}")
    if locks := list((copy.folder / ".snakemake/locks").glob("*")):
        faults.append(f"locked: {locks}")
    return faults


def _left(copy: WorkingCopy) -> dict[str, int]:
    """What killed processes have left: hidden and private files, and how many of each kind."""
    return {
        "files in tmp/": sum(p.is_file() for p in (copy.store / "tmp").rglob("*")),
        "attempts in scratch/": len(list((copy.store / "scratch").glob("*/*-*-*/"))),
        "checkpoints in scratch/": len(list((copy.store / "scratch").glob("*/*.checkpoint-*"))),
        "hidden files beside pointers and results": sum(
            p.name.startswith(".")
            for place in (copy.folder / REFS, copy.folder / "results", copy.store / "roots")
            for p in place.rglob("*.tmp")
        ),
    }


def _pause(run: Invocation, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while run.alive and time.monotonic() < limit:
        time.sleep(min(0.01, seconds))


def _logs(copy: WorkingCopy) -> dict[str, int]:
    """Size of each log by its name as the steps are told it."""
    found = {}
    for path in (copy.folder / "logs").rglob("*.log"):
        try:
            found[path.relative_to(copy.folder).as_posix()] = path.stat().st_size
        except OSError:
            continue
    return found


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
