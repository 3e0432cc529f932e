"""A change of the configuration, and at every step of the new chain something goes wrong first."""

from __future__ import annotations

from pathlib import Path

from tests.faults.causes import WAVES, WEIGHTS, ordered
from tests.faults.scene import STEPS, Cell, Change
from tests.workflow.runs import DROPPING


def test_every_step_is_tried_once() -> None:
    assert sorted([*(step for wave in WAVES for step in wave), WEIGHTS.step]) == sorted(STEPS)


def test_one_fault_after_another(painted: Change, python: Path, tmp_path: Path) -> None:
    """Those of a wave are mended together, and the next command goes on to the next wave."""
    cell = Cell(tmp_path, painted, python)
    for wave in WAVES:
        cell.fails_in_between(*(ordered(step, kind) for step, kind in wave.items()))
    cell.finishes()
    cell.is_done()
    cell.finishes(DROPPING)  # a table that is up to date asks for it all the same
    cell.is_done(DROPPING)
    assert "celeba/dropped/table/celeba/train.json" in cell.copy.pointers()


def test_a_model_that_is_damaged_and_mended(
    untouched: Change, python: Path, tmp_path: Path
) -> None:
    """The step that a painted world has no use for."""
    cell = Cell(tmp_path, untouched, python)
    with WEIGHTS.spoilt(tmp_path):
        for _ in ("once", "again"):
            cell.fails(WEIGHTS)
    cell.finishes()
    cell.is_done()
