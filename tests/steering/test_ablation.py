from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.activations.tokens import Tokens
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.vanilla import Vanilla
from clipsteer.errors import ClipsteerError
from clipsteer.steering import ablation, evaluator
from clipsteer.steering.ablation import (
    passes,
    predict_prefixes,
    predict_selected,
    predict_sets,
)
from clipsteer.steering.evaluator import Batch
from clipsteer.steering.intervention import ErrorTerm

D, M, T, N, P, CLASSES = 8, 24, 5, 37, 6, 3
KINDS = ["vanilla", "topk", "neurons"]


def make(kind: str, d: int = D, m: int = M, k: int = 4) -> Dictionary:
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(m, d, generator=generator), dim=1)
    parts = (
        torch.randn(d, m, generator=generator),
        torch.randn(m, generator=generator) * 0.1,
        decoder,
        torch.randn(d, generator=generator) * 0.1,
    )
    if kind == "neurons":
        return NeuronBasis(d)
    return Vanilla(*parts) if kind == "vanilla" else TopK(*parts, k=k)


class Network:
    """A small fixed non-linear network; remembers what it was asked to embed."""

    def __init__(self, d: int = D, tokens: int = T) -> None:
        generator = torch.Generator().manual_seed(5)
        self.inner = torch.randn(tokens * d, 16, generator=generator) / 3
        self.bias = torch.randn(16, generator=generator)
        self.outer = torch.randn(16, P, generator=generator)
        self.head = torch.randn(P, CLASSES, generator=generator)
        self.seen: list[torch.Tensor] = []

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.clone())
        return torch.tanh(x.flatten(1) @ self.inner + self.bias) @ self.outer

    def classify(self, embeddings: torch.Tensor) -> np.ndarray:
        return (embeddings @ self.head).argmax(dim=1).numpy()

    def logits64(self, x: np.ndarray) -> np.ndarray:
        """The same in float64 for one image (T, d)."""
        hidden = np.tanh(x.reshape(-1) @ self.inner.double().numpy() + self.bias.double().numpy())
        return np.asarray(hidden @ self.outer.double().numpy() @ self.head.double().numpy())

    @property
    def rows(self) -> set[bytes]:
        return {row.numpy().tobytes() for batch in self.seen for row in batch}


def data(seed: int = 1, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, T, D)).astype(np.float16)


def batches(
    x: np.ndarray, size: int = 8, base: np.ndarray | None = None, start: int = 0
) -> Iterator[Batch]:
    for low in range(0, len(x), size):
        part = None if base is None else base[low : low + size]
        yield start + low, x[low : low + size], part


