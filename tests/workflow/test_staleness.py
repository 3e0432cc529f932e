"""The staleness matrix (docs/staleness.md): what each edit makes stale, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.staleness import edits
from tests.staleness.grounds import FILES
from tests.staleness.matrix import Row, Stage, together
from tests.staleness.rows import ROWS
from tests.staleness.scene import Scene
from tests.workflow.runs import making

IDLE = [row for row in ROWS if row.idle and row.fits(FILES)]
OTHERS = [row for row in ROWS if not row.idle and not row.long and row.fits(FILES)]
LISTINGS = [f"{edits.REFS}/celeba/activations/{split}/shards.json" for split in ("train", "test")]
ACTIONS = {
    "import_clip": ["model"],
    "build_manifest": ["celeba"],
    "build_head": ["celeba"],
    "list_shards": ["celeba/train", "celeba/validation", "celeba/test"],
    "extract_activations": [
        *("celeba/train/00000", "celeba/train/00001", "celeba/validation/00000"),
        *("celeba/test/00000", "celeba/test/00001"),
    ],
    "train_dictionary": ["topk/layer_00", "topk/layer_01"],
    **{
        step: [f"{name}/layer_0{layer}" for name in ("topk", "neurons") for layer in (0, 1)]
        for step in (
            *("evaluate_dictionary", "feature_statistics"),
            *("select_features", "ablate_features"),
        )
    },
    "make_table": ["celeba"],
}


@pytest.fixture(scope="session")
def first(common: Path) -> Scene:
    """The scene after its first run; not to be changed: take a copy."""
    home = common / "staleness/home"
    with making(common / "staleness") as mine:
        if mine:
            shutil.rmtree(home, ignore_errors=True)
            seen = Scene.new(home, FILES).run()
            seen.outcome.ok()
            assert (seen.faults, seen.restored) == ([], [])
    return Scene(home, FILES)


@pytest.fixture
def scene(first: Scene, tmp_path: Path) -> Iterator[Scene]:
    """A copy of the finished scene, to be edited and run."""
    yield first.copy(tmp_path / "home")
    assert first.damaged_objects() == [], "an object was written in place"


def check(stage: Stage, scene: Scene, first: Scene) -> None:
    seen = stage.run(scene)
    assert stage.faults(seen, first) == [], f"{stage.what}\n{seen.outcome.text}"


def test_first_run(first: Scene) -> None:
    """What `*` stands for in the rows."""
    assert first.names() == sorted(f"{step} {name}" for step in ACTIONS for name in ACTIONS[step])


def test_what_counts_for_nothing(first: Scene, scene: Scene) -> None:
    """All idle rows in one run; experiments/staleness.py runs each by itself."""
    assert len(IDLE) > 5
    check(together(IDLE, FILES), scene, first)


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: row.name)
def test_row(row: Row, first: Scene, scene: Scene) -> None:
    for stage in row.stages:
        check(stage, scene, first)


def test_other_semantics_of_the_store(scene: Scene) -> None:
    """As the row `semantics`, for something that is quickly computed."""
    edits.raise_semantics(scene)
    seen = scene.run(targets=LISTINGS)
    listed = ["build_manifest celeba", "list_shards celeba/test", "list_shards celeba/train"]
    assert (seen.computed, seen.restored, seen.faults) == (listed, [], [])


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
