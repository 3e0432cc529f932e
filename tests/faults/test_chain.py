"""A change of the configuration, and at every step of the new chain something goes wrong first."""

from __future__ import annotations

from pathlib import Path

from tests.faults.causes import WAVES, WEIGHTS, ordered
from tests.faults.scene import STEPS, Cell, Change
from tests.workflow.runs import DROPPING


def test_every_step_is_tried_once() -> None:
    assert sorted([*(step for wave in WAVES for step in wave), WEIGHTS.step]) == sorted(STEPS)


def test_one_fault_after_another(painted: Change, python: Path, tmp_path: Path) -> None:
    """Those of a wave are mended together, and the next command goes on to the next wave.

    Branches run side by side, so a step may have been done when its turn comes: then its old pointers are
    copied back in.
    """
    cell = Cell(tmp_path, painted, python)
    for wave in WAVES:
        cell.bring_back(*wave)
        put_back = cell.forget(*wave)
        cell.fails(*(ordered(step, kind) for step, kind in wave.items()))
        put_back()
    cell.finishes()
    cell.finishes(DROPPING)  # a table that is up to date asks for it all the same
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
