from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.backbones.tokens import Tokens
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.vanilla import Vanilla
from clipsteer.errors import ClipsteerError
from clipsteer.steering import intervention
from clipsteer.steering.intervention import ErrorTerm, edit

D, M, N, T = 6, 20, 3, 4


def make(kind: str) -> Dictionary:
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(M, D, generator=generator), dim=1)
    parts = (
        torch.randn(D, M, generator=generator),
        torch.randn(M, generator=generator) * 0.1,
        decoder,
        torch.randn(D, generator=generator) * 0.1,
    )
    if kind == "neurons":
        return NeuronBasis(D)
    return Vanilla(*parts) if kind == "vanilla" else TopK(*parts, k=5)


def activations(seed: int = 1) -> torch.Tensor:
    return torch.randn(N, T, D, generator=torch.Generator().manual_seed(seed))


def oracle(
    x: torch.Tensor,
    dictionary: Dictionary,
    features: list[int],
    strengths: list[float],
    tokens: Tokens,
    error_term: ErrorTerm,
) -> np.ndarray:
    """The definition in float64, token by token; `drop` is decode(f') as it is written."""
    result = x.double().numpy().copy()
    code = dictionary.encode(x.reshape(-1, D)).double().reshape(N, T, -1).numpy()
    rows = dictionary.W_dec.double().numpy()
    bias = dictionary.b_dec.double().numpy()
    for i in range(N):
        for t in range(T):
            if (tokens == "cls" and t > 0) or (tokens == "spatial" and t == 0):
                continue
            f = code[i, t].copy()
            if error_term == "keep":
                for j, strength in zip(features, strengths, strict=True):
                    result[i, t] += (strength - f[j]) * rows[j]
            else:
                for j, strength in zip(features, strengths, strict=True):
                    f[j] = strength
                total = bias.copy()
                for j in range(len(f)):
                    total += f[j] * rows[j]
                result[i, t] = total
    return result


@pytest.mark.parametrize("kind", ["vanilla", "topk", "neurons"])
@pytest.mark.parametrize("tokens", ["all", "spatial", "cls"])
@pytest.mark.parametrize("error_term", ["keep", "drop"])
@pytest.mark.parametrize("strength", [0.0, 3.5, "vector"])
def test_edit_equals_the_definition(
    kind: str, tokens: Tokens, error_term: ErrorTerm, strength: float | str
) -> None:
    dictionary, x = make(kind), activations()
    features = [4, 1, 5, 0]
    if isinstance(strength, str):
        values = [0.5, -1.0, 2.0, 0.0]
        found = edit(
            x, dictionary, features, strength=torch.tensor(values), tokens=tokens,
            error_term=error_term,
        )  # fmt: skip
    else:
        values = [strength] * 4
        found = edit(
            x, dictionary, features, strength=strength, tokens=tokens, error_term=error_term
        )
    expected = oracle(x, dictionary, features, values, tokens, error_term)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=2e-6)
    assert not np.allclose(expected, x.numpy(), atol=1e-2)


@pytest.mark.parametrize("kind", ["vanilla", "topk", "neurons"])
def test_empty_set_keeps_every_bit(kind: str) -> None:
    x = activations()
    assert torch.equal(edit(x, make(kind), []), x)


def test_empty_set_without_the_error_term_is_the_reconstruction() -> None:
    x, dictionary = activations(), make("topk")
    found = edit(x, dictionary, [], error_term="drop")
    expected = dictionary.decode(dictionary.encode(x.reshape(-1, D))).reshape(N, T, D)
    assert torch.equal(found, expected)


def test_input_is_left_alone() -> None:
    x = activations()
    before = x.clone()
    for kind in ("vanilla", "topk", "neurons"):
        edit(x, make(kind), [0, 3])
        edit(x, make(kind), [0, 3], error_term="drop")
    assert torch.equal(x, before)


def test_ablated_neurons_are_exactly_zero_and_others_untouched() -> None:
    x = activations()
    found = edit(x, NeuronBasis(D), np.array([5, 2]))
    assert (found[..., [2, 5]] == 0).all()
    assert torch.equal(found[..., [0, 1, 3, 4]], x[..., [0, 1, 3, 4]])


def test_top_k_is_not_taken_again() -> None:
    # Were it re-applied, ablating the largest features would let the next ones in.
    x, dictionary = activations(), make("topk")
    code = dictionary.encode(x.reshape(-1, D))
    strongest = torch.unique(code.argmax(dim=1)).tolist()
    again = code.clone()
    again[:, strongest] = 0.0
    expected = dictionary.decode(again).reshape(N, T, D)
    found = edit(x, dictionary, strongest, error_term="drop")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


@settings(max_examples=30)
@given(st.lists(st.integers(0, M - 1), unique=True), st.integers(0, 5), st.integers(1, 4))
def test_blocks_change_rounding_only(features: list[int], seed: int, block: int) -> None:
    x, dictionary = activations(seed), make("vanilla")
    whole = edit(x, dictionary, features)
    before = intervention.SUM_BLOCK
    try:
        intervention.SUM_BLOCK = block
        torch.testing.assert_close(edit(x, dictionary, features), whole, rtol=1e-5, atol=5e-6)
    finally:
        intervention.SUM_BLOCK = before


@pytest.mark.parametrize("bad", [[-1], [M], [3, 3], [0.5]])
def test_bad_features_are_refused(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="feature"):
        edit(activations(), make("topk"), bad)


def test_bad_words_are_refused() -> None:
    with pytest.raises(ClipsteerError, match="tokens: found"):
        edit(activations(), make("topk"), [1], tokens="patches")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="error_term must be"):
        edit(activations(), make("topk"), [1], error_term="half")  # type: ignore[arg-type]