def random_features(dictionary: Dictionary, seed: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = (0, 1, 2, dictionary.m // 2, dictionary.m)
    return [rng.permutation(dictionary.m)[:size] for size in sizes]


def plain_loop(
    dictionary: Dictionary,
    x: np.ndarray,
    base: np.ndarray | None,
    sets: Sequence[np.ndarray],
    tokens: Tokens,
    error_term: ErrorTerm,
) -> np.ndarray:
    """The definition in float64: image by image, token by token, feature by feature."""
    network, rows = Network(), dictionary.W_dec.double().numpy()
    out = np.zeros((len(sets), len(x)), dtype=int)
    for i in range(len(x)):
        image = torch.from_numpy(x[i].astype(np.float32))
        code = dictionary.encode(image).double().numpy()
        for s, features in enumerate(sets):
            edited = image.double().numpy().copy()
            for t in range(T):
                if (tokens == "cls" and t > 0) or (tokens == "spatial" and t == 0):
                    continue
                f = code[t].copy()
                f[features] = 0.0
                if error_term == "drop":
                    edited[t] = f @ rows + dictionary.b_dec.double().numpy()
                else:
                    for j in features:
                        edited[t] -= code[t, j] * rows[j]
            if base is not None:
                edited = base[i].astype(np.float64) + (edited - x[i].astype(np.float64))
            logits = np.sort(network.logits64(edited))
            assert logits[-1] - logits[-2] > 1e-4  # no near-tie that float32 might turn
            out[s, i] = int(network.logits64(edited).argmax())
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", ["all", "spatial", "cls"])
@pytest.mark.parametrize("error_term", ["keep", "drop"])
@pytest.mark.parametrize("hook", ["resid_post", "mlp_out"])
def test_predictions_equal_plain_loops(
    kind: str, tokens: Tokens, error_term: ErrorTerm, hook: str
) -> None:
    dictionary, network, x = make(kind), Network(), data()
    base = None if hook == "resid_post" else data(9)
    sets = random_features(dictionary)
    found = predict_sets(
        dictionary, batches(x, base=base), network.embed, network.classify, sets,
        tokens=tokens, error_term=error_term,
    )  # fmt: skip
    assert found.dtype == np.int32
    expected = plain_loop(dictionary, x, base, sets, tokens, error_term)
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected, axis=0)) >= 3  # the sets must make a difference


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", ["all", "spatial", "cls"])
@pytest.mark.parametrize("error_term", ["keep", "drop"])
def test_a_sweep_edits_to_the_bit_as_its_prefixes_do_one_by_one(
    kind: str, tokens: Tokens, error_term: ErrorTerm, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks of three, so that prefixes end inside, at and beyond the edge of a block.
    monkeypatch.setattr("clipsteer.steering.intervention.SUM_BLOCK", 3)
    monkeypatch.setattr(ablation, "SUM_BLOCK", 3)
    dictionary, x = make(kind), data()
    order = np.random.default_rng(4).permutation(dictionary.m)
    sizes = [0, 1, 2, 3, 4, 6, 8]
    options: dict[str, Any] = {"tokens": tokens, "error_term": error_term}
    nested, single = Network(), Network()
    swept = predict_prefixes(
        dictionary, batches(x), nested.embed, nested.classify, order, sizes, **options
    )
    apart = predict_sets(
        dictionary, batches(x), single.embed, single.classify,
        [order[:size] for size in sizes], **options,
    )  # fmt: skip
    np.testing.assert_array_equal(swept, apart)
    assert nested.rows == single.rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hook", ["resid_post", "mlp_out"])
@pytest.mark.parametrize("error_term", ["keep", "drop"])
def test_selected_sets_and_the_resumed_pass(kind: str, hook: str, error_term: ErrorTerm) -> None:
    dictionary, network, x = make(kind), Network(), data()
    base = None if hook == "resid_post" else data(9)
    empty, *filled = random_features(dictionary)
    sets = [filled[0], empty, *filled[1:], empty]
    calls, done = list[int](), list[int]()

    def again() -> Iterator[Batch]:
        calls.append(1)
        return batches(x, base=base)

    resumed, found = predict_selected(
        dictionary, again, network.embed, network.classify, sets,
        error_term=error_term, progress=done.append,
    )  # fmt: skip
    assert len(calls) == passes(sets, error_term) == (1 if error_term == "keep" else 2)
    assert sum(done) == N * len(calls)
    assert resumed.dtype == found.dtype == np.int32
    whole = x if base is None else base
    plain = network.embed(torch.from_numpy(whole.astype(np.float32)))
    np.testing.assert_array_equal(resumed, network.classify(plain))
    expected = predict_sets(
        dictionary, batches(x, base=base), network.embed, network.classify, sets,
        error_term=error_term,
    )  # fmt: skip
    if error_term == "drop":
        if kind != "neurons":  # the neuron basis reconstructs exactly
            assert (expected[1] != resumed).any()
        expected[[1, -1]] = resumed
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("error_term", ["keep", "drop"])
@pytest.mark.parametrize("count", [0, 2])
def test_selected_with_nothing_to_ablate_takes_one_pass(error_term: ErrorTerm, count: int) -> None:
    network, x, calls = Network(), data(), list[int]()

    def again() -> Iterator[Batch]:
        calls.append(1)
        return batches(x)

    sets = [np.zeros(0, dtype=np.int64)] * count
    resumed, found = predict_selected(
        make("topk"), again, network.embed, network.classify, sets, error_term=error_term
    )
    assert len(calls) == passes(sets, error_term) == 1
    assert found.shape == (count, N)
    assert (found == resumed).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 50), st.integers(0, 100), st.lists(st.integers(0, M), min_size=1, max_size=6))
