from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

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
from clipsteer.steering import ablation
from clipsteer.steering.ablation import predict_prefixes, predict_sets
from clipsteer.steering.evaluator import Batch, Evaluator
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


def evaluating(
    dictionary: Dictionary,
    network: Network,
    x: np.ndarray,
    *,
    size: int = 8,
    base: np.ndarray | None = None,
    start: int = 0,
    **how: Any,
) -> Evaluator:
    """The network and its images; `how`: other fields of the evaluator."""
    given = lambda: batches(x, size, base, start)  # noqa: E731
    calls = {"embed": network.embed, "classify": network.classify, **how}
    return Evaluator(**{"dictionary": dictionary, "batches": given, **calls})


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
    how = {"tokens": tokens, "error_term": error_term}
    resumed, found = predict_sets(evaluating(dictionary, network, x, base=base, **how), sets)
    assert resumed.dtype == found.dtype == np.int32
    expected = plain_loop(dictionary, x, base, sets, tokens, error_term)
    # the first set is empty: no intervention at all
    whole = x if base is None else base
    expected[0] = [int(network.logits64(image.astype(np.float64)).argmax()) for image in whole]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(resumed, expected[0])
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
    swept = predict_prefixes(evaluating(dictionary, nested, x, **options), order, sizes)
    prefixes = [order[:size] for size in sizes]
    apart = predict_sets(evaluating(dictionary, single, x, **options), prefixes)
    np.testing.assert_array_equal(swept.edited, apart.edited)
    np.testing.assert_array_equal(swept.resumed, apart.resumed)
    assert nested.rows == single.rows


@pytest.mark.parametrize("error_term", ["keep", "drop"])
@pytest.mark.parametrize("sizes", [[0, 2, 9], [1, 24], [0], []])
def test_the_empty_set_is_no_intervention(error_term: ErrorTerm, sizes: list[int]) -> None:
    """A sweep has the model without any edit beside it, whatever happens to the error term."""
    dictionary, network, x = make("vanilla"), Network(), data()
    order = np.random.default_rng(2).permutation(24)
    starts, done = list[int](), list[int]()

    def again() -> Iterator[Batch]:
        starts.append(1)
        return batches(x)

    of = evaluating(dictionary, network, x, batches=again, error_term=error_term)
    untouched = [int(network.logits64(image.astype(np.float64)).argmax()) for image in x]
    filled = [size for size in sizes if size]
    edited = plain_loop(dictionary, x, None, [order[:s] for s in filled], "all", error_term)
    for swept in (True, False):
        if swept:
            resumed, predictions = predict_prefixes(of, order, sizes, done.append)
        else:
            sets = [order[:size] for size in sizes]
            resumed, predictions = predict_sets(of, sets, done.append)
        assert len(starts) == (of.passes if filled else 1)
        assert sum(done) == N * len(starts)
        starts.clear()
        done.clear()
        assert resumed.tolist() == untouched
        expected = iter(edited.tolist())
        assert predictions.shape == (len(sizes), len(x))
        for size, row in zip(sizes, predictions.tolist(), strict=True):
            assert row == (next(expected) if size else untouched)
    assert not filled or (edited != untouched).any()


@settings(max_examples=25)
@given(st.integers(1, 50), st.integers(0, 100), st.lists(st.integers(0, M), min_size=1, max_size=6))
def test_batch_size_and_place_leave_predictions(size: int, start: int, sizes: list[int]) -> None:
    dictionary, x = make("topk"), data()
    order = np.arange(M)
    network = Network()
    expected = predict_sets(evaluating(dictionary, network, x), [order[:s] for s in sizes]).edited
    of = evaluating(dictionary, network, x, size=size, start=start)
    found = predict_prefixes(of, order, sorted(sizes)).edited
    np.testing.assert_array_equal(found, expected[np.argsort(sizes, kind="stable")])


def test_chunks_bound_memory_and_leave_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary, x, network = make("topk"), data(), Network()
    sets = random_features(dictionary)
    of = evaluating(dictionary, network, x, size=16)
    expected = predict_sets(of, sets).edited
    monkeypatch.setattr(ablation, "_CHUNK_BYTES", 3 * T * M * 4)
    widest = 0
    encode = dictionary.encode

    def watched(rows: torch.Tensor) -> torch.Tensor:
        nonlocal widest
        widest = max(widest, len(rows))
        return encode(rows)

    monkeypatch.setattr(dictionary, "encode", watched)
    monkeypatch.setattr(dictionary, "to", lambda device: dictionary)
    found = predict_sets(of, sets).edited
    np.testing.assert_array_equal(found, expected)
    assert widest == 3 * T


