"""Reconstruction losses. Each is a weight per token on that token's squared error."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from clipsteer.dictionaries.numerics import square_sum

Mse = Literal["prisma", "sum", "normalised"]
MSE_VARIANTS: tuple[str, ...] = get_args(Mse)

#: A token that equals the batch mean would be divided by zero; real tokens are far above this.
SMALLEST_NORM = 1e-8


def token_weights(x: Tensor, mse: Mse) -> Tensor:
    """Weights w (n, 1) such that the loss is sum_i w_i ||x_hat_i - x_i||^2, for tokens x (n, d).

    - `prisma`: squared errors over ||x_i - batch mean||_2 (the norm, not its square), averaged over
      tokens and dimensions (the authors' library; docs/method.md, section 4).
    - `sum`: squared errors summed over dimensions, averaged over tokens (SAELens).
    - `normalised`: all squared errors over the batch's total variance, that is one minus the
      explained variance (sparsify).

    The weights depend on x alone, so no gradient flows through them.
    """
    n, d = x.shape
    if mse == "sum":
        return x.new_full((n, 1), 1.0 / n)
    centred = x - x.mean(dim=0)
    if mse == "normalised":
        variance = square_sum(centred).clamp_(min=SMALLEST_NORM)
        return variance.reciprocal_().to(x.dtype).expand(n, 1)
    norms = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    weights: Tensor = (norms.clamp_(min=SMALLEST_NORM) * (n * d)).reciprocal_()
    return weights