def test_batch_size_and_place_leave_predictions(size: int, start: int, sizes: list[int]) -> None:
    dictionary, x = make("topk"), data()
    order = np.arange(M)
    network = Network()
    expected = predict_sets(
        dictionary, batches(x), network.embed, network.classify, [order[:s] for s in sizes]
    )
    found = predict_prefixes(
        dictionary, batches(x, size, start=start), network.embed, network.classify, order,
        sorted(sizes),
    )  # fmt: skip
    np.testing.assert_array_equal(found, expected[np.argsort(sizes, kind="stable")])


def test_chunks_bound_memory_and_leave_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary, x, network = make("topk"), data(), Network()
    sets = random_features(dictionary)
    arguments = (network.embed, network.classify, sets)
    expected = predict_sets(dictionary, batches(x, 16), *arguments)
    monkeypatch.setattr(ablation, "_CHUNK_BYTES", 3 * T * M * 4)
    widest = 0
    encode = dictionary.encode

    def watched(rows: torch.Tensor) -> torch.Tensor:
        nonlocal widest
        widest = max(widest, len(rows))
        return encode(rows)

    monkeypatch.setattr(dictionary, "encode", watched)
    monkeypatch.setattr(dictionary, "to", lambda device: dictionary)
    found = predict_sets(dictionary, batches(x, 16), *arguments)
    np.testing.assert_array_equal(found, expected)
    assert widest == 3 * T


