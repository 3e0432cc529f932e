"""A tiny CLIP of each activation, for the tests of the tower and of its tail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.backbones.tiny import make_tiny


@pytest.fixture(scope="module", params=["quick_gelu", "gelu"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP directory."""
    return make_tiny(tmp_path_factory.mktemp("clip"), request.param)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """One to change."""
    return shutil.copytree(folder, tmp_path / "copy")
