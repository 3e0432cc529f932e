"""experiments/worlds.py sees what the workflow sees: the same model, told by the same images."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from clipsteer.data.painters import web
from clipsteer.store.objects import ObjectStore
from experiments import worlds
from tests.workflow.runs import BASE, WorkingCopy
from tests.workflow.test_real_layouts import outputs_of

LAYER = 2


@pytest.fixture(scope="module")
def found() -> worlds.Json:
    """Of the tiny configuration's seed."""
    return worlds.found_of(worlds.settings([str(BASE / "config/tiny.yaml")]), 0, [LAYER])


def test_the_unmodified_model_is_that_of_a_run(finished: WorkingCopy, found: worlds.Json) -> None:
    """Of Waterbirds all validation images are used; counts and images are from the run's choice on them."""
    place = f"neurons/layer_{LAYER:02d}"
    digest = outputs_of(finished, "waterbirds/neurons/layers_00-02/selection.json", place)
    selection = json.loads(ObjectStore(finished.store).get_bytes(digest["selection"]))
    counts = selection["unmodified"]["counts"]
    shares = [100 * c / n for c, n in zip(counts["correct"], counts["images"], strict=True)]
    table = found["tables"]["waterbirds"]
    assert table["groups"] == pytest.approx(shares, abs=1e-4)
    assert table["overall"] == pytest.approx(sum(shares) / 4, abs=1e-4)
    assert not table["band_holds"]
    assert all(0 <= value <= 1 for value in table["auc"])


def test_dictionaries_are_those_of_tables_with_what_became_of_their_features(
    found: worlds.Json,
) -> None:
    assert set(found["dictionaries"]) == {f"topk/{LAYER}", f"vanilla/{LAYER}"}
    topk = found["dictionaries"][f"topk/{LAYER}"]
    # 100 images of 5 tokens in batches of 64, three times: 21 steps; the first and the last are logged; k is 4 of 32
    assert (topk["steps"], topk["rows"]) == (21, 2)
    assert topk["celeba"]["l0_in_d"] <= 4 / 32
    assert 0 < topk["celeba"]["explained_variance"] < 1
    assert topk["rows_with_ghost_gradients"] == 1  # nothing can be dead before step 3
    assert "band_holds" in found["dictionaries"][f"vanilla/{LAYER}"]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 999))
def test_the_auc_is_mann_and_whitneys_share(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 6, n).astype(float), rng.integers(0, 6, m).astype(float)
    assert worlds.auc(first, second) == pytest.approx(
        mannwhitneyu(first, second).statistic / (n * m)
    )


def test_other_shares_of_the_web_keep_its_classes() -> None:
    found = worlds.milder([0.35, 0.5, 0.25, 0.65])
    for name, own in web.SHARES.items():
        for target in (0, 1):
            pair = slice(2 * target, 2 * target + 2)
            assert sum(found[name][pair]) == pytest.approx(sum(own[pair]))
    women, blond_women, men, blond_men = found["faces"]
    assert (blond_women, blond_men) == pytest.approx(
        (0.35 * (women + blond_women), 0.5 * (men + blond_men))
    )
    land, water, own_land, own_water = found["birds"]
    assert (water, own_water) == pytest.approx(
        (0.25 * (land + water), 0.65 * (own_land + own_water))
    )
