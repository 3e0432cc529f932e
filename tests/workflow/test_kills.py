"""A few kills at random of experiments/kills.py, on the light steps of the workflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflow.kills import Harness
from tests.workflow.processes import LINUX, family
from tests.workflow.runs import REFS, WorkingCopy

KILLS = 4
LIGHT = ("world.json", "manifest.json", "shards.json")


@pytest.mark.skipif(not LINUX, reason="finds processes through /proc")
def test_kills_at_random_change_nothing(finished: WorkingCopy, tmp_path: Path) -> None:
    pointers = {n: data for n, data in finished.pointers().items() if n.endswith(LIGHT)}
    # nothing lists the shards of what only the CLIP learns from
    ends = ("manifest.json", "shards.json")
    targets = [str(REFS / name) for name in pointers if name.endswith(ends)]
    said: list[str] = []
    harness = Harness(tmp_path / "kills", targets, {}, seed=3, say=said.append)
    harness.refer({}, pointers, seconds=12.0)
    with family() as members:
        verdict = harness.run(KILLS, members)
    assert verdict.faults == [], "\n".join([*said, *verdict.faults])
    assert harness.kills, "nothing was killed"
    assert verdict.starts > 1 or not any(kill.disturbs for kill in harness.kills)
