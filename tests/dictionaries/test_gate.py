"""The check of a released dictionary: measured by loops, and a verdict that names what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.evaluate import evaluate
from clipsteer.dictionaries.gate import Measured, judge, measure, other_ways
from clipsteer.dictionaries.tokens import edited, its_own
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.vanilla import Vanilla
from clipsteer.errors import ClipsteerError
from tests.dictionaries import helpers

WIDTH, IMAGES, TOKENS = 8, 24, 5


def activations(seed: int = 0, offset: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((IMAGES, TOKENS, WIDTH)) + offset * np.arange(WIDTH)).astype(
        np.float32
    )


def blocks(x: np.ndarray, size: int = 7) -> Callable[[], Iterable[np.ndarray]]:
    return lambda: (x[i : i + size] for i in range(0, len(x), size))


def exact(b_dec: np.ndarray) -> dict[str, torch.Tensor]:
    """x = b_dec + relu(x - b_dec) - relu(b_dec - x): nothing is lost as long as b_dec is subtracted."""
    eye = torch.eye(WIDTH)
    return {
        "W_enc": torch.cat([eye, -eye], dim=1),
        "b_enc": torch.zeros(2 * WIDTH),
        "W_dec": torch.cat([eye, -eye]),
        "b_dec": torch.from_numpy(b_dec),
    }


def verdict(dictionary: Dictionary, x: np.ndarray) -> Any:
    found = measure(dictionary, blocks(x), cls=0)
    ways = other_ways(dictionary, subtracts_b_dec=True)
    others = {
        words: measure(other, blocks(x), cls=0, layer_norm=norm).explained_variance
        for words, (other, norm) in ways.items()
    }
    return judge(found, found.explained_variance, others, {})


@pytest.mark.parametrize("tokens", ["all", "cls", "spatial"])
@pytest.mark.parametrize("kind", ["vanilla", "topk"])
def test_measures_agree_with_loops_and_with_the_evaluation(kind: str, tokens: Any) -> None:
    x = activations()
    dictionary = helpers.make(kind, d=WIDTH, dtype=torch.float32)
    dictionary.tokens = tokens
    found = measure(dictionary, blocks(x), cls=0)
    own = x[:, {"all": slice(None), "cls": slice(0, 1), "spatial": slice(1, None)}[tokens]]
    flat = torch.from_numpy(own.reshape(-1, WIDTH))
    codes = helpers.encode(dictionary, flat)
    output = helpers.decode(dictionary, codes)
    rows = flat.double().numpy()
    variance = ((rows - rows.mean(axis=0)) ** 2).sum()
    assert found.explained_variance == pytest.approx(
        1 - ((output - rows) ** 2).sum() / variance, rel=1e-5
    )
    fired = (codes > 0).reshape(IMAGES, -1, dictionary.m)
    assert found.l0 == pytest.approx(fired.sum(axis=2).mean())
    assert found.l0_cls == (
        None if tokens == "spatial" else pytest.approx(fired[:, 0].sum(axis=1).mean())
    )
    assert found.alive_fraction == pytest.approx(fired.any(axis=(0, 1)).mean())
    whole = evaluate(dictionary, blocks(x))
    assert whole["explained_variance"] == pytest.approx(found.explained_variance, rel=1e-5)
    assert (whole["l0"], whole["l0_cls"]) == (
        pytest.approx(found.l0),
        found.l0_cls and pytest.approx(found.l0_cls),
    )
    assert (whole["l0_spatial"] is None) == (tokens == "cls")


def test_without_a_cls_token_nothing_is_said_of_one() -> None:
    """All tokens are spatial, and nothing else is measured otherwise."""
    x = activations()
    dictionary = Vanilla(**exact(x.mean(axis=(0, 1))))
    found, with_cls = (measure(dictionary, blocks(x), cls=cls) for cls in (None, 0))
    assert (found.l0_cls, with_cls.l0_cls) == (None, pytest.approx(8.0))
    assert found == with_cls._replace(l0_cls=None)
    said = judge(found, found.explained_variance, {}, {})
    assert said["l0_cls"] is None
    assert said["sentence"] == (
        "accept: explained variance 1.00, L0 8.0, 100% of its features fire"
    )


def test_layer_norm_is_taken_token_by_token_and_undone() -> None:
    x = activations()
    dictionary = Vanilla(**exact(np.zeros(WIDTH, np.float32)))
    for scaled in (x, x * 100 + 7):
        found = measure(dictionary, blocks(scaled), cls=0, layer_norm=True)
        assert found.explained_variance > 0.999


def test_one_that_fits_is_accepted() -> None:
    x = activations()
    said = verdict(Vanilla(**exact(x.mean(axis=(0, 1)))), x)
    assert said["verdict"] == "accept"
    assert said["sentence"].startswith(
        "accept: explained variance 1.00, L0 8.0, L0 of CLS 8.0, 100% of"
    )


def test_b_dec_that_was_never_subtracted_is_found_out() -> None:
    x = activations()
    tensors = exact(x.mean(axis=(0, 1)))
    shifted = tensors["b_dec"] @ tensors["W_enc"]
    tensors["b_enc"] = -shifted  # trained on x itself, so that x - b_dec is shifted twice
    said = verdict(Vanilla(**{**tensors, "b_enc": tensors["b_enc"]}), x)
    assert said["verdict"] == "reject"
    assert "it fits better without subtracting b_dec (explained variance 1.00)" in said["sentence"]


def test_a_relu_dictionary_read_as_topk_is_found_out() -> None:
    x = activations()
    said = verdict(TopK(**exact(x.mean(axis=(0, 1))), k=2), x)
    assert said["verdict"] in ("doubtful", "reject")
    assert "it fits better as ReLU instead of Top-K" in said["sentence"]


def test_one_of_normalised_activations_is_found_out() -> None:
    """Tokens that are one pattern at many scales: a constant says all of it, once they are normalised."""
    rng = np.random.default_rng(3)
    pattern = rng.standard_normal(WIDTH)
    scale, shift = rng.uniform(1, 9, (2, IMAGES, TOKENS, 1))
    x = (scale * pattern + shift).astype(np.float32)
    normal = (pattern - pattern.mean()) / pattern.std(ddof=1)
    tensors = exact(normal.astype(np.float32))
    said = verdict(Vanilla(**{**tensors, "b_enc": torch.full((2 * WIDTH,), -1e3)}), x)
    assert said["verdict"] == "reject"
    assert (
        "it fits better with layer norm of each token (explained variance 1.00)" in said["sentence"]
    )


FINE = Measured(0.97, 1500.0, 30.0, 0.4)
ROW = {"explained_variance": 0.98, "l0": 1500.0, "l0_cls": 27.0}


@pytest.mark.parametrize(
    ("found", "others", "published", "expected", "words"),
    [
        (FINE, {"on layer 4": 0.5}, ROW, "accept", "explained variance 0.97"),
        (FINE, {}, {}, "accept", "L0 of CLS 30.0"),
        (FINE._replace(explained_variance=0.7), {}, {}, "doubtful", "it explains only 0.70"),
        (FINE._replace(explained_variance=0.4), {}, {}, "reject", "it explains 0.40 of the variance, expected at"),
        (FINE._replace(explained_variance=float("nan")), {}, {}, "reject", "expected at least 0.5"),
        (FINE._replace(l0=200.0), {}, ROW, "reject", "200 features fire on a token, but 1500 are published"),
        (FINE._replace(l0=8000.0), {}, ROW, "reject", "8000 features fire"),
        (FINE._replace(l0=600.0), {}, ROW, "doubtful", "600 features fire on a token, but 1500 are published"),
        (FINE._replace(explained_variance=0.85), {}, ROW, "doubtful", "0.98 of the variance are published"),
        (FINE._replace(explained_variance=0.85), {"on layer 4": 0.97}, {}, "doubtful",
         "it fits better on layer 4 (explained variance 0.97)"),
        (FINE._replace(explained_variance=-0.3), {"on layer 4": -0.1}, {}, "reject", "it explains -0.30"),
        (FINE._replace(explained_variance=-0.3), {"on layer 4": 0.9}, {}, "reject", "it fits better on layer 4"),
    ],
)  # fmt: skip
def test_verdicts(
    found: Measured,
    others: dict[str, float],
    published: dict[str, float],
    expected: str,
    words: str,
) -> None:
    said = judge(found, found.explained_variance, others, published)
    assert said["verdict"] == expected
    assert words in said["sentence"]
    assert ("fits better" in said["sentence"]) == ("fits better" in words)


def test_another_width_is_another_clip() -> None:
    with pytest.raises(ClipsteerError, match="of width 7 and activations of width 8"):
        measure(helpers.make("vanilla", dtype=torch.float32), blocks(activations()), cls=0)


def test_a_dictionary_stays_on_its_tokens() -> None:
    dictionary = helpers.make("vanilla", d=WIDTH)
    x = activations()
    for tokens, width in (("all", TOKENS), ("cls", 1), ("spatial", TOKENS - 1)):
        dictionary.tokens = tokens  # type: ignore[assignment]
        ((start, own),) = its_own([(4, x)], dictionary, "mean")
        assert (start, own.shape) == (4, (IMAGES, width, WIDTH))
        assert np.array_equal(own, x[:, -width:] if tokens == "spatial" else x[:, :width])
        assert dictionary.to("cpu").tokens == tokens
        assert edited("all", dictionary) == tokens
        assert edited(tokens, dictionary) == tokens  # type: ignore[arg-type]
    with pytest.raises(
        ClipsteerError, match=r"steering\.tokens: found cls, .* on spatial tokens alone"
    ):
        edited("cls", dictionary)
    with pytest.raises(ClipsteerError, match=r"steering\.aggregate: found cls"):
        next(its_own([(0, x)], dictionary, "cls"))
    with pytest.raises(ClipsteerError, match=r"^tokens: found cls, .* expected spatial or all\."):
        edited("cls", dictionary, "tokens")
    with pytest.raises(ClipsteerError, match=r"^typographic\.aggregate: found cls, .* or max\."):
        next(its_own([(0, x)], dictionary, "cls", "typographic.aggregate"))
    dictionary.tokens = "all"
    assert edited("cls", dictionary) == "cls"
