from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.backbones.tokens import Tokens
from clipsteer.steering.ablation import predict_edits, predict_sets
from clipsteer.steering.intervention import (
    Affine,
    AffineEdit,
    ClassBias,
    FeatureEdit,
    LinearHead,
    NoEdit,
    predict_readout,
    projection,
)
from tests.steering.test_ablation import (
    CLASSES,
    KINDS,
    D,
    N,
    Network,
    T,
    batches,
    data,
    evaluating,
    make,
)

TOKENS: list[Tokens] = ["all", "spatial", "cls"]
RANK = 2


def affine(seed: int = 0, scale: float = 0.7) -> AffineEdit:
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape))

    maps: dict[Any, Affine] = {
        kind: Affine(drawn(D), drawn(D, RANK), drawn(D, RANK)) for kind in ("cls", "spatial")
    }
    return AffineEdit(maps, scale)


def moved(edit: AffineEdit, image: np.ndarray, tokens: Tokens) -> np.ndarray:
    """The definition in float64, token by token, coordinate by coordinate."""
    out = image.astype(np.float64)
    for t in range(len(image)):
        kind: Any = "cls" if t == 0 else "spatial"
        if tokens not in ("all", kind):
            continue
        mu, a, b = (part.double().numpy() for part in edit.maps[kind])
        for r in range(a.shape[1]):
            along = sum((float(image[t, i]) - mu[i]) * a[i, r] for i in range(D))
            out[t] -= edit.scale * along * b[:, r]
    return out


@pytest.mark.parametrize("tokens", TOKENS)
def test_an_affine_edit_is_its_formula(tokens: Tokens) -> None:
    edit, x = affine(), data(n=4).astype(np.float64)
    found = edit.apply(torch.from_numpy(x), tokens).numpy()
    for image, after in zip(x, found, strict=True):
        np.testing.assert_allclose(after, moved(edit, image, tokens), rtol=0, atol=1e-12)


