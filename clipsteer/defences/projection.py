"""Output projection (ours, after Materzynska et al. 2022): one matrix W on image and text embeddings.

An image z is told by the cosines of W z with W t(c). W begins as the identity and is trained on pairs, the model fixed:

    loss = cross-entropy(s cos(W z_attacked, W t); the image's class)
           + clean * KL(softmax(s cos(z_clean, t)) || softmax(s cos(W z_clean, W t)))
           + orthogonal * ||W^T W - I||^2

with s the model's logit scale. The first takes an attacked image to its own class and so away from the printed word,
the second keeps clean ones where they are, the third keeps W near a rotation. The losses and weights are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipsteer.backbones.zero_shot import zero_shot_logits
from clipsteer.defences.descent import AttackedPairs, Descent, descend, stream

_STREAM = 32  # first word of the key of what is drawn here


@dataclass(frozen=True)
class ProjectionSettings:
    """How the matrix is trained: the keys of `typographic.projection`."""

    lr: float
    epochs: int
    batch_size: int
    clean: float
    orthogonal: float


def train_projection(
    head: Tensor,
    scale: float,
    pairs: AttackedPairs,
    settings: ProjectionSettings,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, list[float]]:
    """W (p, p) float32 and the loss of each step, by Adam, whose rate falls along a cosine to 0.

    `head` (K, p) of unit rows; `scale`: the model's logit scale. The order of pairs is drawn by seed.
    """
    matrix = torch.eye(head.shape[1], device=head.device).requires_grad_(True)

    def loss_of(rows: Tensor) -> Tensor:
        return projection_loss(matrix, head, scale, pairs, rows, settings)

    optimiser = torch.optim.Adam([matrix], lr=settings.lr)
    how = Descent(settings.epochs, settings.batch_size, settings.lr, 0.0)
    losses = descend(optimiser, loss_of, pairs.targets, how, stream(_STREAM, seed), progress)
    return matrix.detach().cpu(), losses


def projection_loss(
    matrix: Tensor,
    head: Tensor,
    scale: float,
    pairs: AttackedPairs,
    rows: Tensor,
    settings: ProjectionSettings,
) -> Tensor:
    """The loss of some pairs, `rows`."""
    texts = F.normalize(head @ matrix.T, dim=-1)
    clean, attacked = (
        F.normalize(images[rows] @ matrix.T, dim=-1) for images in (pairs.clean, pairs.attacked)
    )
    before = (scale * pairs.clean[rows] @ head.T).log_softmax(-1)
    after = (scale * clean @ texts.T).log_softmax(-1)
    kept = F.kl_div(after, before, reduction="batchmean", log_target=True)
    told = F.cross_entropy(scale * attacked @ texts.T, pairs.targets[rows])
    away = matrix.T @ matrix - torch.eye(len(matrix), device=matrix.device)
    return told + settings.clean * kept + settings.orthogonal * away.square().sum()


def projected_logits(embeddings: Tensor, head: Tensor, matrix: Tensor) -> Tensor:
    """Cosines (n, K) of embeddings (n, p) with a head (K, p), both through the matrix (p, p)."""
    there = matrix.to(embeddings.device)
    texts = F.normalize(head.float() @ there.T, dim=-1)
    return zero_shot_logits(F.normalize(embeddings.float(), dim=-1) @ there.T, texts)
