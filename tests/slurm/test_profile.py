"""The profile on a real Slurm: the bytes of a local run, and nothing left to do for the next one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from clipsteer.slurm import jobs_here
from tests.slurm.cluster import Cluster
from tests.slurm.runs import ASKED, SMALL, environment, jobs, on_slurm, start
from tests.workflow.processes import Family
from tests.workflow.runs import TINY, WorkingCopy

pytestmark = on_slurm
TABLE = "results/celeba_table.csv"
TINY_ONE = {"config": SMALL, "overlays": [TINY]}
WHOLE = pytest.param(
    {"config": {}, "overlays": []},
    id="default",
    marks=pytest.mark.skipif(ASKED != "default", reason="make test-slurm-default takes its time"),
)
LIMIT = 3600.0  # seconds for a run


@pytest.mark.parametrize("settings", [pytest.param(TINY_ONE, id="tiny"), WHOLE])
def test_the_same_bytes_as_a_local_run(
    settings: dict[str, Any],
    slurm: Cluster,
    ours: Family,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = WorkingCopy(tmp_path / "there", tmp_path / "store")
    monkeypatch.setenv("OMP_NUM_THREADS", "13")  # somebody's .bashrc
    began = time.monotonic()
    run = start(there, ours, TABLE, **settings)
    seen: dict[str, dict[str, str]] = {}
    while run.alive and time.monotonic() < began + LIMIT:
        for step in ours.steps():
            seen.setdefault(step.step, {}).update(environment(step))
        time.sleep(0.2)
    outcome = run.outcome(1).ok()
    submitted = time.monotonic() - began
    here = WorkingCopy(tmp_path / "here", tmp_path / "another")
    local = here.run(TABLE, **settings).ok()
    print(f"on Slurm {submitted:.0f} s, here {time.monotonic() - began - submitted:.0f} s")
    assert outcome.counts == local.counts
    assert there.pointers() == here.pointers()
    assert there.results() == here.results()
    for name in here.results():
        there_bytes = (there.folder / "results" / name).read_bytes()
        assert there_bytes == (here.folder / "results" / name).read_bytes(), name
    # a job that asked for a GPU has its number, and as many threads as it asked for CPUs
    assert seen["extract_activations"]["CUDA_VISIBLE_DEVICES"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in seen["pretrain_clip"]
    for step, threads in (("extract_activations", "1"), ("pretrain_clip", "2")):
        assert seen[step]["OMP_NUM_THREADS"] == threads
        assert seen[step]["SLURM_CPUS_PER_TASK"] == threads
    # every node wrote under the one name of the working copy
    assert len(list((there.store / "roots").iterdir())) == 1
    assert jobs() == jobs_here(there.folder) == []
    again = there.run(TABLE, **settings).ok()
    assert again.idle
    assert again.counts == (0, 0)
