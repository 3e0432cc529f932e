"""What reconstructions change, against transformers' own pass with a hook in float64; scores against all pairs."""

from __future__ import annotations

import copy
import itertools
import math
import statistics
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family
from clipsteer.backbones.tokens import Tokens, token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.monosemanticity import Monosemanticity
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.sparsity import Sparsity
from clipsteer.dictionaries.spliced import Batch, Network, splice
from clipsteer.errors import ClipsteerError
from tests.backbones.hooked import changed, modules
from tests.backbones.tiny import make_tiny
from tests.dictionaries import helpers

IMAGES, CLASSES, SCALE = 9, 4, 20.0
TARGETS = np.arange(IMAGES) % CLASSES
EXACT = {"rel": 2e-4, "abs": 2e-5}  # float32 against float64


@pytest.fixture(scope="module", params=["clip", "siglip"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    family: Family = request.param
    return load_backbone(
        make_tiny(tmp_path_factory.mktemp("model") / "m", family=family), device="cpu"
    )


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(IMAGES, 3, 32, 32, generator=generator)


def some_head(p: int) -> torch.Tensor:
    drawn = torch.randn(CLASSES, p, generator=torch.Generator().manual_seed(4))
    return torch.nn.functional.normalize(drawn, dim=-1)


def some_dictionary(kind: str, d: int) -> Dictionary:
    """Its reconstructions lie along the activations, more or less."""
    made = helpers.make(kind, d=d, m=40, k=5, dtype=torch.float32)
    made.W_enc += made.W_dec.T
    made.b_enc[3] = -1000.0  # never fires
    return made


def found_by(
    backbone: Backbone, pixels: torch.Tensor, dictionary: Dictionary, point: str, layer: int
) -> dict[str, Any]:
    """In batches of 4, as a step does it."""
    embeddings, taps = backbone.run(pixels, ["resid_post", "mlp_out"])

    def batches() -> Any:
        for low in range(0, IMAGES, 4):
            few = slice(low, low + 4)
            stream = None if point == "resid_post" else taps["resid_post"][layer][few].numpy()
            yield Batch(taps[point][layer][few].numpy(), stream, embeddings[few].numpy())

    network = Network(
        partial(backbone.resume, layer),
        backbone.tokens_read(layer),
        some_head(embeddings.shape[1]),
        SCALE,
        backbone.cls,
    )
    found, sparsity = splice(dictionary, network, batches(), TARGETS)
    return found | {"sparsity": sparsity}


def by_hooks(
    backbone: Backbone, pixels: torch.Tensor, dictionary: Dictionary, point: str, layer: int
) -> dict[str, Any]:
    """Whole forward passes of the model itself, one with each output of the hook point, in float64."""
    model = copy.deepcopy(backbone.model).double()
    module = modules(model, point)[layer]
    at_point: list[NDArray[np.float64]] = []

    def embedded(change: Any) -> NDArray[np.float64]:
        with torch.inference_mode(), changed(module, change):
            return np.asarray(
                model.get_image_features(pixel_values=pixels.double()).pooler_output.numpy()
            )

    def seen(x: torch.Tensor) -> torch.Tensor:
        at_point.append(x.numpy().copy())
        return x

    def replaced(x: torch.Tensor, *, zero: bool) -> torch.Tensor:
        span = token_span(dictionary.tokens, x.shape[1])
        rows = x[:, span].reshape(-1, x.shape[2])
        output = helpers.decode(dictionary, helpers.encode(dictionary, rows)) * (not zero)
        there = x.clone()
        there[:, span] = torch.from_numpy(output).reshape(x[:, span].shape)
        return there

    clean = embedded(seen)
    spliced = embedded(partial(replaced, zero=False))
    zeroed = embedded(partial(replaced, zero=True))

    def cross_entropy(rows: NDArray[np.float64]) -> float:
        head = some_head(rows.shape[1]).double().numpy()
        losses = []
        for row, target in zip(rows, TARGETS, strict=True):
            logits = [SCALE * float(row @ c) / math.sqrt(float(row @ row)) for c in head]
            losses.append(math.log(sum(math.exp(v) for v in logits)) - logits[target])
        return sum(losses) / len(losses)

    cosines = [
        float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
        for a, b in zip(clean, spliced, strict=True)
    ]
    span = token_span(dictionary.tokens, at_point[0].shape[1])
    x = at_point[0][:, span]
    codes = helpers.encode(dictionary, torch.from_numpy(x.reshape(-1, x.shape[2])))
    output = helpers.decode(dictionary, codes)
    own, other, zero = (cross_entropy(rows) for rows in (clean, spliced, zeroed))
    per_image = codes.reshape(*x.shape[:2], -1).mean(axis=1)
    scores = [pairwise(per_image[:, j], clean) for j in range(dictionary.m)]
    return {
        "active": (codes > 0).sum(axis=1).reshape(x.shape[:2]),
        "embedding_cosine": sum(cosines) / IMAGES,
        "ce": own,
        "ce_reconstruction": other,
        "ce_zero": zero,
        "reconstruction_bias": float((output**2).sum() / (output * x.reshape(output.shape)).sum()),
        "monosemanticity": float(np.nanmean(scores)),
    }


def pairwise(activations: NDArray[np.float64], embeddings: NDArray[np.float64]) -> float:
    """The score by its definition, pair by pair."""
    low, high = activations.min(), activations.max()
    if high == low:
        return math.nan
    a = (activations - low) / (high - low)
    above = below = 0.0
    for i, j in itertools.combinations(range(len(a)), 2):
        e, f = embeddings[i], embeddings[j]
        above += a[i] * a[j] * float(e @ f) / math.sqrt(float(e @ e) * float(f @ f))
        below += a[i] * a[j]
    return above / below if below > 1e-12 else math.nan


@pytest.mark.parametrize("tokens", ["all", "spatial", "cls"])
@pytest.mark.parametrize("point", ["resid_post", "mlp_out"])
@pytest.mark.parametrize("layer", [0, 2])
def test_as_whole_forward_passes_with_hooks(
    backbone: Backbone, pixels: torch.Tensor, tokens: Tokens, point: str, layer: int
) -> None:
    if backbone.cls is None and tokens != "all":
        pytest.skip("without a CLS token all are spatial")
    dictionary = some_dictionary("topk" if layer else "vanilla", backbone.width)
    dictionary.tokens = tokens
    found = found_by(backbone, pixels, dictionary, point, layer)
    expected = by_hooks(backbone, pixels, dictionary, point, layer)
    active = expected.pop("active")
    if tokens == "spatial" and layer == backbone.n_layers - 1:  # CLIP reads CLS alone there
        assert expected.pop("embedding_cosine") == pytest.approx(1.0, rel=1e-12)
        for name in ("ce_reconstruction", "ce_zero"):
            assert expected.pop(name) == pytest.approx(expected["ce"], rel=1e-12)
        for name in ("embedding_cosine", "ce_reconstruction", "ce_zero", "ce_recovered"):
            assert found[name] is None, name
        assert "reads none of the tokens" in found["spliced_says"]
    else:
        assert "spliced_says" not in found
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, **EXACT), name
    sparsity = found["sparsity"]
    assert sparsity["mean"] == pytest.approx(
        active.mean(axis=0), abs=0.25
    )  # a code near 0 may be either
    assert sparsity["cls"] == (None if tokens == "spatial" else backbone.cls)
    harm = expected.get("ce_zero", math.nan) - expected["ce"]
    if harm > 1e-3:
        recovered = 100 * (expected["ce_zero"] - expected["ce_reconstruction"]) / harm
        assert found["ce_recovered"] == pytest.approx(recovered, rel=1e-2)
    elif harm < -1e-3:
        assert found["ce_recovered"] is None
    assert (found["n_classes"], found["logit_scale"]) == (CLASSES, SCALE)


def test_what_each_part_of_a_dictionary_does_to_the_numbers(
    backbone: Backbone, pixels: torch.Tensor
) -> None:
    d = backbone.width
    exact = found_by(backbone, pixels, NeuronBasis(d), "resid_post", 1)
    assert exact["embedding_cosine"] == pytest.approx(1.0)
    assert exact["ce_reconstruction"] == pytest.approx(exact["ce"], rel=1e-5)
    assert exact["reconstruction_bias"] == pytest.approx(1.0)
    assert exact["decoder_encoder_cosine"] == 1.0
    dictionary = some_dictionary("vanilla", d)
    usual = found_by(backbone, pixels, dictionary, "resid_post", 1)
    cosines = [
        float(dictionary.W_enc[:, j] @ n / dictionary.W_enc[:, j].norm())
        for j, n in enumerate(dictionary.W_dec)
        if j != 3  # never fires
    ]
    assert usual["decoder_encoder_cosine"] == pytest.approx(np.mean(cosines), rel=1e-5)
    # reconstructions that are c times as long have a bias that is c times as large
    dictionary.W_dec *= 2
    dictionary.b_dec *= 2
    dictionary.b_enc -= (dictionary.b_dec / -2) @ dictionary.W_enc  # codes stay what they were
    longer = found_by(backbone, pixels, dictionary, "resid_post", 1)
    assert longer["monosemanticity"] == pytest.approx(usual["monosemanticity"], rel=1e-4)
    assert longer["reconstruction_bias"] == pytest.approx(
        2 * usual["reconstruction_bias"], rel=1e-4
    )


def test_zero_for_the_whole_stream_is_one_pass_in_all(
    backbone: Backbone, pixels: torch.Tensor
) -> None:
    embeddings, taps = backbone.run(pixels, ["resid_post", "mlp_out"])
    passed: list[int] = []

    def resume(stream: torch.Tensor) -> torch.Tensor:
        passed.append(len(stream))
        return backbone.resume(0, stream)

    network = Network(
        resume, backbone.tokens_read(0), some_head(embeddings.shape[1]), SCALE, backbone.cls
    )
    for stream, images in ((None, IMAGES + 1), (taps["resid_post"][0].numpy(), 2 * IMAGES)):
        x = taps["mlp_out" if stream is not None else "resid_post"][0].numpy()
        batches = [
            Batch(x[few], None if stream is None else stream[few], embeddings[few].numpy())
            for few in (slice(0, 5), slice(5, None))
        ]
        passed.clear()
        splice(some_dictionary("topk", backbone.width), network, batches, TARGETS)
        assert sum(passed) == images


@given(
    st.integers(2, 7),
    st.integers(0, 2**31),
    st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True),
)
def test_scores_are_those_of_all_pairs_however_images_are_batched(
    images: int, seed: int, cuts: list[int]
) -> None:
    draw = np.random.default_rng(seed)
    a = draw.normal(size=(images, 6)) * 10.0 ** draw.integers(-3, 4, size=6)
    a[:, 1] = np.maximum(a[:, 1], 0)
    a[:, 2], a[:, 3] = 0, 5  # never, and always alike
    a[:, 4] = 0
    a[0, 4] = 2  # on one image alone
    e = draw.normal(size=(images, 3)) + 0.5
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    scores = Monosemanticity(6, 3, torch.device("cpu"))
    places = [0, *sorted(c for c in cuts if c < images), images]
    for low, high in itertools.pairwise(places):
        scores.add(torch.from_numpy(a[low:high]), torch.from_numpy(unit[low:high]))
    expected = [pairwise(a[:, j], e) for j in range(6)]
    assert scores.scores() == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True)
    mean = np.mean([unit[i] @ unit[j] for i, j in itertools.combinations(range(images), 2)])
    assert scores.chance() == pytest.approx(mean, abs=1e-12)