@pytest.mark.parametrize("block", [5, 20, 32])
def test_blocks_of_results_leave_predictions(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of less than a batch, of one and a bit, of two; 37 images in batches of 16."""
    dictionary, x, network = make("topk"), data(), Network()
    arguments = (network.embed, network.classify, random_features(dictionary))
    expected = predict_sets(dictionary, batches(x, 16), *arguments)
    monkeypatch.setattr(evaluator, "_BLOCK_IMAGES", block)
    found = predict_sets(dictionary, batches(x, 16), *arguments)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


def test_untouched_images_are_evaluated_once() -> None:
    dictionary, x = make("topk", k=1), data()
    code = dictionary.encode(torch.from_numpy(x.astype(np.float32)).reshape(-1, D))
    fires = (code.reshape(N, T, M) > 0).any(dim=1).numpy()
    order = np.argsort(fires.sum(axis=0), kind="stable")
    sizes = [0, 5, 10, 15, 20]
    changed = sum(int(fires[:, order[low:high]].any(axis=1).sum()) for low, high in pairwise(sizes))
    assert changed < 4 * N / 2  # the data must leave something to save
    network = Network()
    predict_prefixes(dictionary, batches(x), network.embed, network.classify, order, sizes)
    rows = sum(len(batch) for batch in network.seen)
    assert rows == -(-(N + changed) // 8) * 8


def test_the_origin_is_not_evaluated_where_nobody_asks() -> None:
    network, x = Network(), data(n=16)
    predict_sets(NeuronBasis(D), batches(x), network.embed, network.classify, [np.arange(3)])
    assert sum(len(batch) for batch in network.seen) == 16


def test_embedding_batches_all_have_one_shape() -> None:
    dictionary, network, x = make("topk"), Network(), data()
    predict_sets(
        dictionary, batches(x), network.embed, network.classify, random_features(dictionary)
    )
    assert {tuple(batch.shape) for batch in network.seen} == {(8, T, D)}


def test_equal_sets_are_evaluated_once() -> None:
    dictionary, x = make("vanilla"), data()
    one, many = Network(), Network()
    single = predict_sets(dictionary, batches(x), one.embed, one.classify, [np.array([3, 7, 1])])
    found = predict_sets(
        dictionary, batches(x), many.embed, many.classify,
        [np.array([3, 7, 1]), np.array([1, 3, 7]), np.array([7, 3, 1])],
    )  # fmt: skip
    assert len(many.seen) == len(one.seen)
    np.testing.assert_array_equal(found, np.repeat(single, 3, axis=0))


def test_last_layer_may_be_cut_to_cls() -> None:
    dictionary, x = make("topk"), data()
    network = Network(tokens=1)

    def embed(edited: torch.Tensor) -> torch.Tensor:
        return network.embed(edited[:, :1])

    sets = random_features(dictionary)
    for tokens in ("all", "cls", "spatial"):
        whole = predict_sets(
            dictionary, batches(x), embed, network.classify, sets, tokens=tokens
        )  # fmt: skip
        cut = predict_sets(
            dictionary, batches(x[:, :1]), embed, network.classify, sets, tokens=tokens
        )  # fmt: skip
        np.testing.assert_array_equal(whole, cut)
        assert (len(np.unique(whole, axis=0)) == 1) is (tokens == "spatial")


def test_threads_leave_every_bit() -> None:
    dictionary = make("topk", d=64, m=2048, k=16)
    x = np.random.default_rng(0).normal(size=(40, 9, 64)).astype(np.float32)
    order = np.random.default_rng(1).permutation(2048)
    before = torch.get_num_threads()
    rows = []
    for threads in (1, 2):
        network = Network(64, 9)
        try:
            torch.set_num_threads(threads)
            predict_prefixes(
                dictionary, batches(x, 20), network.embed, network.classify, order,
                [3, 100, 513, 1500],
            )  # fmt: skip
        finally:
            torch.set_num_threads(before)
        rows.append(torch.cat(network.seen).numpy().tobytes())
    assert rows[0] == rows[1]


def test_class_indices_beyond_a_byte() -> None:
    network, x = Network(), data()
    found = predict_sets(
        make("topk"), batches(x), network.embed,
        lambda embeddings: network.classify(embeddings) + 998, [np.array([1])],
    )  # fmt: skip
    assert found.min() >= 998


def test_nan_is_refused() -> None:
    network, x = Network(), data()
    x[20, 1, 1] = np.nan
    with pytest.raises(ClipsteerError, match="image embedding is NaN"):
        predict_sets(
            make("vanilla"), batches(x), network.embed, network.classify, [np.array([1, 2])]
        )


def test_misuse_is_refused() -> None:
    network, x = Network(), data()
    calls = (network.embed, network.classify)
    gap = (batch for batch in batches(x) if batch[0] != 8)
    with pytest.raises(ValueError, match="starts at image 16, expected 8"):
        predict_sets(make("topk"), gap, *calls, [np.array([1])])
    with pytest.raises(ValueError, match="sizes must ascend"):
        predict_prefixes(make("topk"), batches(x), *calls, np.arange(M), [3, 1])
    with pytest.raises(ValueError, match="sizes must ascend"):
        predict_prefixes(make("topk"), batches(x), *calls, np.arange(4), [5])
    with pytest.raises(ValueError, match=r"in 0\.\.23"):
        predict_sets(make("topk"), batches(x), *calls, [np.array([M])])


def test_no_sets_and_no_images() -> None:
    network, x = Network(), data()
    calls = (network.embed, network.classify)
    assert predict_sets(make("topk"), batches(x), *calls, []).shape == (0, N)
    assert predict_sets(make("topk"), iter([]), *calls, [np.array([1])]).shape == (1, 0)


def test_progress_adds_up() -> None:
    network, seen = Network(), list[int]()
    predict_sets(
        make("topk"), batches(data()), network.embed, network.classify, [np.array([1])],
        progress=seen.append,
    )  # fmt: skip
    assert sum(seen) == N
