"""Zero-shot classification (Section 2.1.2): text embeddings as a linear head, and what it says of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:  # steps that have the head need no model
    from clipsteer.backbones.base import Backbone


def zero_shot_head(
    backbone: Backbone,
    class_names: Sequence[str],
    templates: Sequence[str],
    *,
    key: str = "datasets.<name>.templates",
) -> Tensor:
    """One unit row per class: the renormalised mean over templates of unit prompt embeddings.

    Args:
        backbone: a loaded model; prompts go through its own tokenizer.
        class_names: what each class is called.
        templates: prompts in which every `{}` stands for the name; `["{}"]` means bare names.
        key: the config key to name in errors.

    Returns:
        (classes, p) float32 on the CPU, rows of norm 1, in the order of `class_names`.

    Raises:
        ClipsteerError: no classes, no templates, a template without `{}`, or a prompt of more tokens than the
            model takes.
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
    lengths = [len(ids) for ids in backbone.token_ids(prompts)]
    if max(lengths) > backbone.context:
        longest = prompts[lengths.index(max(lengths))]
        raise ClipsteerError(
            f"{key}: found the prompt {longest[:60]!r}, of {max(lengths)} tokens, expected at most "
            f"{backbone.context}: the model would see a part of it. Shorten the template or the class name."
        )
    rows = backbone.text(prompts)
    # numpy in float64 sums in one fixed order, whatever torch's number of threads.
    units = _unit(rows.double().numpy()).reshape(len(class_names), len(templates), -1)
    return torch.from_numpy(_unit(units.mean(axis=1)).astype(np.float32))


def zero_shot_logits(embeddings: Tensor, head: Tensor, logit_scale: float = 1.0) -> Tensor:
    """logit_scale times the cosine of each image with each class.

    Args:
        embeddings: (n, p) image embeddings, any float dtype, not normalised.
        head: (classes, p) unit rows.
        logit_scale: the model's own (`Backbone.logit_scale`), where probabilities are wanted; classes do
            not depend on it.

    Returns:
        (n, classes) float32 on the embeddings' device.
    """
    with torch.inference_mode():
        units = F.normalize(embeddings.float(), dim=-1)
        return logit_scale * (units @ head.to(units.device, torch.float32).T)


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))
