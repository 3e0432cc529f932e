"""Steered probabilities and what is measured of them, against transformers' own pass with hooks in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.device import exact_inference
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family
from clipsteer.backbones.tokens import Tokens, token_span, tokens_meant
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.random_directions import RandomDirections
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.vanilla import Vanilla
from clipsteer.errors import ClipsteerError
from clipsteer.steering import steered
from clipsteer.steering.controls import random_directions
from clipsteer.steering.measured import Journal, Measured, Wanted, frames, measure
from clipsteer.steering.steerability import Sums, distances
from clipsteer.steering.steered import ClosedForm, Passes, ResumedPasses, SteeredPlace, passes
from tests.backbones.hooked import changed, modules
from tests.backbones.tiny import make_tiny, photos

D, M, N, LAST = 16, 24, 7, 2
FEATURES = np.array([5, 0, 11, 3, 8])
WORDS = ["cat", "a dog", "sea", "hat", "blond", "x"]
Floats = NDArray[np.float64]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return loaded(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return loaded("clip", tmp_path_factory)


MODELS: dict[Family, Backbone] = {}


def loaded(family: Family, factory: pytest.TempPathFactory) -> Backbone:
    if family not in MODELS:
        folder = make_tiny(factory.mktemp("model") / "m", family=family)
        MODELS[family] = load_backbone(folder, device="cpu")
    return MODELS[family]


@cache
def vocabulary(backbone: Backbone) -> torch.Tensor:
    return torch.nn.functional.normalize(backbone.text(WORDS), dim=1)


def dictionary_of(kind: str) -> Dictionary:
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(M, D, generator=generator), dim=1)
    if kind == "neurons":
        return NeuronBasis(D)
    if kind == "random":
        return RandomDirections(torch.from_numpy(random_directions(M, D, 3)))
    parts = (
        torch.randn(D, M, generator=generator),
        0.1 * torch.randn(M, generator=generator),
        rows,
        0.1 * torch.randn(D, generator=generator),
    )
    return TopK(*parts, k=5) if kind == "topk" else Vanilla(*parts)


@cache
def taken(backbone: Backbone, hook_point: str, layer: int) -> tuple[Any, Any]:
    """What passes a hook point for N images, and the residual stream where that is another."""
    _, kept = backbone.run(backbone.pixels(photos(N)), ["resid_post", "mlp_out"])
    base = None if hook_point == "resid_post" else kept["resid_post"][layer].numpy()
    return kept[hook_point][layer].numpy(), base


Made = Callable[..., Passes]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """`made(backbone, layer, kind)`: its passes over the images, in batches of 3."""

    def make(
        backbone: Backbone,
        layer: int,
        kind: str,
        *,
        hook_point: str = "resid_post",
        tokens: Tokens = "all",
        features: NDArray[np.int64] = FEATURES,
        by_formula: bool = True,
    ) -> Passes:
        hook, base = taken(backbone, hook_point, layer)
        meant = token_span(tokens_meant(tokens, backbone.cls), hook.shape[1])
        place = SteeredPlace(backbone, layer, dictionary_of(kind), meant, vocabulary(backbone))
        batches = [
            (hook[low : low + 3], None if base is None else base[low : low + 3])
            for low in range(0, N, 3)
        ]
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        if not by_formula:
            return ResumedPasses(place, features, batches, folder)
        return passes(place, features, batches, folder)

    return make


def steered_probabilities(found: Passes, strength: float) -> Floats:
    """P~ (F, N, V) of all features and images."""
    after = np.full((len(found.numbers), N, len(WORDS)), np.nan)
    seen = np.zeros(len(found.numbers), np.int64)
    with exact_inference():
        for start in (0, 4):
            stop = min(N, start + 4)
            for part in found.stretches(np.arange(len(found.numbers)), start, stop, strength):
                low = seen[part.place]
                after[part.place, low : low + len(part.after)] = part.after.numpy()
                seen[part.place] += len(part.after)
    return after


def oracle(
    backbone: Backbone, layer: int, kind: str, strength: float, hook_point: str, tokens: Tokens
) -> tuple[Floats, Floats]:
    """P (N, V) and P~ (F, N, V): float64, a hook and a whole pass for each feature and image."""
    model = copy.deepcopy(backbone.model).double()
    dictionary = dictionary_of(kind)
    doubled = {
        name: getattr(dictionary, name).double() for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    }
    words = backbone.text(WORDS).double().numpy()
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    span = token_span(tokens_meant(tokens, backbone.cls), backbone.n_tokens)

    def probabilities(pixels: torch.Tensor) -> Floats:
        with torch.no_grad():
            row = model.get_image_features(pixel_values=pixels).pooler_output.numpy()
        logits = backbone.logit_scale * (row / np.linalg.norm(row)) @ words.T
        shares = np.exp(logits - logits.max())
        return np.asarray(shares / shares.sum())[0]

    def code(x: torch.Tensor, feature: int) -> torch.Tensor:
        if kind == "neurons":
            return x[:, feature]
        pre = (x - doubled["b_dec"]) @ doubled["W_enc"] + doubled["b_enc"]
        if kind == "random":
            return pre[:, feature]
        if kind == "topk":
            least = pre.sort(dim=1, descending=True).values[:, 4:5]
            pre = torch.where(pre >= least, pre, 0)
        return pre[:, feature].clamp(min=0)

    def edit(feature: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def change(x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            rows = x[0, span]
            by = strength - code(rows, feature)
            x[0, span] = rows + by[:, None] * doubled["W_dec"][feature]
            return x

        return change

    images = [backbone.pixels([photo]).double() for photo in photos(N)]
    before = np.stack([probabilities(image) for image in images])
    after = np.zeros((len(FEATURES), *before.shape))
    for row, feature in enumerate(FEATURES.tolist()):
        with changed(modules(model, hook_point)[layer], edit(feature)):
            after[row] = [probabilities(image) for image in images]
    return before, after


CASES = [
    *((layer, kind, "resid_post", "all") for layer in (0, 1, LAST) for kind in ("vanilla", "topk")),
    *((layer, kind, "resid_post", "all") for layer in (1, LAST) for kind in ("neurons", "random")),
    *((layer, "vanilla", "mlp_out", "all") for layer in (0, LAST)),
    *((layer, "vanilla", "resid_post", "spatial") for layer in (1, LAST)),
]


@pytest.mark.parametrize(("layer", "kind", "hook_point", "tokens"), CASES)
def test_probabilities_are_those_of_a_hook_and_a_whole_pass(
    backbone: Backbone, made: Made, layer: int, kind: str, hook_point: str, tokens: Tokens
) -> None:
    strength = 3.0
    found = made(backbone, layer, kind, hook_point=hook_point, tokens=tokens)
    assert isinstance(found, ClosedForm) == (backbone.FAMILY == "clip" and layer == LAST)
    before, after = oracle(backbone, layer, kind, strength, hook_point, tokens)
    np.testing.assert_allclose(steered_probabilities(found, strength), after, atol=2e-5)
    with exact_inference():
        (*_, last) = found.stretches(np.array([0]), 0, N, strength)
    np.testing.assert_allclose(last.before.numpy(), before[-len(last.before) :], atol=2e-5)
    moved = np.abs(after - before).max()
    behind_cls = backbone.FAMILY == "clip" and layer == LAST and tokens == "spatial"
    assert (moved < 1e-12) == behind_cls
    assert moved > 0.01 or behind_cls


@pytest.mark.parametrize("kind", ["vanilla", "topk", "neurons", "random"])
@pytest.mark.parametrize("strength", [-20.0, 0.0, 150.0])
def test_the_closed_form_is_the_full_pass(
    clip: Backbone, made: Made, kind: str, strength: float
) -> None:
    formula = steered_probabilities(made(clip, LAST, kind), strength)
    resumed = steered_probabilities(made(clip, LAST, kind, by_formula=False), strength)
    np.testing.assert_allclose(formula, resumed, atol=1e-5)


def test_measures_are_their_definitions(clip: Backbone, made: Made) -> None:
    """Eq. 4, 5 and 11 from the oracle's probabilities, word by word."""
    found = made(clip, 1, "vanilla")
    distance, length = distances(vocabulary(clip))
    rows = measure(found, wanted([3.0]), distance, Journal()).scores
    before, after = oracle(clip, 1, "vanilla", 3.0, "resid_post", "all")
    words = vocabulary(clip).double().numpy()
    centre = sum(words) / len(words)
    assert length == pytest.approx(np.sqrt((centre**2).sum()))
    for j in range(len(FEATURES)):
        change = [after[j, i] - before[i] for i in range(N)]
        delta = np.abs(sum(change) / N)
        given = sum(after[j]) / N
        concept = int(given.argmax())
        assert rows.feature[j] == FEATURES[j]
        assert rows.s_paper[j] == pytest.approx(sum((c**2).sum() for c in change) / N, abs=1e-5)
        assert rows.s_prisma[j] == pytest.approx((delta**2).sum(), abs=1e-5)
        assert rows.delta[j] == pytest.approx(delta[concept], abs=1e-5)
        assert rows.delta_max[j] == pytest.approx(delta.max(), abs=1e-5)
        assert rows.delta_word[j] == delta.argmax()
        assert rows.top_words[j].tolist() == np.argsort(-given).tolist()
        np.testing.assert_allclose(rows.top_probabilities[j], np.sort(given)[::-1], atol=1e-5)
        assert rows.entropy[j] == pytest.approx(-(given * np.log(given)).sum(), abs=1e-4)
        far = [np.sqrt(((word - centre) ** 2).sum()) for word in words]
        assert rows.d[j] == pytest.approx((given * far).sum(), abs=1e-5)


