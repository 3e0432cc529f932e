"""The fault matrix: after a change, every step of the table's chain fails in every way, twice; then it is mended.

`make test-faults` tries it wholly, `.ci/run` a tenth of it; docs/crash-safety.md says what it covers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.causes import EFFORT, RELEASED, USERS, WAVES, WHOLLY, Cause, ordered
from tests.faults.injected import KINDS
from tests.faults.scene import BESIDE, STEPS, Cell, Change
from tests.workflow.runs import merged, nested

pytestmark = pytest.mark.skipif(not EFFORT, reason="make test-faults")
IMPORT, DROP = "import_clip", "drop_activations"
# No pointer is read by these: painters have nothing to read, the others have files of the user's (USERS).
PAINTERS = ("paint_world", "paint_pairs")
SOURCES = (*PAINTERS, IMPORT, RELEASED)
# Steps that the table does not need, but a result of its own.
ASIDE = {step for steps in BESIDE.values() for step in steps}
EVERY = [
    ordered(step, kind)
    for step in STEPS
    for kind in KINDS
    if kind != "input" or step not in SOURCES
]
# Steps beside the table have cells of their own in "every" and in a "tenth", whose kinds take turns.
CELLS = [*EVERY, *USERS]
if EFFORT == "all":
    CELLS = [cause for cause in CELLS if cause.step not in ASIDE]
elif not WHOLLY:
    CELLS = CELLS[::31]
# The job computes by itself, so that it is the job that is killed.
ALONE = nested("runtime.warm_worker", False)


def change_of(cause: Cause) -> str:
    """What is changed before: the configuration, or the user's files where they are what is bad."""
    if cause.step == DROP:
        return "dropped"
    painted = cause.step == RELEASED or (cause.fault and cause.step != IMPORT)
    return "painted" if painted else "files"


def copies() -> list[Sequence[Cause]]:
    """The cells that go one after another in one working copy: a step's, for each change.

    What is dropped is gone: those cells have a copy each.
    """
    found: dict[tuple[str, ...], list[Cause]] = {}
    for cause in CELLS:
        own = cause.kind if cause.step == DROP else ""
        found.setdefault((cause.step, change_of(cause), own), []).append(cause)
    return list(found.values())


def named(causes: Sequence[Cause]) -> str:
    return f"{causes[0].step}-{'+'.join(cause.kind for cause in causes)}"


def beside() -> Iterator[Sequence[Cause]]:
    """The chain's waves, of the steps beside the table and with another kind each; bad inputs go alone, there too."""
    for wave in WAVES:
        turns = {step: KINDS.index(kind) + 1 for step, kind in wave.items() if step in ASIDE}
        causes = [ordered(step, KINDS[turn % len(KINDS)]) for step, turn in turns.items()]
        yield [cause for cause in causes if cause.kind != "input"]
        yield from ([cause] for cause in causes if cause.kind == "input")


def from_step(step: str) -> list[str]:
    """The step and all that may need it."""
    first = next((at for at, wave in enumerate(WAVES) if step in wave), 0)
    return [step, *(other for wave in WAVES[first:] for other in wave)]


def test_every_step_fails_in_every_way() -> None:
    kinds = {
        step: {cause.kind for cause in (*EVERY, *USERS) if cause.step == step} for step in STEPS
    }
    for step in PAINTERS:
        assert kinds.pop(step) == {*KINDS} - {"input"}
    for step in (IMPORT, RELEASED):
        assert kinds.pop(step) > {*KINDS} - {"input"}
    assert all(found >= {*KINDS} for found in kinds.values())
    tried = [cause for causes in beside() for cause in causes]
    assert sorted(cause.step for cause in tried) == sorted(ASIDE)
    assert {cause.kind for cause in tried} == {*KINDS}


@pytest.mark.skipif(EFFORT != "all", reason="cells of their own")
def test_the_steps_beside_the_table(painted: Change, python: Path, tmp_path: Path) -> None:
    cell = Cell(tmp_path, painted, python)
    for causes in filter(None, beside()):
        cell.fails_in_between(*causes)
    cell.finishes()
    cell.is_done()


@pytest.mark.parametrize("causes", copies(), ids=named)
def test_cells(
    causes: Sequence[Cause], python: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each from the old state of the step and of what comes after it, as the cell before has mended them."""
    step = causes[0].step
    change: Change = request.getfixturevalue(change_of(causes[0]))
    cell = Cell(tmp_path, change, python, step)
    # in one of them a dry run looks at what is to be done
    looked_at = causes[STEPS.index(step) % len(causes)]
    for cause in causes:
        if cause is not causes[0]:
            cell.bring_back(*from_step(step))
        cell.forget(step)
        alone = merged(cause.config, ALONE if cause.kind == "kill" else {})
        with cause.spoilt(tmp_path):
            for _ in ("once", "again"):
                cell.fails(replace(cause, config=alone))
        if cause is looked_at:
            cell.is_to_be_done(cause)
        cell.finishes()
    cell.is_done()
