"""Resuming behind a layer is transformers' own pass from there on, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.device import one_thread
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family
from clipsteer.errors import ClipsteerError
from tests.backbones.hooked import changed, hooked, modules, resumed, whole
from tests.backbones.tiny import make_tiny, photos


def random(images: int, backbone: Backbone, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, backbone.n_tokens, backbone.width, generator=generator)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_from_its_own_activations_it_is_the_whole_pass(folder: Path, dtype: str) -> None:
    backbone = load_backbone(folder, device="cpu", dtype=dtype)
    pixels = backbone.pixels(photos(4))
    embeddings, kept = backbone.run(pixels, ["resid_post"])
    assert torch.equal(embeddings, whole(backbone, pixels))
    for layer, stream in enumerate(kept["resid_post"]):
        assert torch.equal(backbone.resume(layer, stream), embeddings)
        part = stream[:, backbone.tokens_read(layer)]
        assert torch.equal(backbone.resume(layer, part), embeddings)
        # As a reader gives it: another memory, not an inference tensor.
        again = torch.tensor(stream.float().numpy())
        assert torch.equal(backbone.resume(layer, again), embeddings)


def test_tokens_that_are_not_read_are_those_without_effect(backbone: Backbone) -> None:
    """CLIP's patches behind the last layer, and no others."""
    stream = random(3, backbone)
    for layer in range(3):
        plain = backbone.resume(layer, stream)
        read = range(backbone.n_tokens)[backbone.tokens_read(layer)]
        for token in range(backbone.n_tokens):
            moved = stream.clone()
            moved[:, token] += torch.linspace(-1, 1, backbone.width)
            assert torch.equal(backbone.resume(layer, moved), plain) == (token not in read)


@pytest.mark.parametrize("images", [1, 3, 16, 64, 65, 200])
def test_it_equals_transformers_for_any_number_of_images(backbone: Backbone, images: int) -> None:
    """Few images carry more than the CLS token through the last layer; many go in several runs."""
    stream = random(images, backbone, images)
    given = stream.clone()
    for layer in range(3):
        expected = resumed(backbone, layer, stream)
        assert torch.equal(backbone.resume(layer, stream), expected)
        assert torch.equal(stream, given)


@pytest.mark.parametrize(
    ("family", "image", "patch", "tokens"),
    [
        ("clip", 224, 32, 50),
        ("clip", 224, 16, 197),
        ("clip", 336, 14, 577),
        ("clip", 378, 14, 730),
        ("siglip", 256, 16, 256),
        ("siglip", 384, 14, 729),
    ],
    ids=str,
)
def test_it_equals_transformers_in_released_shapes(
    tmp_path: Path, family: Family, image: int, patch: int, tokens: int
) -> None:
    """B/32, B/16, L/14-336, a /14-378; SigLIP's B/16-256 and so400m-384, whose last pixels fill no patch.

    Of many tokens, one image alone is more than a run.
    """
    with (
        one_thread()
    ):  # products of several share the rows out otherwise where there are other rows
        folder = make_tiny(tmp_path / "m", family=family, image_size=image, patch_size=patch)
        backbone = load_backbone(folder, device="cpu")
        assert backbone.n_tokens == tokens
        assert backbone.grid == (image // patch, image // patch)
        whole_batch = random(16, backbone, tokens)
        for layer in range(3):
            for images in (16, 6, 3, 1):
                stream = whole_batch[:images]
                assert torch.equal(backbone.resume(layer, stream), resumed(backbone, layer, stream))
        pixels = backbone.pixels(photos(2))
        embeddings, kept = backbone.run(pixels, ["resid_post"])
        theirs, taps = hooked(backbone, pixels, ["resid_post"])
        assert torch.equal(embeddings, theirs)
        assert all(map(torch.equal, kept["resid_post"], taps["resid_post"]))


@pytest.mark.parametrize("point", ["resid_post", "mlp_out"])
def test_an_edit_moves_the_embedding_as_in_the_whole_model(backbone: Backbone, point: str) -> None:
    """Also of `mlp_out`, which is only ever added to the stream."""
    pixels = backbone.pixels(photos(4))
    embeddings, kept = backbone.run(pixels, ["resid_post"])
    edit = random(4, backbone)
    for layer, stream in enumerate(kept["resid_post"]):
        found = backbone.resume(layer, stream + edit)
        with changed(modules(backbone.model, point)[layer], lambda output: output + edit):
            expected = whole(backbone, pixels)
        torch.testing.assert_close(found, expected)
        assert point == "mlp_out" or torch.equal(found, expected)
        assert not torch.allclose(found, embeddings, atol=1e-2)


def test_it_does_not_depend_on_the_number_of_threads(backbone: Backbone) -> None:
    stream, before = random(200, backbone), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(backbone.resume(0, stream))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_half_precision_activations_are_converted(backbone: Backbone) -> None:
    embeddings, kept = backbone.run(backbone.pixels(photos(4)), ["resid_post"])
    found = backbone.resume(1, kept["resid_post"][1].half())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, embeddings, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_out_of_range_is_refused(backbone: Backbone, layer: int) -> None:
    with pytest.raises(ClipsteerError, match=f"layer: found layer {layer}.*0 to 2"):
        backbone.resume(layer, torch.zeros(1, 5, 16))