def test_refusals(backbone: Backbone, pixels: torch.Tensor) -> None:
    d = backbone.width
    network = Network(partial(backbone.resume, 0), slice(None), some_head(8), SCALE, 0)
    with pytest.raises(ClipsteerError, match="found none, expected at least one image"):
        splice(NeuronBasis(d), network, [], TARGETS)
    embeddings, taps = backbone.run(pixels, ["resid_post"])
    network = Network(network.resume, slice(None), some_head(embeddings.shape[1]), SCALE, 0)
    batch = Batch(taps["resid_post"][0].numpy(), None, embeddings.numpy())
    with pytest.raises(ClipsteerError, match="found 9 of 9, expected one of 0 to 3"):
        splice(NeuronBasis(d), network, [batch], TARGETS + 1)
    broken = some_dictionary("vanilla", d)
    broken.b_dec[0] = torch.inf
    with pytest.raises(ClipsteerError, match="NaN or infinite"):
        splice(broken, network, [batch], TARGETS)


@given(st.integers(0, 2**31), st.booleans(), st.integers(1, 5))
def test_sparsity_by_token(seed: int, has_cls: bool, cut: int) -> None:
    draw = np.random.default_rng(seed)
    l0 = draw.integers(0, 50, (6, 4)).astype(np.int32)
    norms = draw.uniform(9, 11, (6, 4)).astype(np.float32)
    norms[:, 0] = 500.0 if has_cls else 10.0  # of CLS nothing is said, nor counted in
    norms[2, 3] = 100.0
    sparsity = Sparsity(0 if has_cls else None)
    for part in (slice(0, cut), slice(cut, None)):
        sparsity.add(l0[part], norms[part])
    found = sparsity.result()
    patches = [norms[:, token].tolist() for token in range(int(has_cls), 4)]
    first, _, third = statistics.quantiles(itertools.chain(*patches), method="inclusive")
    above = third + 3 * (third - first)
    assert found["high_norm_above"] == pytest.approx(above)
    high = [(i, t) for i in range(6) for t in range(int(has_cls), 4) if float(norms[i, t]) > above]
    assert (2, 3) in high
    for token in range(4):
        column = sorted(l0[:, token].tolist())
        assert found["mean"][token] == pytest.approx(sum(column) / 6)
        assert found["quantiles"][token][2] == pytest.approx((column[2] + column[3]) / 2)
        assert found["high_norm"][token] == pytest.approx(sum(t == token for _, t in high) / 6)
    others = {(i, t) for i in range(6) for t in range(int(has_cls), 4)} - {*high}
    for name, chosen in (("l0_high_norm", high), ("l0_other", others)):
        assert found[name] == pytest.approx(sum(int(l0[at]) for at in chosen) / len(chosen))
