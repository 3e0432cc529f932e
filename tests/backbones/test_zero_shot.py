from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.zero_shot import zero_shot_head, zero_shot_logits
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import photos

NAMES = ["cat", "a dog", "{odd}"]
TEMPLATES = ["a {}.", "{}", "{} and {}"]


@pytest.fixture(scope="module")
def model(one_of: Path) -> Backbone:
    return load_backbone(one_of, device="cpu")


def one_text(model: Backbone, text: str) -> np.ndarray:
    """One prompt by itself, through transformers' own processor and call; a float64 unit vector.

    SigLIP's texts are padded to their full length, as its authors do; CLIP's are as long as they are.
    """
    tokens = AutoProcessor.from_pretrained(model.folder, backend="pil")(
        text=[text],
        return_tensors="pt",
        padding="max_length" if model.FAMILY == "siglip" else False,
    )
    with torch.inference_mode():
        row = model.model.get_text_features(**tokens).pooler_output[0].double().numpy()
    return np.asarray(row / np.sqrt((row**2).sum()))


def test_a_head_is_the_mean_of_unit_prompts(model: Backbone) -> None:
    head = zero_shot_head(model, NAMES, TEMPLATES)
    assert head.dtype == torch.float32
    for row, name in zip(head.numpy(), NAMES, strict=True):
        prompts = [f"a {name}.", name, f"{name} and {name}"]
        mean = sum(one_text(model, prompt) for prompt in prompts) / 3
        np.testing.assert_allclose(row, mean / np.sqrt((mean**2).sum()), atol=2e-6)
    np.testing.assert_allclose(head.double().norm(dim=-1), 1, atol=1e-6)
    assert not torch.allclose(head[0], head[1], atol=1e-3)


def test_probabilities_are_the_models_own(model: Backbone) -> None:
    """By transformers' own processor and forward pass of both towers."""
    names, images = ["cat", "a dog"], photos(4)
    processor = AutoProcessor.from_pretrained(model.folder, backend="pil")
    siglip = model.FAMILY == "siglip"
    inputs = processor(
        text=names, images=images, return_tensors="pt", padding="max_length" if siglip else True
    )
    with torch.inference_mode():
        logits = model.model(**inputs).logits_per_image
    expected = torch.sigmoid(logits) if siglip else torch.softmax(logits, dim=1)
    embeddings, _ = model.run(model.pixels(images), [])
    head = zero_shot_head(model, names, ["{}"])
    found = model.probabilities(embeddings, head)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert bool((found.sum(dim=1) - 1).abs().max() < 1e-5) != siglip
    assert torch.equal(zero_shot_logits(embeddings, head).argmax(dim=1), logits.argmax(dim=1))


def test_without_a_scale_logits_are_cosines(model: Backbone) -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    head = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    expected = torch.tensor([[0.6, 0.8, 1.0], [0.0, -1.0, -0.8]])
    torch.testing.assert_close(zero_shot_logits(rows, head), expected)
    torch.testing.assert_close(zero_shot_logits(rows.double(), head, 10.0), 10 * expected)


def test_the_batch_size_changes_nothing_but_rounding(model: Backbone) -> None:
    texts = ["a cat", "a", "many words of one text", "dog"]
    torch.testing.assert_close(model.text(texts, batch_size=2), model.text(texts))


def test_long_texts_are_cut_at_the_context_length(model: Backbone) -> None:
    # 24 positions: the two marks and 22 bytes of CLIP; the word's mark, 22 letters and the end of SigLIP.
    rows = model.text(["x" * 100, "x" * 22, "x" * 21])
    assert torch.isfinite(rows).all()
    assert not torch.allclose(rows[1], rows[2], atol=1e-4)


@pytest.mark.parametrize("templates", [[], ["a photo"], ["{}", "a photo of a cat"]])
def test_templates_need_a_place_for_the_name(model: Backbone, templates: list[str]) -> None:
    with pytest.raises(ClipsteerError, match=r"h\.t: found .*each with '\{\}'"):
        zero_shot_head(model, NAMES, templates, key="h.t")


def test_no_classes_are_refused(model: Backbone) -> None:
    with pytest.raises(ClipsteerError, match="no class names"):
        zero_shot_head(model, [], ["{}"])