def test_frequencies_are_those_of_the_code(clip: Backbone, made: Made) -> None:
    found = made(clip, 1, "topk")
    hook, _ = taken(clip, "resid_post", 1)
    code = dictionary_of("topk").encode(torch.from_numpy(hook).reshape(-1, D)).numpy()
    above = code.reshape(N, -1, M)[:, :, FEATURES] > 0
    np.testing.assert_allclose(found.frequency.images, above.any(axis=1).mean(axis=0))
    np.testing.assert_allclose(found.frequency.tokens, above.mean(axis=(0, 1)))
    scores, curves = frames(measure(found, wanted([1.0, 3.0]), *measuring(clip)), found)
    assert scores["frequency"].to_list() == found.frequency.images.tolist()
    assert scores["sample"].to_list() == list(range(len(FEATURES)))
    assert curves["role"].unique().sort().to_list() == ["chosen", "least", "median", "most"]


def wanted(strengths: list[float], stop_below: float | None = None) -> Wanted:
    return Wanted(np.arange(len(FEATURES)), np.array([4]), 2, strengths, stop_below)


def measuring(backbone: Backbone, journal: Journal | None = None) -> tuple[Floats, Journal]:
    return distances(vocabulary(backbone))[0], journal or Journal()


def equal(a: Measured, b: Measured) -> bool:
    tables = [
        (a.scores, b.scores),
        *((x[1], y[1]) for x, y in zip(a.curves, b.curves, strict=True)),
    ]
    same = all(
        x.tobytes() == y.tobytes() for one, two in tables for x, y in zip(one, two, strict=True)
    )
    return same and (a.asymptote, a.reached) == (b.asymptote, b.reached)


