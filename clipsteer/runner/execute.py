"""Performs actions: restores what is recorded, computes what is not, remakes what was lost.

An action whose record is here is *restored*, whether its objects are here or not: a pointer promises
nothing about objects. Where an action that is really computed needs an object that is missing or
damaged, the action that made it is executed again from its record, recursively, and must give the
same digests (docs/store-protocol.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.runner.checkpoints import Checkpoints, StopSignals
from clipsteer.runner.code import StepCode
from clipsteer.runner.fingerprint import Code, explain
from clipsteer.runner.known import Found, Known
from clipsteer.runner.progress import Log
from clipsteer.runner.run import Action, Job, Run, Runtime
from clipsteer.store.actions import ActionStore, Record, complete
from clipsteer.store.attempts import action_folder, attempt
from clipsteer.store.locks import advisory_lock
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore

Compute = Callable[[Run], None]

# How often one action may lose an input in the middle, to damage or to somebody who drops it.
_PATIENCE = 5


@dataclass
class Counts:
    """Actions of a job: really computed (also those remade for lost outputs), taken from the store."""

    computed: int = 0
    restored: int = 0


class Executor:
    """Performs the actions of one job, in its working copy and store."""

    def __init__(
        self,
        objects: ObjectStore,
        runtime: Runtime,
        project: Path,
        log: Log,
        stops: StopSignals | None = None,
        before_computing: Callable[[], None] = lambda: None,
    ) -> None:
        """`before_computing` is called whenever an action turns out not to be on record."""
        self.objects, self.runtime, self.project, self.log = objects, runtime, project, log
        self.stops = stops or StopSignals()
        self.before_computing = before_computing
        self.actions = ActionStore(objects.root)
        self.counts = Counts()
        self.known = Known(objects, self.actions, project)
        self.lost = self.known.lost
        self._above: list[str] = []  # keys of the actions being remade, each for the one before

    def know(self, job: Job) -> None:
        """Learn from the job's pointers which of its inputs are trees."""
        self.lost.know(job.inputs.values())

    def perform(
        self, step: StepCode, planned: str, action: Action, label: str, compute: Compute
    ) -> Record:
        """The record of an action, from the store or by computing it now.

        `planned` is the fingerprint that the run was planned with. Raises ClipsteerError where the
        computation does, where its code has changed, and where a lost input cannot be remade.
        """
        found = self.known.look_up(step, planned, action)
        record, key = found.record, found.key
        # gc spares what was used lately
        if record is not None and self.actions.touch(record["key"]):
            self.counts.restored += 1
            return self._narrowed(found, action, label) if found.narrowed else record
        self.before_computing()
        run = self._run(
            action, key, label, compute, self.runtime, lambda: step.check(planned, "while it ran")
        )
        code = step.check(planned, "while it ran")
        published = self.actions.publish(key, self._record(step, planned, action, run, code))
        self._finished(key, "computed", label)
        if published["outputs"] != run.output_values():
            raise self._not_equal(published, run, "another attempt at it found")
        return published

    def _narrowed(self, found: Found, action: Action, label: str) -> Record:
        """The record of an action whose result lies within a wider one's, published now."""
        wider, narrowed = found.record, found.narrowed
        assert wider is not None
        assert narrowed is not None
        self.objects.put_many(narrowed.trees)
        self.log.line(f"{label}: lies within {wider['key']}, which is on record")
        # what was computed was so when and where the wider result was
        run = {**wider["run"], "label": label, "name": self.runtime.name, "within": wider["key"]}
        record = {**wider, "recipe": dict(action.recipe), "outputs": dict(narrowed.outputs)}
        return self.actions.publish(found.key, {**record, "run": run})

    # ---- objects that were lost

    def provide(self, digests: Iterable[str]) -> bool:
        """Remake whatever of these objects is not whole; whether anything was.

        What another process is remaking comes last, so that several of them share the work.
        """
        lost = [digest for digest in dict.fromkeys(digests) if not self.lost.whole(digest)]
        for digest in [digest for digest in lost if not self.remake(digest, wait=False)]:
            self.remake(digest)
        return bool(lost)

    def remake(self, digest: str, *, wait: bool = True) -> bool:
        """Execute the action that made an object again, unless somebody else has just done so.

        Without `wait`, False where somebody else is doing so now. Raises ClipsteerError where no
        record names the object or where its action gives other bytes now.
        """
        record = self.lost.maker(digest, self._above)
        lock = action_folder(self.objects.root, record["key"]).with_suffix(".lock")
        with advisory_lock(lock, wait=wait) as mine:
            if mine and not (
                self.lost.whole(digest) and complete(record, self.objects, depth=None)
            ):
                self._remake(record)
        return mine

    def _remake(self, record: Record) -> None:
        step = StepCode.of_record(record, self.project)
        told = record["run"]
        action = Action.of(record)
        label = told.get("label", record["step"])
        runtime = self.runtime.like(told)
        self.log.line(f"{label}: some of its results are not in the store; executing it again")
        planned = record["code"]
        same = step.inspect().fingerprint == planned
        check = (lambda: step.check(planned, "while it ran")) if same else None
        self._above.append(record["key"])
        try:
            run = self._run(action, record["key"], label, step.load(), runtime, check)
        except ModuleNotFoundError as error:
            raise ClipsteerError(
                f"{label}: some of its results are lost, and this job's environment lacks {error.name} to "
                "make them again; expected one with all packages of pyproject.toml. Run the same "
                "command without --sdm conda."
            ) from error
        finally:
            self._above.pop()
        if record["outputs"] != run.output_values():
            # what led there is not to be resumed from
            Checkpoints(action_folder(self.objects.root, record["key"]), 0).clear()
            raise self._not_equal(record, run, "its record says")
        self._finished(record["key"], "remade", label)

    # ---- one computation

    def _run(
        self,
        action: Action,
        key: str,
        label: str,
        compute: Compute,
        runtime: Runtime,
        check: Callable[[], object] | None,
    ) -> Run:
        """Compute an action, remaking lost inputs as often as it takes.

        `check` raises where the code is no longer the action's; without it the action's progress is
        neither read nor left for others.
        """
        self.provide(action.needs)
        for patience in range(_PATIENCE, -1, -1):
            with attempt(self.objects.root, key) as scratch:
                progress = Checkpoints(
                    action_folder(self.objects.root, key) if check else scratch,
                    runtime.checkpoint_steps,
                    self.stops,
                    lambda text: self.log.line(f"{label}: {text}"),
                    check,
                )
                run = Run(action, self.objects, runtime, scratch, self.log, label, progress)
                try:
                    compute(run)
                    return run.finished()
                except (MissingObjectError, DamagedObjectError) as error:
                    if not patience:
                        raise
                    how = "damaged" if isinstance(error, DamagedObjectError) else "missing"
                    self.log.line(f"{label}: found object {error.digest} {how}; making it again")
                    needs = action.needs
                    if not self.provide(needs) and not self.provide(self.lost.hidden(needs)):
                        self.remake(error.digest)
                except ClipsteerError as error:
                    error.args = (run.for_people(str(error)), *error.args[1:])
                    raise
        raise AssertionError("the last try raises or returns")

    def _finished(self, key: str, how: str, label: str) -> None:
        Checkpoints(action_folder(self.objects.root, key), 0).clear()
        self.counts.computed += 1
        self.log.detail(f"{how} {label} {key}")

    def _record(self, step: StepCode, planned: str, action: Action, run: Run, code: Code) -> Record:
        return {
            "step": step.name,
            "script": step.script.relative_to(step.project).as_posix(),
            "modules": list(step.modules),
            "recipe": dict(action.recipe),
            "code": planned,
            "inputs": dict(action.inputs),
            "outputs": run.output_values(),
            "facts": run.facts,
            "run": {**run.circumstances(), "code": code.material()},
        }

    def _not_equal(self, record: Record, run: Run, expected: str) -> ClipsteerError:
        """Why an action gave other bytes than its record has."""
        names = [
            name
            for name, output in record["outputs"].items()
            if run.output_values().get(name) != output
        ]
        changes = explain(record["run"].get("code", {}), self.lost.code(record).material())
        why = (
            "its code has changed since: " + "; ".join(changes[:5])
            if changes
            else "with the same code, so the step is not deterministic on this machine"
        )
        # what lies within a wider result would only be taken from that again
        what = f"--step {record['step']}" if "within" in record["run"] else record["key"]
        return ClipsteerError(
            f"action {record['key']} ({run.label}): executing it gave other bytes for "
            f"{', '.join(names)} than {expected} ({why}). To take the new result, forget the old "
            f"one (python -m clipsteer store rm {what}), delete artifacts/refs (pointers are "
            "restored from the store), then run the same command again."
        )