@pytest.mark.parametrize("block", [5, 20, 32])
def test_blocks_of_results_leave_predictions(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of less than a batch, of one and a bit, of two; 37 images in batches of 16."""
    dictionary, x, network = make("topk"), data(), Network()
    of, sets = evaluating(dictionary, network, x, size=16), random_features(dictionary)
    expected = predict_sets(of, sets).edited
    monkeypatch.setattr("clipsteer.steering.evaluator._BLOCK_IMAGES", block)
    found = predict_sets(of, sets).edited
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


def test_untouched_images_are_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipsteer.steering.evaluator.RUN_TOKENS", 1)
    dictionary, x = make("topk", k=1), data()
    code = dictionary.encode(torch.from_numpy(x.astype(np.float32)).reshape(-1, D))
    fires = (code.reshape(N, T, M) > 0).any(dim=1).numpy()
    order = np.argsort(fires.sum(axis=0), kind="stable")
    sizes = [0, 5, 10, 15, 20]
    changed = sum(int(fires[:, order[low:high]].any(axis=1).sum()) for low, high in pairwise(sizes))
    assert changed < 4 * N / 2  # the data must leave something to save
    network = Network()
    predict_prefixes(evaluating(dictionary, network, x), order, sizes)
    rows = sum(len(batch) for batch in network.seen)
    assert rows == -(-(N + changed) // 8) * 8


@pytest.mark.parametrize(("run", "images"), [(1, 8), (8 * T, 8), (8 * T + 1, 9), (40 * T, 40)])
def test_embedding_batches_all_have_one_shape(
    run: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the batches, or as many images as fill a run through the layers; which it is leaves predictions."""
    dictionary, network, x = make("topk"), Network(), data()
    of, sets = evaluating(dictionary, network, x), random_features(dictionary)
    monkeypatch.setattr("clipsteer.steering.evaluator.RUN_TOKENS", run)
    found = predict_sets(of, sets).edited
    assert {tuple(batch.shape) for batch in network.seen} == {(images, T, D)}
    monkeypatch.undo()
    np.testing.assert_array_equal(found, predict_sets(of, sets).edited)


def test_a_single_token_fills_no_run() -> None:
    """CLS of the last layer goes through no layer any more."""
    seen = []

    def embed(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return x[:, 0]

    of = evaluating(make("topk"), Network(), data()[:, :1])
    of = replace(of, embed=embed, classify=lambda x: x.argmax(dim=1).numpy())
    predict_sets(of, random_features(of.dictionary))
    assert {*seen} == {(8, 1, D)}


def test_equal_sets_are_evaluated_once() -> None:
    dictionary, x = make("vanilla"), data()
    one, many = Network(), Network()
    single = predict_sets(evaluating(dictionary, one, x), [np.array([3, 7, 1])]).edited
    sets = [np.array([3, 7, 1]), np.array([1, 3, 7]), np.array([7, 3, 1])]
    found = predict_sets(evaluating(dictionary, many, x), sets).edited
    assert len(many.seen) == len(one.seen)
    np.testing.assert_array_equal(found, np.repeat(single, 3, axis=0))


def test_last_layer_may_be_cut_to_cls() -> None:
    dictionary, x = make("topk"), data()
    network = Network(tokens=1)

    def embed(edited: torch.Tensor) -> torch.Tensor:
        return network.embed(edited[:, :1])

    sets = random_features(dictionary)
    for tokens in ("all", "cls", "spatial"):
        how: dict[str, Any] = {"tokens": tokens, "embed": embed}
        whole = predict_sets(evaluating(dictionary, network, x, **how), sets).edited
        cut = predict_sets(evaluating(dictionary, network, x[:, :1], **how), sets).edited
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
            of = evaluating(dictionary, network, x, size=20)
            predict_prefixes(of, order, [3, 100, 513, 1500])
        finally:
            torch.set_num_threads(before)
        rows.append(torch.cat(network.seen).numpy().tobytes())
    assert rows[0] == rows[1]


def test_class_indices_beyond_two_bytes() -> None:
    network, x = Network(), data()
    classify = lambda embeddings: network.classify(embeddings) + 99_998  # noqa: E731
    of = evaluating(make("topk"), network, x, classify=classify)
    assert predict_sets(of, [np.array([1])]).edited.min() >= 99_998


def test_nan_is_refused() -> None:
    network, x = Network(), data()
    x[20, 1, 1] = np.nan
    with pytest.raises(
        ClipsteerError, match=r"image embedding is NaN.*steering\.baselines\.scales"
    ):
        predict_sets(evaluating(make("vanilla"), network, x), [np.array([1, 2])])


def test_misuse_is_refused() -> None:
    of = evaluating(make("topk"), Network(), data())
    gap = replace(of, batches=lambda: (batch for batch in batches(data()) if batch[0] != 8))
    with pytest.raises(ValueError, match="starts at image 16, expected 8"):
        predict_sets(gap, [np.array([1])])
    with pytest.raises(ValueError, match="sizes must ascend"):
        predict_prefixes(of, np.arange(M), [3, 1])
    with pytest.raises(ValueError, match="sizes must ascend"):
        predict_prefixes(of, np.arange(4), [5])
    with pytest.raises(ValueError, match=r"in 0\.\.23"):
        predict_sets(of, [np.array([M])])


def test_no_images() -> None:
    nothing = evaluating(make("topk"), Network(), data()[:0])
    assert predict_sets(nothing, [np.array([1]), np.array([], int)]).edited.shape == (2, 0)