@pytest.mark.parametrize("layer", [1, LAST])
def test_interrupted_and_resumed_it_comes_to_the_same(
    clip: Backbone, made: Made, layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ResumedPasses, "block", 2)
    monkeypatch.setattr(ClosedForm, "block", 2)
    strengths = [-1.0, 2.0, 4.0]
    whole = measure(made(clip, layer, "vanilla"), wanted(strengths), *measuring(clip))
    saved: list[bytes] = []

    def stop_at(place: int) -> Journal:
        def offer(before: int, after: int, content: Callable[[], bytes]) -> None:
            assert before < after
            saved.append(content())
            if after >= place:
                raise KeyboardInterrupt

        return Journal(saved[-1] if saved else None, offer)

    for place in (3, 9, 14):
        with pytest.raises(KeyboardInterrupt):
            measure(
                made(clip, layer, "vanilla"), wanted(strengths), *measuring(clip, stop_at(place))
            )
    journal = Journal(saved[-1])
    last = measure(made(clip, layer, "vanilla"), wanted(strengths), *measuring(clip, journal))
    assert equal(whole, last)


@pytest.mark.parametrize("layer", [0, LAST])
def test_threads_change_no_bit(clip: Backbone, made: Made, layer: int) -> None:
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(measure(made(clip, layer, "vanilla"), wanted([1.0, 3.0]), *measuring(clip)))
    torch.set_num_threads(before)
    assert equal(*found)


