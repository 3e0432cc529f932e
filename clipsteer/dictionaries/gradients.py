"""One forward and backward pass of an SAE, written out by hand.

Autograd would keep several (n, m) arrays alive; at m = 49,152 each is 0.8 GB for 4,096 tokens.
Here at most two live at once, and one where the code is sparse: then decoding and all gradients go
over the entries that fired alone, with the same sums. The tests hold the formulas to autograd in
float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from clipsteer.backbones.device import one_thread
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.codes import Codes, by_feature, decode, products, transposed
from clipsteer.dictionaries.loss import Mse, ghost_gradients, token_weights
from clipsteer.dictionaries.nested import Part, parts, reconstruct
from clipsteer.dictionaries.numerics import square_sum, total


class Pass(NamedTuple):
    """What one batch gives."""

    gradients: dict[str, Tensor]
    """By name, in the shapes of the parameters; W_enc's is the transpose of a contiguous (m, d)."""

    fired: Tensor
    """Which features fired on any token, bool (m,)."""

    loss: float
    """mse + l1 + ghost. This and what follows are NaN without `statistics` on devices other than the
    CPU, which would have to be waited for."""

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


class _Backward(NamedTuple):
    """What the gradient of the loss by the reconstruction, (n, d), becomes on the way back."""

    W_enc: Tensor
    """Transposed, (m, d)."""

    b_enc: Tensor
    W_dec: Tensor
    fired: Tensor


@torch.no_grad()
def forward_backward(
    dictionary: Dictionary,
    x: Tensor,
    *,
    mse: Mse,
    l1: float,
    dead: Tensor | None = None,
    statistics: bool = True,
    dense: bool = False,
) -> Pass:
    """Loss and its gradients for tokens x (n, d).

    Args:
        dictionary: an SAE whose code is relu(pre) on the features it keeps (vanilla, Top-K and its like).
        x: activations (n, d), in the dictionary's dtype.
        mse: variant of the reconstruction loss.
        l1: coefficient of the mean over tokens of sum_j f_j.
        dead: int64 numbers of the dead features, for ghost gradients; None or empty for none.
        statistics: whether L0 and explained variance are wanted too.
        dense: whether to use matrix products over all features however few fire: the slow way, to
            compare with.
    """
    n = x.shape[0]
    centred = x - dictionary.b_dec
    f = dictionary.dense_code(centred) if dense else dictionary.code(centred)
    values = f.value if isinstance(f, Codes) else f
    weights = token_weights(x, mse)
    nested: list[Part] = []
    if len(dictionary.levels) > 1:
        nested = parts(dictionary, f)
        residual, mse_value, by_part = reconstruct(nested, x, weights)
        by_output = by_part[0]
    else:
        output = _decoded(dictionary, f)
        residual = torch.sub(x, output, out=output)
        mse_value = total(torch.linalg.vecdot(residual, residual) * weights.squeeze(1))
        by_output = residual * (weights * -2.0)
    l1_value = l1 * total(values.sum(dim=-1) if values.ndim > 1 else values) / n if l1 else 0.0
    l0, explained = _statistics(x, residual, values) if statistics else (math.nan, math.nan)

    if nested:
        found = [
            _back(*part, centred, own, l1 / n) for part, own in zip(nested, by_part, strict=True)
        ]
        back = _Backward(*(torch.cat(pieces) for pieces in zip(*found, strict=True)))
    else:
        back = _back(dictionary, f, centred, by_output, l1 / n)
    del f, values, nested
    ghost_value: Tensor | float = 0.0
    if dead is not None and dead.numel():
        encoder = dictionary.W_enc.t().index_select(0, dead)
        dead_pre = torch.addmm(dictionary.b_enc.index_select(0, dead), centred, encoder.t())
        ghost = ghost_gradients(dead_pre, dictionary.directions(dead), residual, weights)
        back.W_enc.index_add_(0, dead, ghost.pre.t() @ centred)
        back.b_enc.index_add_(0, dead, _column_sums(ghost.pre))
        back.W_dec.index_add_(0, dead, ghost.W_dec)
        ghost_value = ghost.term
    gradients = {
        "W_enc": back.W_enc.t(),
        "b_enc": back.b_enc,
        "W_dec": back.W_dec,
        # b_dec is added to the output and subtracted from the input.
        "b_dec": by_output.sum(dim=0) - _applied(dictionary.W_enc, back.b_enc),
    }
    terms = (mse_value + l1_value + ghost_value, mse_value, l1_value, ghost_value)
    known = statistics or x.device.type == "cpu"
    loss, mse_term, l1_term, ghost_term = (float(t) if known else math.nan for t in terms)
    return Pass(gradients, back.fired, loss, mse_term, l1_term, ghost_term, l0, explained)


def _decoded(dictionary: Dictionary, f: Tensor | Codes) -> Tensor:
    if isinstance(f, Codes):
        return decode(f, dictionary.W_dec).add_(dictionary.b_dec)
    return dictionary.decode(f)


def _back(
    dictionary: Dictionary, f: Tensor | Codes, centred: Tensor, by_output: Tensor, l1: float
) -> _Backward:
    if isinstance(f, Codes):
        return _sparse(dictionary, f, centred, by_output, l1)
    return _dense(dictionary, f, centred, by_output, l1)


def _dense(
    dictionary: Dictionary, f: Tensor, centred: Tensor, by_output: Tensor, l1: float
) -> _Backward:
    # d loss / d f; the rectifier lets through what fired, and the L1 term adds l1 there.
    by_code = torch.addmm(f.new_full((1,), l1), by_output, dictionary.W_dec.t())
    torch.ops.aten.threshold_backward.grad_input(by_code, f, 0, grad_input=by_code)
    return _Backward(
        W_enc=by_code.t() @ centred,
        b_enc=_column_sums(by_code),
        W_dec=f.t() @ by_output,
        fired=f.amax(dim=0) > 0,
    )


def _sparse(
    dictionary: Dictionary, f: Codes, centred: Tensor, by_output: Tensor, l1: float
) -> _Backward:
    where = transposed(f, dictionary.m)
    by_code = products(f.start, f.feature, by_output, dictionary.W_dec).add_(l1)
    by_code.mul_(f.value > 0)
    fired = torch.zeros_like(dictionary.b_enc).index_add_(0, f.feature, f.value) > 0
    return _Backward(
        W_enc=by_feature(where, by_code, centred),
        b_enc=torch.zeros_like(dictionary.b_enc).index_add_(0, f.feature, by_code),
        W_dec=by_feature(where, f.value, by_output),
        fired=fired,
    )


def _column_sums(values: Tensor) -> Tensor:
    """(n, m) -> (m,), as a product: its order of adding does not depend on the threads."""
    return values.new_ones(values.shape[0]) @ values


def _applied(matrix: Tensor, vector: Tensor) -> Tensor:
    """(r, c) and (c,) -> (r,), on one thread: of a vector alone MKL may add in another order with more."""
    with one_thread():
        return matrix @ vector


def _statistics(x: Tensor, residual: Tensor, values: Tensor) -> tuple[float, float]:
    """L0 and the explained variance of one batch; `values` of the code, dense or listed."""
    variance = float(square_sum(x - x.mean(dim=0)))
    explained = 1.0 - float(square_sum(residual)) / variance if variance > 0 else math.nan
    fired = values > 0
    return float(total(fired.sum(dim=-1) if fired.ndim > 1 else fired)) / x.shape[0], explained
