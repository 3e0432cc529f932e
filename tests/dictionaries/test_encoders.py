"""Encoders and decoders against loops in float64; ties; the neuron basis; the registry."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.registry import architecture
from clipsteer.dictionaries.topk import TopK, select
from clipsteer.errors import ClipsteerError
from tests.dictionaries import helpers


@pytest.mark.parametrize("kind", ["vanilla", "topk"])
def test_encode_and_decode_agree_with_loops(kind: str) -> None:
    dictionary, x = helpers.make(kind), helpers.tokens(30, 7)
    codes = dictionary.encode(x)
    expected = helpers.encode(dictionary, x)
    assert (expected > 0).any(axis=1).all(), "an oracle of zeros tests nothing"
    np.testing.assert_allclose(codes.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(
        dictionary.decode(codes).numpy(), helpers.decode(dictionary, expected), atol=1e-12
    )


@pytest.mark.parametrize("kind", ["vanilla", "topk"])
def test_encode_columns_are_the_columns_of_encode(kind: str) -> None:
    dictionary = helpers.make(kind, d=48, m=300, k=9, dtype=torch.float32)
    x, features = helpers.tokens(64, 48, dtype=torch.float32), torch.tensor([7, 299, 0, 41])
    columns = dictionary.encode_columns(x, features)
    expected = dictionary.encode(x)[:, features]
    assert (expected > 0).any()
    if kind == "topk":
        assert torch.equal(columns, expected)
    torch.testing.assert_close(columns, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(dictionary.directions(features), dictionary.W_dec[features])


def test_encode_leaves_its_argument_alone() -> None:
    for kind in ("vanilla", "topk"):
        x = helpers.tokens(5, 7)
        before = x.clone()
        dictionary = helpers.make(kind)
        dictionary.decode(dictionary.encode(x))
        assert torch.equal(x, before)


def test_topk_keeps_at_most_k_and_rectifies_afterwards() -> None:
    dictionary = helpers.make("topk", k=12)
    codes = dictionary.encode(helpers.tokens(50, 7))
    counts = (codes > 0).sum(dim=1)
    assert int(counts.max()) == 12
    assert int(counts.min()) < 12, "some of the 12 largest must be negative here"


def test_topk_with_k_equal_m_is_vanilla() -> None:
    x = helpers.tokens(10, 7)
    everything = helpers.make("topk", k=20).encode(x)
    torch.testing.assert_close(everything, helpers.make("vanilla").encode(x))


@settings(max_examples=60)
@given(
    rows=st.lists(st.lists(st.integers(-2, 3), min_size=9, max_size=9), min_size=1, max_size=6),
    k=st.integers(1, 9),
)
def test_ties_go_to_the_lower_feature(rows: list[list[int]], k: int) -> None:
    pre = torch.tensor(rows, dtype=torch.float32)
    values, indices = select(pre.clone(), k)
    for row, got_values, got in zip(rows, values.tolist(), indices.tolist(), strict=True):
        expected = sorted(range(9), key=lambda j: (-row[j], j))[:k]
        # Below zero the rectifier makes all choices equal, so only positive ones are promised.
        assert {j for j in got if row[j] > 0} == {j for j in expected if row[j] > 0}
        assert [row[j] for j in got] == got_values


def test_wrong_k_names_the_key() -> None:
    tensors = helpers.make("vanilla").tensors()
    for k in (0, 21, True, 2.5):
        with pytest.raises(ClipsteerError, match=r"^k: found .* from 1 to m = 20"):
            TopK(**tensors, k=k)  # type: ignore[arg-type]


def test_misshapen_tensors_are_refused() -> None:
    tensors = helpers.make("vanilla").tensors()
    with pytest.raises(ClipsteerError, match=r"W_enc has shape \(20, 7\), expected \(7, 20\)"):
        architecture("vanilla")(**{**tensors, "W_enc": tensors["W_enc"].t()})


def test_neuron_basis_is_the_identity() -> None:
    basis: Dictionary = NeuronBasis(7)
    x = helpers.tokens(4, 7, dtype=torch.float32)
    features = torch.tensor([6, 2])
    assert torch.equal(basis.encode(x), x)
    assert torch.equal(basis.decode(x), x)
    assert torch.equal(basis.encode_columns(x, features), x[:, features])
    assert torch.equal(basis.directions(features), torch.eye(7)[features])
    assert (basis.d, basis.m) == (7, 7)


def test_unknown_architecture_suggests_a_close_one() -> None:
    with pytest.raises(ClipsteerError, match=r"'top-k'.*Did you mean topk"):
        architecture("top-k")


def test_architectures_import_torch_only() -> None:
    code = (
        "import sys, clipsteer.dictionaries.topk, clipsteer.dictionaries.neurons\n"
        "heavy = {'transformers', 'zarr', 'polars', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
