"""The profile on a real Slurm: the bytes of a local run, and nothing left to do for the next one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from clipsteer.slurm import jobs_here
from tests.slurm.cluster import Cluster
from tests.slurm.runs import SMALL, environment, jobs, on_slurm, start
from tests.workflow.processes import Family
from tests.workflow.runs import WorkingCopy

pytestmark = on_slurm
TABLE = "results/celeba_table.csv"


def test_the_same_bytes_as_a_local_run(
    slurm: Cluster, ours: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = WorkingCopy(tmp_path / "there", tmp_path / "store")
    monkeypatch.setenv("OMP_NUM_THREADS", "13")  # somebody's .bashrc
    run = start(there, ours, TABLE, config=SMALL)
    seen: dict[str, dict[str, str]] = {}
    while run.alive:
        for step in ours.steps():
            seen.setdefault(step.step, {}).update(environment(step))
        time.sleep(0.2)
    outcome = run.outcome().ok()
    here = WorkingCopy(tmp_path / "here", tmp_path / "another")
    local = here.run(TABLE, config=SMALL).ok()
    assert outcome.counts == local.counts
    assert there.pointers() == here.pointers()
    assert there.results() == here.results()
    for name in here.results():
        there_bytes = (there.folder / "results" / name).read_bytes()
        assert there_bytes == (here.folder / "results" / name).read_bytes(), name
    # a job that asked for a GPU has its number, and as many threads as it asked for CPUs
    assert seen["extract_activations"]["CUDA_VISIBLE_DEVICES"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in seen["pretrain_clip"]
    assert seen["extract_activations"]["OMP_NUM_THREADS"] == "1"
    assert seen["pretrain_clip"]["OMP_NUM_THREADS"] == "2"
    # every node wrote under the one name of the working copy
    assert len(list((there.store / "roots").iterdir())) == 1
    assert jobs() == jobs_here(there.folder) == []
    again = there.run(TABLE, config=SMALL).ok()
    assert again.idle
    assert again.counts == (0, 0)
