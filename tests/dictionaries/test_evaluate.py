"""Metrics against one-token-at-a-time numpy in float64."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from clipsteer.dictionaries import evaluate as module
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.evaluate import evaluate
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.errors import ClipsteerError
from tests.dictionaries import helpers


def oracle(dictionary: Dictionary, images: np.ndarray) -> dict[str, Any]:
    """Every metric by its definition."""
    n, t, d = images.shape
    flat = images.reshape(-1, d).astype(np.float64)
    codes = helpers.encode(dictionary, torch.from_numpy(flat))
    output = helpers.decode(dictionary, codes)
    mean = flat.mean(axis=0)
    errors = [float(((a - b) ** 2).sum()) for a, b in zip(flat, output, strict=True)]
    spreads = [float(((a - mean) ** 2).sum()) for a in flat]
    cosines = [float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in zip(flat, output, strict=True)]
    by_dim = [
        float(flat[:, c] @ output[:, c])
        / np.sqrt(float((flat[:, c] ** 2).sum() * (output[:, c] ** 2).sum()))
        for c in range(d)
    ]
    active = (codes > 0).reshape(n, t, -1)
    frequency = active.reshape(n * t, -1).mean(axis=0)
    return {
        "explained_variance": 1 - sum(errors) / sum(spreads),
        "explained_variance_prisma": np.mean(
            [1 - e / s for e, s in zip(errors, spreads, strict=True)]
        ),
        "mean_squared_error": sum(errors) / (n * t * d),
        "l0": active.sum() / (n * t),
        "l0_cls": active[:, 0].sum() / n,
        "l0_spatial": active[:, 1:].sum() / (n * (t - 1)),
        "image_l0": np.mean([image.sum() for image in active]),
        "image_l0_distinct": np.mean([len(set(image.nonzero()[1])) for image in active]),
        "cosine_similarity": np.mean(cosines),
        "cosine_similarity_prisma": np.mean(by_dim),
        "alive_fraction": (frequency > 0).mean(),
        "dead_fraction": (frequency == 0).mean(),
    }


def activations(images: int = 11, tokens: int = 5) -> np.ndarray:
    """Images whose CLS token is unlike the others."""
    x = helpers.tokens(images * tokens, 7).reshape(images, tokens, 7).numpy().copy()
    x[:, 0] = x[:, 0] * 0.2 - 1
    return x.astype(np.float32)


@pytest.mark.parametrize("kind", ["vanilla", "topk"])
def test_metrics_agree_with_loops(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks of three images, so that sums run over blocks and batches.
    monkeypatch.setattr(module, "BLOCK_TOKENS", 15)
    images = activations()
    dictionary = helpers.make(kind, dtype=torch.float32)
    dictionary.b_enc[4] = -100.0
    expected = oracle(dictionary, images)
    seen: list[int] = []
    found = evaluate(dictionary, lambda: [images[:7], images[7:]], progress=seen.append)
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    # Top-K always fires k times here, so only the vanilla code can tell CLS from spatial tokens.
    assert (expected["l0_cls"] != expected["l0_spatial"]) == (kind == "vanilla")
    assert 0 < expected["dead_fraction"] < 1
    assert found["l0_by_token"][0] == found["l0_cls"]
    assert sum(found["density"]["counts"]) == round(found["alive_fraction"] * 20)
    assert (found["n_images"], found["n_tokens"], sum(seen)) == (11, 55, 22)
    json.dumps(found, allow_nan=False)


def test_density_counts_features_by_log_frequency() -> None:
    # One neuron fires on every token, one on a tenth, one never: bins of log10 0, -1, and none.
    x = np.full((5, 4, 3), -1.0, dtype=np.float32)
    x[..., 0] = 1.0
    x[0, :2, 1] = 1.0
    found = evaluate(NeuronBasis(3), lambda: [x])
    density = dict(zip(found["density"]["edges"], found["density"]["counts"], strict=False))
    assert {edge: count for edge, count in density.items() if count} == {-1.0: 1, -0.25: 1}
    assert found["alive_fraction"] == pytest.approx(2 / 3)
    assert found["explained_variance"] == 1.0
    assert found["cosine_similarity"] == pytest.approx(1.0)
    assert found["image_l0_distinct"] == pytest.approx(6 / 5)


def test_threads_do_not_change_the_metrics() -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((40, 50, 96), dtype=np.float32)
    dictionary = helpers.make("topk", d=96, m=768, k=16, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            results.append(evaluate(dictionary, lambda: [images[:25], images[25:]]))
        finally:
            torch.set_num_threads(before)
    assert results[0] == results[1]


def test_no_cls_token() -> None:
    """All tokens are spatial, and nothing else is counted otherwise."""
    images = activations()
    dictionary = helpers.make("vanilla", dtype=torch.float32)
    found, with_cls = (evaluate(dictionary, lambda: [images], cls=cls) for cls in (None, 0))
    assert found["l0_cls"] is None
    assert found["l0_spatial"] == pytest.approx(found["l0"]) != with_cls["l0_spatial"]
    apart = ("l0_cls", "l0_spatial")
    assert {k: v for k, v in found.items() if k not in apart} == {
        k: v for k, v in with_cls.items() if k not in apart
    }


def test_only_a_cls_token() -> None:
    found = evaluate(NeuronBasis(7), lambda: [activations(4, 1)])
    assert found["l0_spatial"] is None
    assert found["l0"] == found["l0_cls"]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "found none"),
        ([np.zeros((2, 5, 8), np.float32)], r"shape \(2, 5, 8\), expected \(images, tokens, 7\)"),
        ([np.zeros((2, 5, 7)), np.zeros((2, 4, 7))], r"expected \(images, 5, 7\)"),
        ([np.full((2, 5, 7), np.inf)], "found NaN or infinite"),
    ],
)
def test_unfit_activations_are_refused(batches: list[np.ndarray], message: str) -> None:
    with pytest.raises(ClipsteerError, match=message):
        evaluate(NeuronBasis(7), lambda: batches)
