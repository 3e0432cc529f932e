"""With accounting, and the profile as it is: the plugin asks sacct, as seldom as on a real cluster."""

from __future__ import annotations

from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.runs import PROFILE, SMALL, ask, on_slurm
from tests.workflow.runs import WorkingCopy

pytestmark = on_slurm


def test_a_run_that_asks_sacct(accounted: Cluster, tmp_path: Path) -> None:
    copy = WorkingCopy(tmp_path / "copy", tmp_path / "store")
    target = "artifacts/refs/celeba/activations/train/shards.json"
    outcome = copy.run(target, config=SMALL, options=PROFILE).ok()
    assert outcome.counts == (3, 0)
    states = ask("sacct", "--allocations", "--noheader", "--format=State").split()
    assert states == ["COMPLETED"]  # one group
