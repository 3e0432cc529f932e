"""Made-up ablations and what was measured of them."""

from __future__ import annotations

import polars as pl
import pytest

from clipsteer.steering.outcomes import measure
from tests.report.fakes import HARDEST, fake_ablations, fake_images


@pytest.fixture(scope="module")
def images() -> pl.DataFrame:
    return fake_images(per_group=40)


@pytest.fixture(scope="module")
def ablations(images: pl.DataFrame) -> pl.DataFrame:
    return fake_ablations(images, layers=3, seeds=3)


@pytest.fixture(scope="module")
def measured(ablations: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    return measure(ablations, images, n_groups=4, hardest=HARDEST)
