"""One Slurm for the tests that want one without accounting, and one with; and a run that many look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.runs import SMALL, options
from tests.workflow.processes import Family, family
from tests.workflow.runs import WorkingCopy


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm without accounting."""
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def accounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm with accounting."""
    cluster = Cluster(tmp_path_factory.mktemp("accounted"))
    cluster.up(accounting=True)
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def manifests(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """What pre-training needs, made through the profile; take a `twin` of it."""
    place = tmp_path_factory.mktemp("manifests")
    copy = WorkingCopy(place / "copy", place / "store")
    names = [f"artifacts/refs/{name}/manifest.json" for name in ("celeba", "general", "waterbirds")]
    copy.run(*names, config=SMALL, options=options()).ok()
    return copy


@pytest.fixture
def twin(manifests: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    return manifests.twin(tmp_path)


@pytest.fixture
def ours() -> Iterator[Family]:
    with family() as members:
        yield members
