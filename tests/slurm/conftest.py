"""One Slurm for the tests that want one without accounting, and one with; and a run that many look at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.runs import SMALL, options
from tests.workflow.processes import Family, family
from tests.workflow.runs import WorkingCopy


@contextmanager
def cluster(*, accounting: bool) -> Iterator[Cluster]:
    # not in pytest's folder, which is closed to the database's user
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder))
        made.up(accounting=accounting)
        try:
            yield made
        finally:
            made.down()


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """A Slurm without accounting."""
    with cluster(accounting=False) as made:
        yield made


@pytest.fixture(scope="module")
def accounted() -> Iterator[Cluster]:
    """A Slurm with accounting."""
    with cluster(accounting=True) as made:
        yield made


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
