from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clipsteer.clip.model import Clip, load_clip
from clipsteer.clip.resume import resume
from clipsteer.clip.taps import forward_with_taps
from clipsteer.errors import ClipsteerError
from tests.clip.tiny import make_tiny, photos


@pytest.fixture(scope="module", params=["quick_gelu", "gelu"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return load_clip(make_tiny(tmp_path_factory.mktemp("clip"), request.param), device="cpu")


@pytest.fixture(scope="module")
def edit() -> Tensor:
    return torch.randn(4, 5, 16, generator=torch.Generator().manual_seed(5))


def edited_forward(clip: Clip, module: Any, edit: Tensor) -> Tensor:
    """The full forward pass with something added to a module's output."""
    handle = module.register_forward_hook(lambda _module, _inputs, output: output + edit)
    embeddings, _ = forward_with_taps(clip, clip.pixels(photos(4)), [])
    handle.remove()
    return embeddings


def test_resuming_from_own_activations_is_the_full_forward_pass(clip: Clip) -> None:
    embeddings, taps = forward_with_taps(clip, clip.pixels(photos(4)), ["resid_post"])
    for layer, stream in enumerate(taps["resid_post"]):
        assert torch.equal(resume(clip, stream, layer), embeddings)
        # As a reader gives it: another memory, not an inference tensor.
        assert torch.equal(resume(clip, torch.tensor(stream.numpy()), layer), embeddings)


def test_an_edit_moves_the_embedding_as_in_the_full_model(clip: Clip, edit: Tensor) -> None:
    embeddings, taps = forward_with_taps(clip, clip.pixels(photos(4)), ["resid_post"])
    for layer, stream in enumerate(taps["resid_post"]):
        block = clip.model.vision_model.encoder.layers[layer]
        found = resume(clip, stream + edit, layer)
        assert torch.equal(found, edited_forward(clip, block, edit))
        assert not torch.allclose(found, embeddings, atol=1e-2)


def test_an_edit_of_mlp_out_is_the_same_edit_of_the_stream(clip: Clip, edit: Tensor) -> None:
    _, taps = forward_with_taps(clip, clip.pixels(photos(4)), ["resid_post"])
    for layer, stream in enumerate(taps["resid_post"]):
        mlp = clip.model.vision_model.encoder.layers[layer].mlp
        expected = edited_forward(clip, mlp, edit)
        torch.testing.assert_close(resume(clip, stream + edit, layer), expected)


def test_half_precision_activations_are_converted(clip: Clip) -> None:
    embeddings, taps = forward_with_taps(clip, clip.pixels(photos(4)), ["resid_post"])
    found = resume(clip, taps["resid_post"][1].half(), 1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, embeddings, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_out_of_range_is_refused_under_its_key(clip: Clip, layer: int) -> None:
    with pytest.raises(ClipsteerError, match=f"ablation.layer: found layer {layer}.*0 to 2"):
        resume(clip, torch.zeros(1, 5, 16), layer, key="ablation.layer")
