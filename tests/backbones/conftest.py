"""Tiny models of each kind, for the tests of what a backbone does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family
from tests.backbones.tiny import make_tiny

KINDS: list[tuple[Family, str | None]] = [
    ("clip", "quick_gelu"),
    ("clip", "gelu"),
    ("siglip", None),
]


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: "-".join(filter(None, kind)))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a CLIP of each activation, or of a SigLIP."""
    family, activation = request.param
    return make_tiny(tmp_path_factory.mktemp("model") / "m", activation, family=family)


@pytest.fixture(scope="session")
def backbone(folder: Path) -> Backbone:
    """It, loaded."""
    return load_backbone(folder, device="cpu")


@pytest.fixture(scope="session", params=get_args(Family))
def family(request: pytest.FixtureRequest) -> Family:
    """Each of the families."""
    found: Family = request.param
    return found


@pytest.fixture(scope="session")
def one_of(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model of each family."""
    return make_tiny(tmp_path_factory.mktemp("model") / "m", family=family)


@pytest.fixture
def copy(one_of: Path, tmp_path: Path) -> Path:
    """One to change."""
    return shutil.copytree(one_of, tmp_path / "copy")
