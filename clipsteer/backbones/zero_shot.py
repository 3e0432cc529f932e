"""Zero-shot classification (Section 2.1.2): text embeddings as a linear head, and what it says of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipsteer.backbones.device import exact_inference
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:  # jobs that only resume need neither the whole model nor its images
    from clipsteer.backbones.model import Clip


def zero_shot_head(
    clip: Clip,
    class_names: Sequence[str],
    templates: Sequence[str],
    *,
    batch_size: int = 256,
    key: str = "datasets.<name>.templates",
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """One unit row per class: the renormalised mean over templates of unit prompt embeddings.

    Args:
        clip: a loaded model; prompts go through its own tokenizer.
        class_names: what each class is called.
        templates: prompts in which every `{}` stands for the name; `["{}"]` means bare names.
        batch_size: prompts per forward pass of the text tower.
        key: the config key to name in errors.
        progress: called with the number of prompts done since the last call.

    Returns:
        (classes, p) float32 on the CPU, rows of norm 1, in the order of `class_names`.

    Raises:
        ClipsteerError: no classes, no templates, or a template without `{}`.
    """
    if not class_names:
        raise ClipsteerError(f"{key}: there are no class names to make a zero-shot head for.")
    if not templates or any("{}" not in template for template in templates):
        raise ClipsteerError(
            f"{key}: found {list(templates)!r}, expected at least one template, each with '{{}}' "
            "where the class name goes, such as 'a photo of a {}.'. Correct the templates."
        )
    # replace, not format: a class name or a template may hold other braces.
    prompts = [template.replace("{}", name) for name in class_names for template in templates]
    rows = embed_texts(clip, prompts, batch_size=batch_size, progress=progress)
    # numpy in float64 sums in one fixed order, whatever torch's number of threads.
    units = _unit(rows.double().numpy()).reshape(len(class_names), len(templates), -1)
    return torch.from_numpy(_unit(units.mean(axis=1)).astype(np.float32))


def embed_texts(
    clip: Clip,
    texts: Sequence[str],
    *,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Project texts into the shared space; texts beyond the context length are cut.

    Returns:
        (n, p) float32 on the CPU, not normalised.
    """
    # Padded to the longest text of the whole call, not of each batch, so that the batch size does
    # not decide how long the sequences are; the full 77 tokens would cost ten times as much.
    tokens = clip.tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=clip.model.config.text_config.max_position_embeddings,
        return_tensors="pt",
    )
    found = []
    for start in range(0, len(texts), batch_size):
        part = slice(start, start + batch_size)
        with exact_inference():
            output = clip.model.get_text_features(
                input_ids=tokens["input_ids"][part].to(clip.device),
                attention_mask=tokens["attention_mask"][part].to(clip.device),
            )
        found.append(output.pooler_output.float().cpu())
        if progress is not None:
            progress(len(found[-1]))
    return torch.cat(found)


def zero_shot_logits(embeddings: Tensor, head: Tensor, logit_scale: float = 1.0) -> Tensor:
    """logit_scale times the cosine of each image with each class.

    Args:
        embeddings: (n, p) image embeddings, any float dtype, not normalised.
        head: (classes, p) unit rows.
        logit_scale: the model's own (`Clip.logit_scale`), where probabilities are wanted; classes do
            not depend on it.

    Returns:
        (n, classes) float32 on the embeddings' device.
    """
    with torch.inference_mode():
        units = F.normalize(embeddings.float(), dim=-1)
        return logit_scale * (units @ head.to(units.device, torch.float32).T)


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))