@settings(max_examples=30)
@given(st.integers(0, D), st.integers(0, 1000))
def test_a_projection_leaves_nothing_of_its_span_and_is_idempotent(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    basis = torch.from_numpy(np.linalg.qr(rng.normal(size=(D, D)))[0][:, :rank])
    x = torch.from_numpy(data(seed, n=3).astype(np.float64))
    once = projection(basis).apply(x, "all")
    assert float((once @ basis).abs().sum()) < 1e-10
    torch.testing.assert_close(projection(basis).apply(once, "all"), once, rtol=0, atol=1e-12)
    removed = x - once
    assert float((removed * once).sum(dim=-1).abs().max()) < 1e-10


def test_scale_0_and_no_edit_are_nothing() -> None:
    x = torch.from_numpy(data().astype(np.float32))
    assert torch.equal(affine(scale=0.0).apply(x, "all"), x)
    assert NoEdit().apply(x, "all") is x


@pytest.mark.parametrize("hook", ["resid_post", "mlp_out"])
@pytest.mark.parametrize("tokens", TOKENS)
def test_predictions_of_edits_equal_plain_loops(tokens: Tokens, hook: str) -> None:
    x, network = data(), Network()
    base = None if hook == "resid_post" else data(9)
    edits = [affine(), NoEdit(), affine(1, 1.5), projection(torch.eye(D)[:, :3])]
    of = evaluating(make("neurons"), network, x, base=base, tokens=tokens)
    resumed, found = predict_edits(of, edits)
    expected = np.zeros((len(edits), N), dtype=int)
    for e, edit in enumerate(edits):
        for i, image in enumerate(x):
            after = image.astype(np.float64)
            if isinstance(edit, AffineEdit):
                after = moved(edit, image, tokens)
            if base is not None:
                after = base[i].astype(np.float64) + (after - image.astype(np.float64))
            logits = np.sort(network.logits64(after))
            assert logits[-1] - logits[-2] > 1e-5  # no near-tie that float32 might turn
            expected[e, i] = network.logits64(after).argmax()
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(resumed, expected[1])
    assert len(np.unique(expected, axis=0)) == len(edits)


@pytest.mark.parametrize("kind", ["topk", "neurons"])
@pytest.mark.parametrize("error_term", ["keep", "drop"])
def test_a_feature_edit_is_what_predict_sets_does(kind: str, error_term: Any) -> None:
    x, network, dictionary = data(), Network(), make(kind)
    sets = [np.arange(size) for size in (1, 3, dictionary.m)]
    edits = [FeatureEdit(dictionary, features, error_term=error_term) for features in sets]
    of = evaluating(dictionary, network, x, error_term=error_term)
    expected = predict_sets(of, sets).edited
    # of another dictionary than the evaluator's own, each is what its `apply` gives
    other = evaluating(make(kind), network, x, error_term=error_term)
    for asked in (of, other):
        np.testing.assert_array_equal(predict_edits(asked, edits).edited, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("error_term", ["keep", "drop"])
@pytest.mark.parametrize("hook", ["resid_post", "mlp_out"])
def test_an_ablated_stream_is_what_apply_gives(
    kind: str, tokens: Tokens, error_term: Any, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit at `resid_post`, with the same features encoded: ascending ones, in batches of the same images."""
    monkeypatch.setattr("clipsteer.steering.intervention.SUM_BLOCK", 3)
    dictionary, x = make(kind), data()
    base = None if hook == "resid_post" else data(9)
    stream = np.dtype(f"V{T * D * 4}")  # a "class" is all that the forward pass resumes from
    of = evaluating(
        *(dictionary, Network(), x),
        base=base,
        tokens=tokens,
        error_term=error_term,
        embed=lambda edited: edited.flatten(1),
        classify=lambda edited: edited.numpy().view(stream)[:, 0],
        reads=stream,
    )
    for size in (1, 5, dictionary.m):
        features = np.sort(np.random.default_rng(size).permutation(dictionary.m)[:size])
        edit = FeatureEdit(dictionary, features, error_term=error_term)
        (found,) = predict_sets(of, [features]).edited
        expected = []
        for _, hook_batch, base_batch in batches(x, base=base):
            at_hook = torch.from_numpy(hook_batch.astype(np.float32))
            after = edit.apply(at_hook, tokens)
            if base_batch is not None:
                after = torch.from_numpy(base_batch.astype(np.float32)) + (after - at_hook)
            expected.append(after)
        wanted = torch.cat(expected).numpy()
        # of `mlp_out` the change itself is added to the stream; apply has it as a difference, rounded twice more
        largest = 0.0 if base is None else 4 * np.finfo(np.float32).eps * abs(wanted).max()
        edited = found.copy().view(np.float32).reshape(wanted.shape)
        np.testing.assert_allclose(edited, wanted, rtol=0, atol=largest)
        assert (edited != (x if base is None else base)).any()


def test_images_that_no_edit_changes_are_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipsteer.steering.evaluator.RUN_TOKENS", 1)
    x, network = data(n=16), Network()
    predict_edits(evaluating(make("topk"), network, x), [NoEdit(), affine(scale=0.0)])
    assert sum(len(batch) for batch in network.seen) == 16


def test_readouts_are_their_formulas() -> None:
    rng = np.random.default_rng(3)
    embeddings, head = rng.normal(size=(50, 6)), rng.normal(size=(CLASSES, 6))
    head /= np.linalg.norm(head, axis=1, keepdims=True)
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    bias, weights = rng.normal(size=CLASSES) / 4, rng.normal(size=(6, CLASSES))
    given = torch.from_numpy(embeddings), torch.from_numpy(head)
    biased = predict_readout(ClassBias(torch.from_numpy(bias)), *given)
    np.testing.assert_array_equal(biased, (units @ head.T + bias).argmax(axis=1))
    assert (biased != (units @ head.T).argmax(axis=1)).any()
    linear = LinearHead(torch.from_numpy(weights), torch.from_numpy(bias))
    found = predict_readout(linear, *given)
    np.testing.assert_array_equal(found, (units @ weights + bias).argmax(axis=1))
