from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.backbones.tokens import Tokens
from clipsteer.steering.controls import random_basis
from clipsteer.steering.intervention import FeatureEdit, projection
from clipsteer.steering.subspaces import (
    rank_reaching,
    removed_energy,
    second_moment,
    span,
    vectors_of,
)
from tests.steering.test_ablation import D, Network, data, evaluating, make


@settings(max_examples=30)
@given(st.integers(0, 2 * D), st.integers(0, 100))
def test_a_span_is_projected_off_as_least_squares_says(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, x = rng.normal(size=(count, D)), rng.normal(size=(3, D))
    basis = span(torch.from_numpy(vectors))
    assert basis.shape == (D, min(count, D))
    after = projection(basis).apply(torch.from_numpy(x)[:, None], "all")[:, 0].numpy()
    expected = x
    if count:
        fit = np.linalg.lstsq(vectors.T, x.T, rcond=None)[0]
        expected = x - (vectors.T @ fit).T
    np.testing.assert_allclose(after, expected, atol=1e-9)


def test_features_that_lie_in_each_others_span_add_no_rank() -> None:
    vectors = torch.randn(3, D, generator=torch.Generator().manual_seed(0)).double()
    assert span(torch.cat([vectors, vectors[:1] + vectors[2:]])).shape == (D, 3)


@pytest.mark.parametrize("kind", ["topk", "neurons"])
def test_the_vectors_of_a_feature_are_its_direction_and_its_encoders_column(kind: str) -> None:
    dictionary, features = make(kind), np.array([5, 2])
    decoder, encoder = (vectors_of(dictionary, features, side) for side in ("decoder", "encoder"))
    for row, j in enumerate(features):
        np.testing.assert_array_equal(decoder[row], dictionary.W_dec[j])
        np.testing.assert_array_equal(encoder[row], dictionary.W_enc[:, j])


@pytest.mark.parametrize("tokens", ["all", "spatial", "cls"])
def test_a_random_subspace_removes_as_much_as_the_edit_beside_it(tokens: Tokens) -> None:
    x, dictionary = data(), make("neurons")
    edit = FeatureEdit(dictionary, np.arange(3))
    of = evaluating(dictionary, Network(), x, tokens=tokens)
    (energy,) = removed_energy([edit], of)
    whole = torch.from_numpy(x.astype(np.float32))
    rows = {"all": slice(None), "spatial": slice(1, None), "cls": slice(0, 1)}[tokens]
    change = (edit.apply(whole, tokens) - whole).numpy().astype(np.float64)
    assert energy == pytest.approx((change**2).sum(), rel=1e-6)
    second = second_moment(of)
    basis = random_basis(D, 3)
    rank = rank_reaching(energy, second, torch.from_numpy(basis))
    flat = x[:, rows].astype(np.float64).reshape(-1, D)
    removed = [float(((flat @ basis[:, :r]) ** 2).sum()) for r in range(D + 1)]
    assert 0 < rank < D
    assert removed[rank - 1] < energy <= removed[rank]
    off = projection(torch.from_numpy(basis[:, :rank]))
    (mine,) = removed_energy([off], of)
    assert mine == pytest.approx(removed[rank], rel=1e-5)
    assert rank_reaching(0.0, second, torch.from_numpy(basis)) == 0
    assert rank_reaching(1e9, second, torch.from_numpy(basis)) == D
