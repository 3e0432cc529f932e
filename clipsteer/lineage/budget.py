"""What a forecast run would take of a cluster: by rule, from the expectations of its jobs (resources.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from clipsteer.lineage.foreseen import Forecast, PlannedJob


@dataclass
class Share:
    """The jobs of one rule, or of all.

    Sums, but for memory: `memory_mb` is the largest job's, and `requested_mb` what a cluster is
    asked for then. Jobs whose size nobody knows count in `jobs`, `pending`, `requested_mb` and
    `unknown_` alone.
    """

    jobs: int = 0
    pending: int = 0  # of these, jobs that may turn out to be restored
    cpu_seconds: float = 0.0  # of jobs without a GPU
    gpu_seconds: float = 0.0
    memory_mb: float = 0.0
    requested_mb: float = 0.0
    disk_mb: float = 0.0
    unknown_cpu: int = 0  # jobs without a GPU
    unknown_gpu: int = 0
    notes: dict[str, None] = field(default_factory=dict)  # what was assumed, each sentence once

    @property
    def unknown(self) -> int:
        """Jobs whose size nobody knows."""
        return self.unknown_cpu + self.unknown_gpu

    def add(self, other: Share) -> None:
        self.jobs += other.jobs
        self.pending += other.pending
        self.cpu_seconds += other.cpu_seconds
        self.gpu_seconds += other.gpu_seconds
        self.memory_mb = max(self.memory_mb, other.memory_mb)
        self.requested_mb = max(self.requested_mb, other.requested_mb)
        self.disk_mb += other.disk_mb
        self.unknown_cpu += other.unknown_cpu
        self.unknown_gpu += other.unknown_gpu
        self.notes |= other.notes


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
    share = Share(
        jobs=1,
        pending="computed" not in verdicts,
        requested_mb=expected["requested_mb"],
        notes=dict.fromkeys(expected["notes"]),
    )
    if not expected["known"]:
        share.unknown_cpu, share.unknown_gpu = not expected["gpu"], expected["gpu"]
        return share
    seconds = float(expected["seconds"])
    share.cpu_seconds, share.gpu_seconds = (0.0, seconds) if expected["gpu"] else (seconds, 0.0)
    share.memory_mb, share.disk_mb = expected["memory_mb"], expected["disk_mb"]
    return share
