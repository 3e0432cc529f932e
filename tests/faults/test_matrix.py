"""The fault matrix: after a change, every step of the chain fails in every way, twice; then it is mended.

`make test-faults` tries it wholly, `.ci/run` a tenth of it; docs/crash-safety.md says what it covers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.causes import EFFORT, RELEASED, USERS, WHOLLY, Cause, ordered
from tests.faults.injected import KINDS
from tests.faults.scene import BESIDE, STEPS, Cell, Change
from tests.workflow.runs import merged, nested

pytestmark = pytest.mark.skipif(not EFFORT, reason="make test-faults")
IMPORT, DROP = "import_clip", "drop_activations"
# No pointer is read by these: painters have nothing to read, the others have files of the user's (USERS).
PAINTERS = ("paint_world", "paint_pairs")
SOURCES = (*PAINTERS, IMPORT, RELEASED)
# Steps that the table does not need, but a result of its own.
ASIDE = sorted({step for steps in BESIDE.values() for step in steps})
EVERY = [
    ordered(step, kind)
    for step in STEPS
    for kind in KINDS
    if kind != "input" or step not in SOURCES
]


def is_asked_for(cause: Cause) -> bool:
    """A step of the table's chain fails in every way, another one in two, which take turns."""
    if EFFORT == "every" or cause.step not in ASIDE:
        return True
    turn = ASIDE.index(cause.step)
    return KINDS.index(cause.kind) in {turn % len(KINDS), (turn + 2) % len(KINDS)}


ORDERED = list(filter(is_asked_for, EVERY))
# The kinds take turns in each eleventh cell, as a step has five.
CELLS = [*ORDERED, *USERS][:: 1 if WHOLLY else 11]
# The job computes by itself, so that it is the job that is killed.
ALONE = nested("runtime.warm_worker", False)


def test_every_step_fails_in_every_way() -> None:
    kinds = {
        step: {cause.kind for cause in (*EVERY, *USERS) if cause.step == step} for step in STEPS
    }
    for step in PAINTERS:
        assert kinds.pop(step) == {*KINDS} - {"input"}
    for step in (IMPORT, RELEASED):
        assert kinds.pop(step) > {*KINDS} - {"input"}
    assert all(found >= {*KINDS} for found in kinds.values())
    asked = [cause for cause in EVERY if is_asked_for(cause)]
    assert {cause.step for cause in asked} == {*STEPS}
    assert {cause.kind for cause in asked if cause.step in ASIDE} == {*KINDS}


@pytest.mark.parametrize("cause", CELLS, ids=str)
def test_cell(cause: Cause, python: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    painted = cause.step == RELEASED or (cause.fault and cause.step != IMPORT)
    change: Change = request.getfixturevalue("painted" if painted else "files")
    new = request.getfixturevalue("dropped") if cause.step == DROP else None
    if cause.kind == "kill":
        cause = replace(cause, config=merged(cause.config, ALONE))
    # what is dropped depends on all that is asked for
    cell = Cell(tmp_path, change, python, "" if cause.step == DROP else cause.step)
    cell.forget(cause.step)
    with cause.spoilt(tmp_path):
        for _ in ("once", "again"):
            cell.fails(cause)
    cell.is_to_be_done(cause)
    cell.finishes(cause.config, new)
