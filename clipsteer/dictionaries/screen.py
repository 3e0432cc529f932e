"""The k largest pre-activations of each token without sorting all of them, and without doubt.

A cheap product screens: float32, or bfloat16 where the processor multiplies it faster. From a proven
bound on its error follows which features can be among the k largest; only those, little more than k,
are valued in float32 (`codes.products`), and the k largest are taken by these values. So the result
does not depend on the precision that screened.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipsteer.dictionaries.codes import Codes, products, split, starts

#: Weights (d m) from which converting to bfloat16 and valuing more candidates pays.
BF16_WEIGHTS = 2**17

#: Features per group on the way to the k-th largest, and fewest groups for each of the k.
GROUP, GROUPS_PER_K = 8, 4


class Bound(NamedTuple):
    """|screened - exact| <= absolute + relative |screened|, entry by entry."""

    absolute: Tensor
    """Per token, (n,)."""

    relative: float
    """Of rounding the screened value itself."""


def screening_dtype(x: Tensor, weights: int) -> torch.dtype:
    """bfloat16 for large float32 products where the processor has instructions for it."""
    if x.dtype != torch.float32 or weights < BF16_WEIGHTS:
        return x.dtype
    if x.device.type == "cpu":
        able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        able = x.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if able else x.dtype


def screen(
    centred: Tensor, encoder: Tensor, bias: Tensor, dtype: torch.dtype, out: Tensor | None = None
) -> tuple[Tensor, Bound]:
    """Pre-activations (n, m) in `dtype`, and how far they may lie from those valued one by one.

    Args:
        centred: x - b_dec, (n, d).
        encoder: one row per feature, (m, d).
        bias: (m,).
        dtype: of the product, accumulated in float32.
        out: where to write them; (n, m) of `dtype`.
    """
    d = centred.shape[1]
    low_x, low_w, low_b = centred.to(dtype), encoder.to(dtype), bias.to(dtype)
    screened = torch.addmm(low_b, low_x, low_w.t(), out=out)
    norm_x, norm_w = row_norms(centred), row_norms(encoder)
    # Adding d products in any order errs by d u at most (Higham 2002, 3.1), here and where the
    # candidates are valued; doubled, for units that truncate and for the norms' own rounding.
    unit = torch.finfo(centred.dtype).eps
    absolute = norm_x * (norm_w.max() * (4 * (d + 4) * unit))
    absolute += bias.abs().max() * (4 * unit) + d * torch.finfo(torch.float32).tiny
    if dtype != centred.dtype:
        # x.w - x'.w' = (x - x').w + x'.(w - w'), each at most the product of its norms.
        lost_x, lost_w = row_norms(centred - low_x), row_norms(encoder - low_w)
        absolute += (lost_x * norm_w.max() + (norm_x + lost_x) * lost_w.max()) * (1 + 1e-5)
        absolute += (bias - low_b).abs().max()
    # Rounded once to `dtype` after adding up, and once more where the bias is added to that.
    return screened, Bound(absolute, 1.01 * torch.finfo(dtype).eps)


def row_norms(rows: Tensor) -> Tensor:
    """Norm of each row: (n, d) -> (n,)."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms


def top_codes(
    centred: Tensor,
    encoder: Tensor,
    bias: Tensor,
    k: int,
    *,
    dtype: torch.dtype,
    out: Tensor | None = None,
) -> Codes:
    """relu of the k largest pre-activations of each token; ties go to the lower feature.

    Arguments as of `screen`. On the CPU exact whatever `dtype`, and only positive entries. Elsewhere
    the candidates are the k and half as many again with the largest screened values, and all k are
    entries, so that nothing waits for the device.
    """
    screened, bound = screen(centred, encoder, bias, dtype, out)
    if centred.device.type != "cpu":
        return _top_fixed(centred, encoder, bias, screened, k)
    token, feature = _candidates(screened, k, bound)
    n, m = screened.shape
    start = starts(token, n)
    value = products(start, torch.from_numpy(feature), centred, encoder)
    value += bias.index_select(0, torch.from_numpy(feature))
    kept = _largest(token, feature, value.numpy(), start.numpy(), k, m)
    return Codes(
        starts(token[kept], n),
        torch.from_numpy(feature[kept]),
        value.index_select(0, torch.from_numpy(kept)),
    )


