"""A backbone's own pass is transformers' own, bit for bit; and CLIP's equals its published description."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family, write_shaped
from tests.backbones.hooked import POINTS, hooked, whole
from tests.backbones.oracle import Oracle
from tests.backbones.tiny import make_tiny, photos, to_bin, to_parts


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def same(backbone: Backbone, count: int = 5) -> None:
    pixels = backbone.pixels(photos(count))
    embeddings, taps = backbone.run(pixels, POINTS)
    expected, theirs = hooked(backbone, pixels)
    assert torch.equal(embeddings, expected)
    for point in POINTS:
        assert len(taps[point]) == backbone.n_layers
        assert all(torch.equal(a, b) for a, b in zip(taps[point], theirs[point], strict=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_layer_equals_transformers(folder: Path, dtype: str) -> None:
    same(load_backbone(folder, device="cpu", dtype=dtype))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.usefixtures("threads")
def test_the_default_size_equals_transformers(tmp_path: Path, family: Family, count: int) -> None:
    size = {"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 4}
    write_shaped(
        tmp_path / "m",
        family=family,
        vision={**size, "num_hidden_layers": 6, "image_size": 64, "patch_size": 16},
        text={**size, "num_hidden_layers": 1},
        projection_dim=64,
    )
    torch.set_num_threads(count)
    same(load_backbone(tmp_path / "m", device="cpu"), count=100)


@pytest.mark.parametrize("change", [to_bin, to_parts])
def test_other_weight_layouts(copy: Path, change: Callable[[Path], Path]) -> None:
    same(load_backbone(change(copy), device="cpu"))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_clip_agrees_with_float64(tmp_path: Path, activation: str) -> None:
    clip = load_backbone(make_tiny(tmp_path / "m", activation), device="cpu")
    pixels = clip.pixels(photos(3))
    embeddings, taps = clip.run(pixels, POINTS)
    oracle = Oracle(clip.folder, activation, heads=2, patch=16)
    for i, image in enumerate(pixels.double().numpy()):
        stream = oracle.embed(image)
        for layer in range(3):
            stream, mlp = oracle.layer(stream, layer)
            np.testing.assert_allclose(taps["resid_post"][layer][i], stream, rtol=2e-4, atol=2e-5)
            np.testing.assert_allclose(taps["mlp_out"][layer][i], mlp, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(embeddings[i], oracle.project(stream), rtol=2e-4, atol=2e-5)


def test_the_model_stays_as_it_is(backbone: Backbone) -> None:
    """Of what a pass adds in place nothing is a weight, an input or a tensor that was kept."""
    pixels = backbone.pixels(photos(2))
    given, weights = pixels.clone(), [p.clone() for p in backbone.model.parameters()]
    first = backbone.run(pixels, POINTS)[1]
    kept = {point: [x.clone() for x in values] for point, values in first.items()}
    backbone.run(pixels, [])
    assert torch.equal(pixels, given)
    assert all(map(torch.equal, backbone.model.parameters(), weights))
    assert all(torch.equal(a, b) for p in POINTS for a, b in zip(first[p], kept[p], strict=True))


def test_only_what_is_asked_for_is_kept(backbone: Backbone) -> None:
    pixels = backbone.pixels(photos(2))
    embeddings, kept = backbone.run(pixels, ["mlp_out"])
    assert list(kept) == ["mlp_out"]
    assert embeddings.shape == (2, backbone.projection_dim)
    assert {tuple(t.shape) for t in kept["mlp_out"]} == {(2, backbone.n_tokens, backbone.width)}
    assert backbone.run(pixels, [])[1] == {}


@pytest.mark.usefixtures("threads")
def test_one_and_two_threads_give_the_same_bytes(tmp_path: Path, family: Family) -> None:
    # Large enough that torch does split the work (its grain is 32,768 elements).
    wide = {"hidden_size": 128, "intermediate_size": 512, "image_size": 64}
    backbone = load_backbone(make_tiny(tmp_path / "wide", family=family, **wide), device="cpu")
    pixels = backbone.pixels(photos(48, (70, 64)))
    digests = []
    for count in (1, 2):
        torch.set_num_threads(count)
        embeddings, taps = backbone.run(pixels, POINTS)
        digest = hashlib.sha256(embeddings.numpy().tobytes())
        for point in POINTS:
            for tap in taps[point]:
                digest.update(tap.numpy().tobytes())
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_half_precision_is_close(backbone: Backbone, dtype: str, tolerance: float) -> None:
    half = load_backbone(backbone.folder, device="cpu", dtype=dtype)
    pixels = backbone.pixels(photos(4))
    found, exact = half.run(pixels, [])[0], whole(backbone, pixels)
    assert str(found.dtype) == f"torch.{dtype}"
    assert (found.float() - exact).norm() < tolerance * exact.norm()
    assert not torch.equal(found.float(), exact)