def test_what_is_left_early_is_not_steerable(
    clip: Backbone, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipsteer.steering.measured._LOOK", 3)
    plain = measure(made(clip, 1, "vanilla"), wanted([0.5]), *measuring(clip)).scores
    gamma = float(np.median(plain.s_paper))
    early = measure(made(clip, 1, "vanilla"), wanted([0.5], gamma), *measuring(clip)).scores
    left = early.images < N
    assert left.any()
    assert (plain.s_paper[left] < gamma).all()
    for name, column in early._asdict().items():
        np.testing.assert_allclose(column[~left], getattr(plain, name)[~left], rtol=1e-5, atol=1e-9)


def test_the_bound_of_what_is_left_is_students() -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    values = rng.random((2, 30)) * np.array([[0.1], [0.4]])
    sums = Sums(np.arange(2), 1)
    for place, row in enumerate(values):
        before = torch.zeros(30, 1)
        after = torch.from_numpy(np.sqrt(row)).float()[:, None]
        sums.add(place, before, np.zeros(1), after)
    bounds = [
        stats.t.ppf(0.999, 29, loc=row.mean(), scale=row.std(ddof=1) / np.sqrt(30))
        for row in values
    ]
    for bound in bounds:
        expected = [other < bound for other in bounds]
        assert sums.surely_below(bound * (1 - 1e-5)).tolist() == expected
    assert sums.surely_below(1.0).all()


def test_batches_are_full_whatever_the_feature(
    clip: Backbone, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steered, "BATCH", 8)
    sizes = []
    found = made(clip, 1, "vanilla")
    embed = ResumedPasses._embed
    monkeypatch.setattr(
        ResumedPasses, "_embed", lambda self, x: (sizes.append(len(x)), embed(self, x))[1]
    )
    steered_probabilities(found, 1.0)
    assert sizes == [8, 8, 4, 8, 7]  # five features of four images, then of three


def test_a_strength_that_overflows_is_told(made: Made, tmp_path: Path) -> None:
    half = load_backbone(make_tiny(tmp_path / "half"), device="cpu", dtype="float16")
    found = made(half, 1, "vanilla")
    said = (
        r"steerability\.strengths: at 1e\+06 an image embedding of layer 1 is not finite.*float16"
    )
    with pytest.raises(ClipsteerError, match=said):
        steered_probabilities(found, 1e6)


def test_random_directions_are_the_first_of_more() -> None:
    many = random_directions(6, D, 1)
    np.testing.assert_array_equal(random_directions(4, D, 1), many[:4])
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, rtol=1e-6)
    assert not np.allclose(random_directions(6, D, 2), many)
