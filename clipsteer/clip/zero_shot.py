"""Zero-shot classification of image embeddings (Section 2.1.2); torch only, for jobs that only resume."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
