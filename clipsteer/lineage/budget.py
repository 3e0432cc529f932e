"""What a forecast run would take of a cluster: by rule, from the expectations of its jobs (resources.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clipsteer.lineage.foreseen import Forecast, PlannedJob


@dataclass
class Share:
    """The jobs of one rule, or of all. Sums, but for memory: `memory_mb` is the largest job's, and
    `requested_mb` what a cluster is asked for then."""

    jobs: int = 0
    pending: int = 0  # of these, jobs that may turn out to be restored
    cpu_seconds: float = 0.0  # of jobs without a GPU
    gpu_seconds: float = 0.0
    memory_mb: float = 0.0
    requested_mb: float = 0.0
    disk_mb: float = 0.0

    def add(self, other: Share) -> None:
        self.jobs += other.jobs
        self.pending += other.pending
        self.cpu_seconds += other.cpu_seconds
        self.gpu_seconds += other.gpu_seconds
        self.memory_mb = max(self.memory_mb, other.memory_mb)
        self.requested_mb = max(self.requested_mb, other.requested_mb)
        self.disk_mb += other.disk_mb


def budget(found: Forecast) -> dict[str, Share]:
    """By rule, in the order of the DAG, what the jobs would take that compute, or may have to.

    Jobs that only restore take nothing to speak of. A job counts in full also where some of its
    actions are on record.
    """
    shares: dict[str, Share] = {}
    for planned in found.jobs:
        if planned.job.expected and (share := _share(planned)):
            shares.setdefault(planned.job.rule, Share()).add(share)
    return shares


def total(shares: Iterable[Share]) -> Share:
    """All of them together."""
    found = Share()
    for share in shares:
        found.add(share)
    return found


def _share(planned: PlannedJob) -> Share | None:
    """One job's; None where it computes nothing."""
    verdicts = {action.verdict for action in planned.actions}
    if not verdicts & {"computed", "pending"}:
        return None
    expected = planned.job.expected
    seconds = float(expected["seconds"])
    return Share(
        jobs=1,
        pending="computed" not in verdicts,
        cpu_seconds=0.0 if expected["gpu"] else seconds,
        gpu_seconds=seconds if expected["gpu"] else 0.0,
        memory_mb=expected["memory_mb"],
        requested_mb=expected["requested_mb"],
        disk_mb=expected["disk_mb"],
    )
