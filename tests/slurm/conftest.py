"""One Slurm for the tests that want one without accounting, and one with; and a run that many look at."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.guard import guarded
from tests.slurm.runs import SMALL
from tests.workflow.processes import Family, family
from tests.workflow.ready import MARK
from tests.workflow.runs import WorkingCopy


@contextmanager
def cluster(*, accounting: bool) -> Iterator[Cluster]:
    # not in pytest's folder, which is closed to the database's user
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder))
        with guarded(made.folder) as mark, pytest.MonkeyPatch.context() as patch:
            made.up(accounting=accounting)
            patch.setenv(MARK, mark)
            try:
                with family(mark):
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
def manifests(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """What pre-training needs, made without Slurm; take a `twin` of it."""
    place = tmp_path_factory.mktemp("manifests")
    copy = WorkingCopy(place / "copy", place / "store")
    copy.run("artifacts/refs/celeba/manifest.json", config=SMALL).ok()
    return copy


@pytest.fixture
def twin(manifests: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    return manifests.twin(tmp_path)


@pytest.fixture
def ours(slurm: Cluster) -> Iterator[Family]:
    """Whatever runs on the Slurm for a test, and the heads."""
    with family(os.environ[MARK]) as members:
        yield members
