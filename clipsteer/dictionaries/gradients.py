"""One forward and backward pass of an SAE, written out by hand.

Autograd would keep several (n, m) arrays alive; at m = 49,152 each is 0.8 GB for 4,096 tokens.
Here two live at once: the code, and the gradient by it. The tests hold the formulas to autograd in
float64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.ghost import ghost_gradients
from clipsteer.dictionaries.loss import Mse, token_weights
from clipsteer.dictionaries.numerics import square_sum, total


class Pass(NamedTuple):
    """What one batch gives."""

    gradients: dict[str, Tensor]
    """By name, in the shapes of the parameters."""

    fired: Tensor
    """Which features fired on any token, bool (m,)."""

    loss: float
    """mse + l1 + ghost."""

    mse: float
    """Reconstruction loss in the variant asked for."""

    l1: float
    """Coefficient times the mean over tokens of sum_j f_j."""

    ghost: float
    """Ghost term; 0 where no feature is dead."""

    l0: float
    """Mean number of features that fire on a token; NaN unless `statistics`."""

    explained_variance: float
    """1 - squared error / total variance of this batch; NaN unless `statistics`."""


@torch.no_grad()
def forward_backward(
    dictionary: Dictionary,
    x: Tensor,
    *,
    mse: Mse,
    l1: float,
    dead: Tensor | None = None,
    statistics: bool = True,
) -> Pass:
    """Loss and its gradients for tokens x (n, d).

    Args:
        dictionary: an SAE whose code is relu(pre) on the features it keeps (vanilla, Top-K).
        x: activations (n, d), in the dictionary's dtype.
        mse: variant of the reconstruction loss.
        l1: coefficient of the mean over tokens of sum_j f_j.
        dead: int64 numbers of the dead features, for ghost gradients; None or empty for none.
        statistics: whether L0 and explained variance are wanted too.
    """
    n = x.shape[0]
    centred = x - dictionary.b_dec
    pre = torch.addmm(dictionary.b_enc, centred, dictionary.W_enc)
    has_dead = dead is not None and dead.numel() > 0
    # `activate` may overwrite `pre`, so the dead columns are taken first.
    dead_pre = pre.index_select(1, dead) if has_dead and dead is not None else None
    f = dictionary.activate(pre)
    del pre
    residual = x - dictionary.decode(f)
    weights = token_weights(x, mse)
    mse_value = total(torch.linalg.vecdot(residual, residual) * weights.squeeze(1))
    l1_value = l1 * total(f.sum(dim=1)) / n if l1 else 0.0
    l0, explained = _statistics(x, residual, f) if statistics else (float("nan"), float("nan"))

    by_output = residual * (weights * -2.0)
    # d loss / d f; the rectifier lets through what fired, and the L1 term adds l1 / n there.
    by_code = torch.addmm(x.new_full((1,), l1 / n), by_output, dictionary.W_dec.t())
    torch.ops.aten.threshold_backward.grad_input(by_code, f, 0, grad_input=by_code)
    W_dec = f.t() @ by_output
    fired = f.amax(dim=0) > 0
    del f
    ghost_term = 0.0
    if dead_pre is not None and dead is not None:
        ghost = ghost_gradients(dead_pre, dictionary.directions(dead), residual, weights)
        by_code.index_add_(1, dead, ghost.pre)
        W_dec.index_add_(0, dead, ghost.W_dec)
        ghost_term = ghost.term
    b_enc = x.new_ones(n) @ by_code
    gradients = {
        "W_enc": centred.t() @ by_code,
        "b_enc": b_enc,
        "W_dec": W_dec,
        # b_dec is added to the output and subtracted from the input.
        "b_dec": by_output.sum(dim=0) - dictionary.W_enc @ b_enc,
    }
    loss = mse_value + l1_value + ghost_term
    return Pass(gradients, fired, loss, mse_value, l1_value, ghost_term, l0, explained)


def _statistics(x: Tensor, residual: Tensor, f: Tensor) -> tuple[float, float]:
    """L0 and the explained variance of one batch."""
    variance = square_sum(x - x.mean(dim=0))
    explained = 1.0 - square_sum(residual) / variance if variance > 0 else float("nan")
    return total((f > 0).sum(dim=1)) / x.shape[0], explained