def _top_fixed(centred: Tensor, encoder: Tensor, bias: Tensor, screened: Tensor, k: int) -> Codes:
    n, m = screened.shape
    width = k if screened.dtype == centred.dtype else min(m, k + k // 2)
    # In ascending order, so that the stable sort below puts the lower feature first.
    feature = screened.topk(width, dim=1, sorted=False).indices.sort(dim=1).values
    start = torch.arange(0, n * width + 1, width, device=screened.device)
    value = products(start, feature.view(-1), centred, encoder).view(n, width)
    value = value + bias.index_select(0, feature.view(-1)).view(n, width)
    value, place = value.sort(dim=1, descending=True, stable=True)
    feature = feature.gather(1, place[:, :k]).view(-1)
    start = torch.arange(0, n * k + 1, k, device=screened.device)
    return Codes(start, feature, value[:, :k].relu().reshape(-1))


def _candidates(
    screened: Tensor, k: int, bound: Bound
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Tokens and features of all entries that may be positive and among the k largest.

    The k-th largest of the maxima of disjoint groups is at most the k-th largest value, and close to
    it where the groups are many. What lies further below it than twice the bound cannot be among the
    k largest by exact value, as k others lie above it.
    """
    n, m = screened.shape
    group = _group(m, k)
    maxima = screened.view(n, group, m // group).amax(dim=1)
    coarse = maxima
    while (again := _group(coarse.shape[1], k)) > 1:
        coarse = coarse.view(n, again, -1).amax(dim=1)
    width = coarse.shape[1]
    wide = coarse.to(bound.absolute.dtype).numpy()
    reached = torch.from_numpy(np.partition(wide, width - k, axis=1)[:, width - k].copy())
    absolute, relative = bound.absolute, bound.relative
    below = reached - relative * reached.abs() - 2 * absolute
    lowest = torch.maximum(below, -absolute)
    lowest = (lowest - relative * lowest.abs()).unsqueeze(1)
    if screened.dtype != lowest.dtype:
        # Rounded to the screen's own dtype and one step down: a comparison there is then no stricter.
        lowest = lowest.to(screened.dtype)
        lowest = torch.nextafter(lowest, torch.full_like(lowest, -math.inf))
    token, first = split(np.flatnonzero((maxima >= lowest).numpy()), m // group)
    steps = np.arange(group, dtype=np.int32) * np.int32(m // group)
    feature: NDArray[np.int32] = np.add.outer(first, steps)
    # As integers: numpy, whose gathering is the faster one, has no bfloat16.
    whole = torch.int16 if screened.dtype == torch.bfloat16 else screened.dtype
    flat: NDArray[np.int64] = token[:, None].astype(np.int64) * m + feature
    values = torch.from_numpy(screened.view(whole).numpy().reshape(-1).take(flat))
    floors = lowest.view(-1).index_select(0, torch.from_numpy(token)).unsqueeze(1)
    inner = np.flatnonzero((values.view(screened.dtype) >= floors).numpy())
    return token[inner // group], feature.reshape(-1)[inner]


def _group(m: int, k: int) -> int:
    """How many features to a group: a divisor of m that leaves enough groups; 1 for none."""
    for size in (GROUP, GROUP // 2, GROUP // 4):
        if m % size == 0 and m // size >= GROUPS_PER_K * k:
            return size
    return 1


def _largest(
    token: NDArray[np.int32],
    feature: NDArray[np.int32],
    value: NDArray[np.floating],
    start: NDArray[np.int32],
    k: int,
    m: int,
) -> NDArray[np.int64]:
    """Places of the positive entries among the k largest of their token, in the given order."""
    n = len(start) - 1
    counts = np.diff(start)
    width = max(int(counts.max(initial=0)), k)
    padded = np.full((n, width), -np.inf, value.dtype)
    padded[token, np.arange(len(token)) - start[token]] = value
    reached = np.partition(padded, width - k, axis=1)[:, width - k]
    kept = np.flatnonzero((value >= reached[token]) & (value > 0))
    over = np.bincount(token[kept], minlength=n) > k
    if not over.any():
        return kept
    # Equal values for the last places: in these tokens the lower features stay.
    tied = over[token[kept]]
    some = kept[tied]
    some = some[np.lexsort((feature[some], -value[some], token[some]))]
    first = np.searchsorted(token[some], token[some])
    some = some[np.arange(len(some)) - first < k]
    return np.sort(np.concatenate([kept[~tied], some]))
