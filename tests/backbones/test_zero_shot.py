from __future__ import annotations

import numpy as np
import pytest
import torch

from clipsteer.backbones.model import Clip, load_clip
from clipsteer.backbones.taps import forward_with_taps
from clipsteer.backbones.zero_shot import embed_texts, zero_shot_head, zero_shot_logits
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import make_tiny, photos

NAMES = ["cat", "a dog", "{odd}"]
TEMPLATES = ["a {}.", "{}", "{} and {}"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return load_clip(make_tiny(tmp_path_factory.mktemp("clip"), "gelu"), device="cpu")


def one_text(clip: Clip, text: str) -> np.ndarray:
    """One prompt by itself, unpadded, through transformers' own call; a float64 unit vector."""
    tokens = clip.tokenizer([text], return_tensors="pt")
    with torch.inference_mode():
        row = clip.model.get_text_features(**tokens).pooler_output[0].double().numpy()
    return np.asarray(row / np.sqrt((row**2).sum()))


def test_a_head_is_the_mean_of_unit_prompts(clip: Clip) -> None:
    head = zero_shot_head(clip, NAMES, TEMPLATES)
    assert head.dtype == torch.float32
    for row, name in zip(head.numpy(), NAMES, strict=True):
        prompts = [f"a {name}.", name, f"{name} and {name}"]
        mean = sum(one_text(clip, prompt) for prompt in prompts) / 3
        np.testing.assert_allclose(row, mean / np.sqrt((mean**2).sum()), atol=2e-6)
    np.testing.assert_allclose(head.double().norm(dim=-1), 1, atol=1e-6)
    assert not torch.allclose(head[0], head[1], atol=1e-3)


def test_logits_are_the_models_own(clip: Clip) -> None:
    pixels = clip.pixels(photos(4))
    names = ["cat", "a dog"]
    tokens = clip.tokenizer(names, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = clip.model(pixel_values=pixels, **tokens).logits_per_image
    embeddings, _ = forward_with_taps(clip, pixels, [])
    found = zero_shot_logits(embeddings, zero_shot_head(clip, names, ["{}"]), clip.logit_scale)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_without_a_scale_logits_are_cosines(clip: Clip) -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    head = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    expected = torch.tensor([[0.6, 0.8, 1.0], [0.0, -1.0, -0.8]])
    torch.testing.assert_close(zero_shot_logits(rows, head), expected)
    torch.testing.assert_close(zero_shot_logits(rows.double(), head, 10.0), 10 * expected)


def test_the_batch_size_changes_nothing_but_rounding(clip: Clip) -> None:
    done: list[int] = []
    small = zero_shot_head(clip, NAMES, TEMPLATES, batch_size=2, progress=done.append)
    torch.testing.assert_close(small, zero_shot_head(clip, NAMES, TEMPLATES))
    assert done == [2, 2, 2, 2, 1]


def test_long_texts_are_cut_at_the_context_length(clip: Clip) -> None:
    # 24 positions: the two marks and 22 bytes.
    rows = embed_texts(clip, ["x" * 100, "x" * 22, "x" * 21])
    assert torch.isfinite(rows).all()
    assert not torch.allclose(rows[1], rows[2], atol=1e-4)


@pytest.mark.parametrize("templates", [[], ["a photo"], ["{}", "a photo of a cat"]])
def test_templates_need_a_place_for_the_name(clip: Clip, templates: list[str]) -> None:
    with pytest.raises(ClipsteerError, match=r"h\.t: found .*each with '\{\}'"):
        zero_shot_head(clip, NAMES, templates, key="h.t")


def test_no_classes_are_refused(clip: Clip) -> None:
    with pytest.raises(ClipsteerError, match="no class names"):
        zero_shot_head(clip, [], ["{}"])
