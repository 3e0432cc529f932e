"""The terms of the loss: reconstruction, a weight per token on its squared error; and ghost gradients.

These pull dead features towards what the live ones leave unexplained.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from clipsteer.dictionaries.numerics import square_sum, total

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


class Ghost(NamedTuple):
    """The ghost term of one batch, with its gradients."""

    term: Tensor
    """Value of the term, float64 ()."""

    pre: Tensor
    """Gradient by the dead features' pre-activations, (n, dead)."""

    W_dec: Tensor
    """Gradient by the dead features' decoder rows, (dead, d)."""


def ghost_gradients(pre: Tensor, W_dec: Tensor, residual: Tensor, weights: Tensor) -> Ghost:
    """Ghost term and gradients for the dead features (Section 10.1 names them; docs/method.md, section 4).

        g = exp(pre) W_dec;  g *= (||r|| / (1e-6 + 2 ||g||)).detach(),  r = x - x_hat
        l = (g - r.detach())^2 / ||r - mean(r)||_2
        term = ((mse / (l + 1e-6)).detach() * l).mean()

    As in the authors' code the rescaling is element by element: `mse` is the (n, d) array whose
    mean is the reconstruction loss.

    Args:
        pre: pre-activations of the dead features, (n, dead); overwritten.
        W_dec: their decoder rows, (dead, d).
        residual: r = x - x_hat, (n, d).
        weights: `token_weights` of the loss in force, (n, 1).
    """
    n, d = residual.shape
    codes = pre.exp_()
    raw = codes @ W_dec
    scale = torch.linalg.vector_norm(residual, dim=1, keepdim=True) / (
        1e-6 + 2 * torch.linalg.vector_norm(raw, dim=1, keepdim=True)
    )
    centred = residual - residual.mean(dim=0)
    spread = torch.linalg.vector_norm(centred, dim=1, keepdim=True).clamp_(min=SMALLEST_NORM)
    gap = raw * scale - residual
    loss = gap.square() / spread
    # (n d) w r^2 is the reconstruction loss element by element, so that its mean is the loss.
    rescale = residual.square() * (weights * (n * d)) / (loss + 1e-6)
    term = total((rescale * loss).sum(dim=1)) / (n * d)
    raw_gradient = rescale * gap * (2.0 / (n * d)) / spread * scale
    return Ghost(term, (raw_gradient @ W_dec.t()).mul_(codes), codes.t() @ raw_gradient)
