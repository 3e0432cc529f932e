"""What a run would really do: the jobs of a DAG, simulated from their command lines and the store's records.

Nothing is computed, written, mended or brought back. The same `plan` of a step that its job would call
names the actions, and the same question is put to the store (runner/known.py). Results that are not
known before an action has been computed have stand-ins (guess.py). An action that depends on one is
*pending* where some record agrees with all that is known of it (it is restored if the results come out
as that record says: early cutoff), and *computed* where none does. That two actions of one run get the
same key only by what others turn out to give is not foreseen.
"""

from __future__ import annotations

import json
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from clipsteer.errors import ClipsteerError
from clipsteer.lineage.foreseen import DagJob, Forecast, PlannedAction, PlannedJob, Remade
from clipsteer.lineage.guess import (
    MORE,
    UndecidedError,
    decided_by,
    is_more,
    is_pending,
    union,
    unknown_member,
    unknown_pointer,
    widened,
)
from clipsteer.lineage.history import History
from clipsteer.lineage.reasons import Reason, explain_change
from clipsteer.runner.code import StepCode, loaded
from clipsteer.runner.jobs import input_paths, pairs, parser, raw_inputs, runtime_of
from clipsteer.runner.known import Known
from clipsteer.runner.run import Action, Job
from clipsteer.store.actions import Record
from clipsteer.store.peek import PeekActions, PeekObjects
from clipsteer.store.pointers import Member, Pointer
from clipsteer.store.roots import former_pointer, peek_pointer

# The most jobs that one list of unknown length is looked at as cut into.
_MOST_PARTS = 4096


def forecast(jobs: Sequence[DagJob], working_copy: Path) -> Forecast:
    """What would become of the jobs of a DAG, given in an order in which they could run.

    Paths are as in a run: relative to the current folder, which is the working copy. Raises
    ClipsteerError for a store of another format and for a script that is not there.
    """
    steps = [_Step.of(job, job.command) for job in jobs if job.command]
    if not steps:
        return Forecast()
    walk = _Walk(steps[0].arguments.store, steps[0].code.project, working_copy)
    for step in steps:
        walk.visit(step)
    walk.remake()
    return walk.found


def project_of(jobs: Sequence[DagJob]) -> Path | None:
    """The checkout that the jobs' scripts belong to; None where no job has one."""
    return next((_Step.of(job, job.command).code.project for job in jobs if job.command), None)


def store_of(jobs: Sequence[DagJob]) -> Path:
    """The store that the jobs' command lines name; the default one where no job has a command."""
    stores = (_Step.of(job, job.command).arguments.store for job in jobs if job.command)
    return Path(next(stores, _parser().get_default("store")))


@cache
def _parser() -> ArgumentParser:
    return parser(None)


class _Step(NamedTuple):
    """A job of the DAG, and what its command line says."""

    job: DagJob
    code: StepCode
    planned: str
    config: Mapping[str, Any]
    arguments: Namespace

    @classmethod
    def of(cls, job: DagJob, command: str) -> _Step:
        words = shlex.split(command)
        place = next(i for i, word in enumerate(words) if word.endswith(".py"))
        arguments = _parser().parse_args(words[place + 1 :])
        recipe = json.loads(arguments.recipe)
        code = StepCode(recipe["step"], Path(words[place]).resolve(), tuple(recipe["modules"]))
        return cls(job, code, recipe["code"], recipe["config"], arguments)

    @property
    def name(self) -> str:
        return str(self.arguments.name)


class _Need(NamedTuple):
    """An object that is read where an action (or the job that exports it) is not just restored."""

    digest: str
    by: str
    certain: bool


