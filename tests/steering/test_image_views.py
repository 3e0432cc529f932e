"""Views of single images: beside the front door's own features and classifications, edit by edit, and plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import clipsteer
from clipsteer.backbones.base import Backbone
from clipsteer.backbones.shaped import Family
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.front.placed import Placed
from clipsteer.steering.image_views import PER_TOKEN, Site, View, drawn_evenly, image_views
from tests.backbones.tiny import make_tiny, photos
from tests.front.test_front import placed

SETS = {"strict": [3, 20], "relaxed": []}
COUNT = 4


@pytest.fixture(scope="module", params=get_args(Family))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = make_tiny(tmp_path_factory.mktemp("model") / "m", family=request.param)
    return clipsteer.load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def head(model: Backbone) -> torch.Tensor:
    return clipsteer.zero_shot_head(model, ["cat", "a dog", "nothing"])


def views(
    model: Backbone, head: torch.Tensor, found: Placed, sets: dict[str, list[int]] = SETS
) -> list[View]:
    """Of three images, the second of which has a pair."""
    images = photos(4)
    site = Site(model, head, found.dictionary, found.layer, found.hook_point)
    return image_views(site, images[:3], {1: images[3]}, sets, COUNT)


@pytest.mark.parametrize(("layer", "hook_point"), [(1, "resid_post"), (2, "mlp_out")])
def test_each_ablation_is_the_front_doors(
    model: Backbone, head: torch.Tensor, tmp_path: Path, layer: int, hook_point: str
) -> None:
    found, images = placed(tmp_path, layer, hook_point), photos(4)
    plain = clipsteer.classify(model, images, head).numpy()
    for number, view in enumerate(views(model, head, found)):
        np.testing.assert_allclose(view.probabilities, plain[number], rtol=1e-5)
        assert (view.pair is None) == (number != 1)
        edits = {(one.feature,): one.ablated for one in view.features}
        edits[3, 20] = view.sets["strict"].probabilities
        moved = 0
        for features, shares in edits.items():
            edit = clipsteer.ablate(found, list(features))
            expected = clipsteer.classify(model, [images[number]], head, edit)[0].numpy()
            np.testing.assert_allclose(shares, expected, rtol=1e-4)
            moved += not np.allclose(shares, plain[number], rtol=1e-3)
        assert moved
        assert view.sets["relaxed"].probabilities == view.probabilities  # empty: no intervention
    np.testing.assert_allclose(views(model, head, found)[1].pair, plain[3], rtol=1e-5)


def test_features_and_tokens_are_the_codes_own(
    model: Backbone, head: torch.Tensor, tmp_path: Path
) -> None:
    found = placed(tmp_path)
    codes = clipsteer.features_of(model, found, photos(4)).numpy()
    for number, view in enumerate(views(model, head, found)):
        code, mean = codes[number], codes[number].mean(axis=0)
        most = [j for j in np.argsort(-mean, kind="stable")[:COUNT].tolist() if mean[j] > 0]
        own = sorted((j for j in SETS["strict"] if mean[j] > 0), key=lambda j: -mean[j])
        assert [one.feature for one in view.features] == list(dict.fromkeys([*most, *own]))
        assert view.sets["strict"].firing == sum((code[:, j] > 0).any() for j in SETS["strict"])
        for one in view.features:
            values = code[:, one.feature]
            assert one.mean == pytest.approx(values.mean(), rel=1e-5)
            assert one.largest == pytest.approx(values.max(), rel=1e-5)
            with_cls = one.patches if one.cls is None else [one.cls, *one.patches]
            np.testing.assert_allclose(with_cls, values, rtol=1e-5, atol=1e-7)
            assert (one.cls is None) == (model.cls is None)
            if number == 1:
                assert one.on_pair == pytest.approx(codes[3][:, one.feature].mean(), abs=1e-6)
        for token, strongest in enumerate(view.tokens):
            best = np.argsort(-code[token], kind="stable")[:PER_TOKEN]
            assert [j for j, _ in strongest] == [j for j in best if code[token, j] > 0]


def test_neurons_count_by_their_size_whatever_their_sign(
    model: Backbone, head: torch.Tensor
) -> None:
    x = clipsteer.activations_of(model, photos(3), 1)
    for number, view in enumerate(views(model, head, Placed(NeuronBasis(16), 1), {})):
        order = np.argsort(-x[number].abs().mean(dim=0).numpy(), kind="stable")[:COUNT]
        assert [one.feature for one in view.features] == order.tolist()


def test_a_dictionary_for_some_tokens_is_silent_on_the_others(
    model: Backbone, head: torch.Tensor, tmp_path: Path
) -> None:
    found = placed(tmp_path)
    found.dictionary.tokens = "spatial"
    site = Site(model, head, found.dictionary, 1, "resid_post", tokens="spatial")
    (view,) = image_views(site, photos(1), {}, SETS, COUNT)
    if model.cls is not None:
        assert view.tokens[0] == []
        assert {one.cls for one in view.features} == {0.0}
    assert any(view.tokens[1:])


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.integers(0, 50),
    st.integers(0, 2**31),
)
def test_images_are_drawn_evenly(groups: list[int], count: int, seed: int) -> None:
    drawn = drawn_evenly(np.array(groups), count, seed)
    assert len(set(drawn)) == len(drawn) == min(count, len(groups))
    taken = np.bincount([groups[i] for i in drawn], minlength=4)
    there = np.bincount(groups, minlength=4)
    # a group that has images left has as many as any other, or one fewer
    assert all(taken[g] >= taken.max() - 1 for g in range(4) if taken[g] < there[g])
    assert drawn_evenly(np.array(groups), count + 1, seed)[: len(drawn)] == drawn
