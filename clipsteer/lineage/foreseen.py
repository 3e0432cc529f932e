"""What a forecast says: the jobs of a run, their actions and what becomes of each (forecast.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from clipsteer.lineage.graph import Node
from clipsteer.lineage.guess import is_more, is_pending
from clipsteer.lineage.reasons import Reason
from clipsteer.store.actions import Record

FORMAT = "clipsteer-plan/1"
Verdict = Literal["fresh", "restored", "computed", "pending"]


@dataclass(frozen=True)
class DagJob:
    """A job as Snakemake's dry run describes it; `runs`: whether Snakemake would run its command.

    `expected`: what it would take if it had to compute everything (resources.py).
    """

    rule: str
    wildcards: Mapping[str, str]
    command: str | None
    runs: bool
    reason: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is called among the jobs of a DAG."""
        return " ".join(filter(None, [self.rule, *self.wildcards.values()]))


@dataclass(frozen=True)
class PlannedAction:
    """One action of a job and what becomes of it.

    `key`: None where it is not known yet, or not needed (fresh). `waits`: what decides it: keys of
    actions, or titles of jobs, that have to be computed first. `before`: the key of the action that
    it follows upon, `reasons`: how it differs from that (inputs may be stand-ins), `seconds`: how
    long that took; None where nothing says so.
    """

    step: str
    name: str
    member: str
    verdict: Verdict
    key: str | None = None
    waits: tuple[str, ...] = ()
    before: str | None = None
    reasons: tuple[Reason, ...] = ()
    seconds: float | None = None

    @property
    def more(self) -> bool:
        """Whether it stands for actions whose number is not known yet."""
        return is_more(self.member)

    def undecided(self) -> Self:
        """The same, restored or computed as what it waits for comes out."""
        return replace(self, verdict="pending")

    def shared(self, key: str, same_job: bool) -> Self:
        """The same where another action of the run has its key and is not on record.

        One job's actions follow upon each other, jobs may run at the same time.
        """
        if same_job and self.key:
            return replace(self, verdict="restored")
        return replace(self, verdict="pending", waits=(*self.waits, key))


@dataclass
class PlannedJob:
    """A job with its actions; `gone`: members of its pointer now that it will not have."""

    job: DagJob
    actions: list[PlannedAction]
    gone: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Remade:
    """A recorded action that is executed again because objects are lost that it made.

    `needed`: by whom; not `certain`: only if that has to be computed. `changed`: its code is not
    as it was, so that it may give other bytes, which would stop the run.
    """

    record: Record
    needed: str
    certain: bool
    changed: bool

    @property
    def label(self) -> str:
        return Node(self.record, {}).label

    @property
    def seconds(self) -> float:
        return float(self.record.get("run", {}).get("seconds", 0.0))

    def as_json(self) -> dict[str, Any]:
        return {
            "certain": self.certain,
            "changed": self.changed,
            "key": self.record["key"],
            "label": self.label,
            "needed": self.needed,
            "seconds": self.seconds,
        }


@dataclass
class Forecast:
    """What a run would do.

    `origins`: the title of the job that gives a digest (or, of what is not known yet, that decides
    a key). `faults`: what would stop the run.
    """

    jobs: list[PlannedJob] = field(default_factory=list)
    remade: list[Remade] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)

    def actions(self, verdict: Verdict) -> list[PlannedAction]:
        """The actions that this becomes of, without those that stand for an unknown number."""
        return [a for a in self._all() if a.verdict == verdict and not a.more]

    @property
    def more(self) -> bool:
        """Whether there may be more actions than are known now."""
        return any(action.more for action in self._all())

    def counts(self) -> dict[str, tuple[int, int]]:
        """At least and at most how many actions become computed, restored, remade and are fresh."""
        computed, restored = len(self.actions("computed")), len(self.actions("restored"))
        pending, fresh = len(self.actions("pending")), len(self.actions("fresh"))
        return {
            "computed": (computed, computed + pending),
            "restored": (restored, restored + pending),
            "remade": (sum(r.certain for r in self.remade), len(self.remade)),
            "fresh": (fresh, fresh),
        }

    def untimed(self) -> list[PlannedJob]:
        """The jobs with an action that may be computed and has no precedent on record."""
        return [
            job
            for job in self.jobs
            if any(a.verdict in ("computed", "pending") and a.seconds is None for a in job.actions)
        ]

    def seconds(self) -> tuple[float, float]:
        """At least and at most how long the same took before, but for what is `untimed`."""
        sure = sum(a.seconds or 0.0 for a in self.actions("computed"))
        sure += sum(r.seconds for r in self.remade if r.certain)
        perhaps = sum(a.seconds or 0.0 for a in self.actions("pending"))
        return sure, sure + perhaps + sum(r.seconds for r in self.remade if not r.certain)

    def origin(self, reason: Reason) -> str | None:
        """The title of the job that gives the new value of a changed input."""
        of_a_job = reason.kind == "input" and isinstance(reason.new, str)
        return self.origins.get(reason.new) if of_a_job else None

    def as_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return {
            "counts": {verdict: list(numbers) for verdict, numbers in self.counts().items()},
            "faults": self.faults,
            "format": FORMAT,
            "jobs": [
                {
                    "actions": [self._action(action) for action in planned.actions],
                    "command": planned.job.command,
                    "expected": dict(planned.job.expected),
                    "gone": planned.gone,
                    "reason": dict(planned.job.reason),
                    "rule": planned.job.rule,
                    "runs": planned.job.runs,
                    "wildcards": dict(planned.job.wildcards),
                }
                for planned in self.jobs
            ],
            "more": self.more,
            "remade": [remade.as_json() for remade in self.remade],
            "seconds": [self.seconds()[0], None if self.untimed() else self.seconds()[1]],
        }

    def _action(self, action: PlannedAction) -> dict[str, Any]:
        return {
            "before": action.before,
            "key": action.key,
            "member": action.member,
            "more": action.more,
            "name": action.name,
            "reasons": [
                {
                    **reason.as_json(),
                    "new": None if is_pending(reason.new) else reason.new,
                    "of": self.origin(reason),
                }
                for reason in action.reasons
            ],
            "seconds": action.seconds,
            "step": action.step,
            "verdict": action.verdict,
            "waits": list(dict.fromkeys(self.origins.get(key, key) for key in action.waits)),
        }

    def _all(self) -> Iterator[PlannedAction]:
        return (action for job in self.jobs for action in job.actions)