class _Walk:
    """The state of one simulation."""

    def __init__(self, store: Path, project: Path, working_copy: Path) -> None:
        self.store, self.working_copy = store, working_copy
        self.known = Known(PeekObjects(store), PeekActions(store), project)
        self.lost = self.known.lost
        self.found = Forecast()
        self.pointers: dict[Path, Pointer] = {}
        self.first: dict[str, str] = {}  # id of an action that is not on record -> title of its job
        self.materials: dict[StepCode, Mapping[str, Any]] = {}
        self.needs: list[_Need] = []
        self.here: set[str] = set()  # objects that are whole, or will have been remade

    @cached_property
    def history(self) -> History:
        """Read only where something is not simply on record."""
        return History(self.lost.index)

    # ---- jobs

    def visit(self, step: _Step) -> None:
        """Simulate one job."""
        path = step.arguments.pointer
        before = pointer = peek_pointer(self.store, self.working_copy, path)
        if step.job.runs:
            before = before or former_pointer(self.store, self.working_copy, path)
            planned, pointer = self._run(step, before)
        else:
            planned = PlannedJob(step.job, self._fresh(step, pointer) if pointer else [])
        members = {action.member for action in planned.actions}
        if before and not any(action.more for action in planned.actions):
            had = {name for name, member in before.members.items() if member.outputs}
            planned.gone = sorted(had - members)
        self.found.jobs.append(planned)
        if pointer:  # else whoever reads it will miss it
            self._written(step, path, pointer)

    def _written(self, step: _Step, path: Path, pointer: Pointer) -> None:
        """What a job has written, or would write."""
        self.pointers[path] = pointer
        self.lost.know([pointer])
        for member in pointer.members.values():
            for output in member.outputs.values():
                self.found.origins.setdefault(output.digest, step.job.title)

    def _run(self, step: _Step, before: Pointer | None) -> tuple[PlannedJob, Pointer]:
        """A job that Snakemake runs, and its pointer as far as it is known."""
        inputs = {
            name: union(self._input(Path(path)) for path in paths)
            for name, paths in input_paths(step.arguments).items()
        } | raw_inputs(step.arguments)
        try:
            actions = sorted(_plan(step, inputs).items())
        except UndecidedError:
            self.found.origins[step.job.title] = step.job.title
            waits = tuple(sorted(_stand_ins(inputs)))
            unknown = PlannedAction(step.code.name, step.name, MORE, "pending", None, waits)
            return PlannedJob(step.job, [unknown]), unknown_pointer(step.code.name, step.job.title)
        planned, members = PlannedJob(step.job, []), dict[str, Member]()
        for name, action in actions:
            like = before.members.get(name) if before else None
            done, members[name] = self._action(step, name, action, like)
            planned.actions.append(done)
        for target in pairs(step.arguments.export, "--export"):
            member, _, output = target.rpartition("/")
            self._need(members[member].outputs[output].digest, step.job.title, True)
        return planned, Pointer(step.code.name, members)

    def _input(self, path: Path) -> Pointer:
        """A pointer that a job reads: as an earlier job would write it, or as it is."""
        found = self.pointers.get(path) or peek_pointer(self.store, self.working_copy, path)
        if found is None:
            self.found.faults.append(
                f"{path}: found no sound pointer and no copy of it, expected one that no job of "
                "this run writes. The run will stop there and put it away; the same command, once "
                "more, restores it."
            )
            found = unknown_pointer("", str(path))
        return found

    # ---- actions

    def _fresh(self, step: _Step, pointer: Pointer) -> list[PlannedAction]:
        """The actions of a job that does not run; a marker of an effect has no outputs."""
        return [
            PlannedAction(step.code.name, step.name, name, "fresh")
            for name, member in sorted(pointer.members.items())
            if member.outputs
        ]

    def _action(
        self, step: _Step, name: str, action: Action, like: Member | None
    ) -> tuple[PlannedAction, Member]:
        """One action of a job that runs; `like` is the member of that name as it is now."""
        waits = tuple(sorted({decided_by(d) for d in action.inputs.values() if is_pending(d)}))
        # with a stand-in among the inputs no key is on record
        known = self.known.look_up(step.code, step.planned, action)
        key, member = known.key, known.member()
        before: Record | None = None
        reasons: list[Reason] = []
        if member is None or not step.job.reason.get("missing"):
            before, reasons = self._before(step, name, action, like)
        planned = PlannedAction(
            step.code.name,
            step.name,
            name,
            "restored" if member else "computed",
            None if waits else key,
            waits,
            before["key"] if before else None,
            tuple(reasons),
            before.get("run", {}).get("seconds") if before else None,
        )
        if member:
            return planned, member
        if key in self.first and not planned.more:  # stand-ins have one key for several actions
            planned = planned.shared(key, self.first[key] == step.job.title)
        elif waits and self.history.fits(step.code.name, action, step.planned):
            planned = planned.undecided()
        self.first.setdefault(key, step.job.title)
        self.found.origins[key] = step.job.title
        for digest in action.needs:
            self._need(digest, step.job.title, planned.verdict == "computed")
        if before:
            like = Member.of(before["outputs"], before["facts"])
        return planned, unknown_member(key, like)

    def _before(
        self, step: _Step, name: str, action: Action, like: Member | None
    ) -> tuple[Record | None, list[Reason]]:
        if step.code not in self.materials:
            self.materials[step.code] = step.code.inspect().material()
        material = self.materials[step.code]

        def explain(record: Record) -> list[Reason]:
            reasons = explain_change(
                record, action.recipe, material, action.inputs, new_fingerprint=step.planned
            )
            return [reason for reason in reasons if not is_more(reason.name)]

        return self.history.before(step.code.name, step.name, step.code.label(name), like, explain)

    # ---- objects that were lost

    def _need(self, digest: str, by: str, certain: bool) -> None:
        if not is_pending(digest):
            self.needs.append(_Need(digest, by, certain))

    def remake(self) -> None:
        """Find what would have to be executed again for the objects that are needed."""
        for need in sorted(self.needs, key=lambda need: not need.certain):
            self._provide(need, ())

    def _provide(self, need: _Need, above: tuple[str, ...]) -> None:
        """As runner/execute.py: an object that is not whole, after all that its action needs."""
        if need.digest in self.here:
            return
        self.here.add(need.digest)
        if self.lost.whole(need.digest):
            return
        try:
            record = self.lost.maker(need.digest, above)
            changed = self.lost.code(record).fingerprint != record["code"]
        except ClipsteerError as error:
            self.found.faults.append(str(error))
            return
        self.here |= {output["digest"] for output in record["outputs"].values()}
        remade = Remade(dict(record), need.by, need.certain, changed)
        for digest in Action.of(record).needs:
            self._provide(_Need(digest, remade.label, need.certain), (*above, record["key"]))
        self.found.remade.append(remade)


def _plan(step: _Step, inputs: Mapping[str, Pointer]) -> Mapping[str, Action]:
    """The actions of a job, by its step's own `plan`.

    A job may take its share of a list, each so many, whose length is not known yet. One whose turn
    comes after all that is known has one action, `MORE`, for those that it may get.
    """
    plan, runtime = loaded(step.code.script).plan, runtime_of(step.arguments)
    actions: Mapping[str, Action] = plan(Job(step.config, inputs, runtime))
    more = 1
    while not actions and more < _MOST_PARTS and _stand_ins(inputs):
        more *= 2
        wide = {name: widened(pointer, more) for name, pointer in inputs.items()}
        for name, action in plan(Job(step.config, wide, runtime)).items():
            return {f"{name.rpartition('/')[0]}/{MORE}".lstrip("/"): action}
    return actions


def _stand_ins(inputs: Mapping[str, Pointer]) -> set[str]:
    """What decides the inputs of a job that are not known."""
    return {
        decided_by(output.digest)
        for pointer in inputs.values()
        for member in pointer.members.values()
        for output in member.outputs.values()
        if is_pending(output.digest)
    }
