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
from tests.faults.scene import Change, lay
from tests.workflow.conftest import Share, common, everything, finished, real, share
from tests.workflow.everything import TABLE, TARGETS, anew, released, with_released
from tests.workflow.real_trees import photo, real_config
from tests.workflow.runs import DROPPING, Outcome, WorkingCopy, making, merged

__all__ = ["common", "everything", "finished", "real", "share"]


@pytest.fixture(scope="session")
def python(common: Path) -> Path:
    """An interpreter in which faults can be ordered."""
    place = common / "faults-python"
    with making(place) as mine:
        return interpreter(place / "venv") if mine else place / "venv/bin/python"


@pytest.fixture(scope="session")
def painted(finished: WorkingCopy, everything: WorkingCopy, share: Share) -> Change:
    """From the tiny configuration to another one: a table and what else it has."""

    def old(copy: WorkingCopy) -> Outcome:
        lay(copy, finished)
        place = copy.folder.parent
        released(place, "ada")
        return copy.run(*TARGETS, config=with_released(place))

    def prepare(place: Path) -> None:
        released(place, "grace")

    return Change(share("faults-old", old), everything, TARGETS, anew, prepare)


@pytest.fixture(scope="session")
def dropped(painted: Change, share: Share) -> Change:
    """From there on, to a configuration that drops the activations which the table was made from."""

    def config(place: Path) -> Mapping[str, Any]:
        return merged(painted.config(place), DROPPING)

    def new(copy: WorkingCopy) -> Outcome:
        place = copy.folder.parent
        painted.prepare(place)
        lay(copy, painted.new)
        return copy.run(TABLE, config=config(place))

    return replace(painted, old=painted.new, new=share("faults-dropped", new), config=config)


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
