"""The learning rate, then clip, project, Adam, renormalise: what happens between two forward passes.

Where parameters do not fit a cache, each pass over them costs as much as reading memory does. So the
rows are taken in blocks that stay in it, and clipping is left to Adam's own division.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clipsteer.dictionaries.numerics import blocks, square_sum

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def learning_rate(step: int, *, steps: int, lr: float, warmup_steps: int, final_lr: float) -> float:
    """Learning rate of `step` (0-based) in a run of `steps`: linear warm-up, then a cosine.

    Rises by lr / warmup_steps a step, then follows half a cosine towards `final_lr * lr`. The
    authors pass lr / 10 where their schedule expects a fraction, so theirs falls to about 0:
    final_lr = 0 is the faithful value, 0.1 what they seem to have meant.
    """
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return lr * (final_lr + (1.0 - final_lr) * 0.5 * (1.0 + math.cos(math.pi * progress)))


def joint_norm(gradients: dict[str, Tensor]) -> Tensor:
    """Norm of all gradients together, float64 (), with the sums in a fixed order."""
    squares = [square_sum(plain(gradients[name])) for name in sorted(gradients)]
    return torch.stack(squares).cumsum(0)[-1].sqrt()


def clipping(norm: Tensor, limit: float | None) -> Tensor | None:
    """By what to divide the gradients so that their joint norm is at most `limit`, float32 ().

    The same formula as `torch.nn.utils.clip_grad_norm_`; None for no limit.
    """
    return None if limit is None else ((norm + 1e-6) / limit).clamp_(min=1.0).float()


def remove_parallel_(gradient: Tensor, W_dec: Tensor) -> None:
    """Take from each row of the gradient (m, d) its component along that row of W_dec (unit norm).

    Without it Adam's moments fill with a direction that renormalisation undoes anyway.
    """
    for rows in blocks(W_dec):
        part, along = gradient[rows], W_dec[rows]
        part.addcmul_((part * along).sum(dim=1, keepdim=True), along, value=-1.0)


def adam_(
    parameters: dict[str, Tensor],
    gradients: dict[str, Tensor],
    first: dict[str, Tensor],
    second: dict[str, Tensor],
    *,
    step: int,
    lr: float,
    divisor: Tensor | None = None,
) -> None:
    """One step of Adam (Kingma & Ba 2015) in place; `step` counts from 1. No weight decay.

    Gradients count divided by `divisor` (`clipping`), and are used as scratch space.
    """
    names = list(parameters)
    device = parameters[names[0]].device
    torch._fused_adam_(
        [plain(parameters[name]) for name in names],
        [plain(gradients[name]) for name in names],
        [plain(first[name]) for name in names],
        [plain(second[name]) for name in names],
        [],
        [torch.full((), float(step), device=device)] * len(names),
        lr=lr,
        beta1=BETA1,
        beta2=BETA2,
        weight_decay=0.0,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
        grad_scale=divisor,
    )


def normalise_rows_(W_dec: Tensor) -> None:
    """Bring each row of W_dec (m, d) back to unit norm."""
    for rows in blocks(W_dec):
        part = W_dec[rows]
        part.div_(torch.linalg.vector_norm(part, dim=1, keepdim=True).clamp_(min=1e-12))


def plain(tensor: Tensor) -> Tensor:
    """The same values lying in memory in order: W_enc is kept as the transpose of such a matrix."""
    return tensor if tensor.is_contiguous() else tensor.t()
