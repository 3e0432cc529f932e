"""Clip, project, Adam, renormalise: what happens between two forward passes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clipsteer.dictionaries.numerics import square_sum

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def clip_norm_(gradients: dict[str, Tensor], limit: float | None) -> float:
    """Scale all gradients so that their joint norm is at most `limit`; return the norm before that.

    The same formula as `torch.nn.utils.clip_grad_norm_`, with the sums in a fixed order.
    """
    norm = math.sqrt(sum(square_sum(gradients[name]) for name in sorted(gradients)))
    if limit is not None and norm > limit:
        for gradient in gradients.values():
            gradient.mul_(limit / (norm + 1e-6))
    return norm


def remove_parallel_(gradient: Tensor, W_dec: Tensor) -> None:
    """Take from each row of the gradient (m, d) its component along that row of W_dec (unit norm).

    Without it Adam's moments fill with a direction that renormalisation undoes anyway.
    """
    gradient.addcmul_(torch.linalg.vecdot(gradient, W_dec).unsqueeze(1), W_dec, value=-1.0)


def adam_(
    parameters: dict[str, Tensor],
    gradients: dict[str, Tensor],
    first: dict[str, Tensor],
    second: dict[str, Tensor],
    *,
    step: int,
    lr: float,
) -> None:
    """One step of Adam (Kingma & Ba 2015) in place; `step` counts from 1. No weight decay.

    Gradients are used as scratch space.
    """
    correction1 = 1.0 - BETA1**step
    correction2 = math.sqrt(1.0 - BETA2**step)
    for name, parameter in parameters.items():
        gradient = gradients[name]
        first[name].lerp_(gradient, 1.0 - BETA1)
        second[name].mul_(BETA2).addcmul_(gradient, gradient, value=1.0 - BETA2)
        denominator = torch.sqrt(second[name], out=gradient).div_(correction2).add_(EPSILON)
        parameter.addcdiv_(first[name], denominator, value=-lr / correction1)


def normalise_rows_(W_dec: Tensor) -> None:
    """Bring each row of W_dec (m, d) back to unit norm."""
    W_dec.div_(torch.linalg.vector_norm(W_dec, dim=1, keepdim=True).clamp_(min=1e-12))
