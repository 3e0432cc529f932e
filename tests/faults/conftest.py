"""What faults begin from, each made once; not to be changed: cells work on copies."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.data.small_trees import face_name
from tests.faults.injected import interpreter
from tests.faults.scene import (
    ATTACKED,
    BASELINES,
    BEST,
    CONTROL,
    EXAMPLES,
    LOOKS,
    QUALITY,
    SHUFFLED,
    SPARSITY,
    STABILITY,
    STEERABILITY,
    STORAGE,
    SWEEP,
    TABLE,
    TYPOGRAPHIC,
    WORTH,
    Change,
    lay,
)
from tests.workflow.conftest import Share, common, finished, real, share
from tests.workflow.real_trees import photo, real_config
from tests.workflow.released_trees import imported, prisma_layer
from tests.workflow.runs import DROPPING, Outcome, WorkingCopy, making, merged, nested

__all__ = ["common", "finished", "real", "share"]
# Every step has to be done anew, and the CLIP is soon trained.
NEW = {
    **{"seed": 1, "model": {"tiny": {"steps": 40}}},
    "models": {"signs": {"tiny": {"steps": 30}}},
}


def _released(place: Path, maker: str) -> None:
    """Dictionaries that somebody has released, in a folder `theirs`."""
    for layer in (0, 2):
        folder = place / f"theirs/layer_{layer}"
        prisma_layer(folder, layer, model_name=f"open-clip:{maker}/tiny")


def _with_released(place: Path) -> dict[str, Any]:
    """The configuration of a table that has them too, and of nothing that shows the same steps again."""
    theirs = nested("dictionaries.theirs", imported(place / "theirs/layer_{layer}"))
    chosen = {"grid": {"k": [2, 4]}, "choose": "rule", "rule": {"max_l0": 1000}}
    return merged(
        merged(merged(SHUFFLED, theirs), nested("dictionaries.topk", chosen)),
        {
            "tables": {"celeba": ["topk", "theirs"], "waterbirds": []},
            "typographic": {"benchmarks": ["signs_ends"]},
        },
    )


@pytest.fixture(scope="session")
def python(common: Path) -> Path:
    """An interpreter in which faults can be ordered."""
    place = common / "faults-python"
    with making(place) as mine:
        return interpreter(place / "venv") if mine else place / "venv/bin/python"


@pytest.fixture(scope="session")
def painted(finished: WorkingCopy, share: Share) -> Change:
    """From the tiny configuration to another one: a table and what else it has."""
    targets = (
        *(TABLE, CONTROL, BASELINES, QUALITY, WORTH, SPARSITY, STORAGE, BEST),
        *(*LOOKS, STEERABILITY, SWEEP, STABILITY, TYPOGRAPHIC, EXAMPLES, ATTACKED),
    )

    def old(copy: WorkingCopy) -> Outcome:
        lay(copy, finished)
        place = copy.folder.parent
        _released(place, "ada")
        return copy.run(*targets, config=_with_released(place))

    def prepare(place: Path) -> None:
        _released(place, "grace")

    def config(place: Path) -> Mapping[str, Any]:
        return merged(_with_released(place), NEW)

    def new(copy: WorkingCopy) -> Outcome:
        place = copy.folder.parent
        prepare(place)
        return copy.run(*targets, config=config(place))

    return Change(share("faults-old", old), share("faults-new", new), targets, config, prepare)


@pytest.fixture(scope="session")
def dropped(painted: Change, share: Share) -> WorkingCopy:
    """What the other configuration has made, less the activations."""

    def act(copy: WorkingCopy) -> Outcome:
        place = copy.folder.parent
        painted.prepare(place)
        lay(copy, painted.new)
        return copy.run(*painted.targets, config=merged(painted.config(place), DROPPING))

    return share("faults-dropped", act)


@pytest.fixture(scope="session")
def untouched(real: WorkingCopy) -> Change:
    """The user's files and a table made from them, without a change."""

    def prepare(place: Path) -> None:
        for name in ("celeba", "clip"):
            shutil.copytree(real.folder.parent / name, place / name)

    def config(place: Path) -> Mapping[str, Any]:
        return real_config(place / "clip", place / "celeba")

    return Change(real, real, (TABLE,), config, prepare)


@pytest.fixture(scope="session")
def files(untouched: Change, share: Share) -> Change:
    """From the user's files to others of the same names: another CLIP, another image."""

    def prepare(place: Path) -> None:
        untouched.prepare(place)
        weights = load_file(place / "clip/model.safetensors")
        weights["vision_model.encoder.layers.0.mlp.fc2.weight"] *= 1.5
        save_file(weights, place / "clip/model.safetensors", metadata={"format": "pt"})
        (place / "celeba/img_align_celeba" / face_name(0)).write_bytes(photo("plain", 1000))

    def new(copy: WorkingCopy) -> Outcome:
        place = copy.folder.parent
        prepare(place)
        return copy.run(*untouched.targets, config=untouched.config(place))

    made = share("faults-files", new)
    return replace(untouched, new=made, prepare=prepare)
