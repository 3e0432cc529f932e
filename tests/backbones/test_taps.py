from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clipsteer.backbones.model import Clip, load_clip
from clipsteer.backbones.taps import HOOK_POINTS, forward_with_taps, resume
from clipsteer.errors import ClipsteerError
from tests.backbones.oracle import Oracle
from tests.backbones.tiny import make_tiny, photos


@pytest.fixture(scope="module", params=["quick_gelu", "gelu"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return load_clip(make_tiny(tmp_path_factory.mktemp("clip"), request.param), device="cpu")


@pytest.fixture(scope="module")
def edit() -> Tensor:
    return torch.randn(4, 5, 16, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_taps_and_embeddings_agree_with_float64(clip: Clip) -> None:
    pixels = clip.pixels(photos(3))
    embeddings, taps = forward_with_taps(clip, pixels, HOOK_POINTS)
    config = clip.model.config.vision_config
    oracle = Oracle(clip.folder, config.hidden_act, config.num_attention_heads, config.patch_size)
    assert [len(taps[point]) for point in HOOK_POINTS] == [3, 3]
    for i, image in enumerate(pixels.double().numpy()):
        stream = oracle.embed(image)
        for layer in range(3):
            stream, mlp = oracle.layer(stream, layer)
            np.testing.assert_allclose(taps["resid_post"][layer][i], stream, rtol=2e-4, atol=2e-5)
            np.testing.assert_allclose(taps["mlp_out"][layer][i], mlp, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(embeddings[i], oracle.project(stream), rtol=2e-4, atol=2e-5)


def test_the_model_runs_unchanged(clip: Clip) -> None:
    pixels = clip.pixels(photos(5))
    embeddings, taps = forward_with_taps(clip, pixels, HOOK_POINTS)
    ids = torch.tensor([[512, 7, 513]])
    with torch.inference_mode():
        features = clip.model.get_image_features(pixel_values=pixels).pooler_output
        whole = clip.model(input_ids=ids, pixel_values=pixels, output_hidden_states=True)
    assert torch.equal(embeddings, features)
    assert torch.equal(
        whole.image_embeds, embeddings / embeddings.pow(2).sum(-1, keepdim=True).pow(0.5)
    )
    hidden = whole.vision_model_output.hidden_states
    assert all(torch.equal(a, b) for a, b in zip(taps["resid_post"], hidden[1:], strict=True))


def test_only_what_is_asked_for_is_kept(clip: Clip) -> None:
    pixels = clip.pixels(photos(2))
    embeddings, taps = forward_with_taps(clip, pixels, ["mlp_out"])
    assert list(taps) == ["mlp_out"]
    assert embeddings.shape == (2, clip.projection_dim)
    assert {tuple(t.shape) for t in taps["mlp_out"]} == {(2, clip.n_tokens, clip.width)}
    assert forward_with_taps(clip, pixels, [])[1] == {}


def hooks(clip: Clip) -> int:
    return sum(len(module._forward_hooks) for module in clip.model.modules())


def test_no_hook_stays_behind(clip: Clip) -> None:
    before = hooks(clip)
    forward_with_taps(clip, clip.pixels(photos(1)), HOOK_POINTS)
    assert hooks(clip) == before
    with pytest.raises(ValueError, match="doesn't match model"):
        forward_with_taps(clip, torch.zeros(1, 3, 16, 16), HOOK_POINTS)
    assert hooks(clip) == before


def test_an_unknown_hook_point_is_refused(clip: Clip) -> None:
    with pytest.raises(ClipsteerError, match=r"activations\.hook: found 'resid_pre'.*mlp_out"):
        forward_with_taps(clip, torch.zeros(1), ["resid_pre"], key="activations.hook")


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.usefixtures("threads")
def test_one_and_two_threads_give_the_same_bytes(tmp_path: Path, activation: str) -> None:
    # Large enough that torch does split the work (its grain is 32,768 elements).
    wide = {"hidden_size": 128, "intermediate_size": 512, "image_size": 64}
    clip = load_clip(make_tiny(tmp_path / "wide", activation, **wide), device="cpu")
    pixels = clip.pixels(photos(48, (70, 64)))
    digests = []
    for count in (1, 2):
        torch.set_num_threads(count)
        embeddings, taps = forward_with_taps(clip, pixels, HOOK_POINTS)
        digest = hashlib.sha256(embeddings.numpy().tobytes())
        for point in HOOK_POINTS:
            for tap in taps[point]:
                digest.update(tap.numpy().tobytes())
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1]


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
