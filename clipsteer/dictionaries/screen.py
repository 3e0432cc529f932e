"""The k largest pre-activations of each token, exactly, without sorting all of them.

A cheap product screens: float32, or bfloat16 where the processor multiplies it faster. From a proven
bound on its error follows which features can be among the k largest; only those, little more than k,
are valued in float32 (`codes.products`), and the k largest are taken by these values. So the result
does not depend on the precision that screened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipsteer.dictionaries.codes import Codes, products, split, starts
from clipsteer.dictionaries.numerics import blocks

#: Weights (d m) from which converting to bfloat16 and valuing more candidates pays.
BF16_WEIGHTS = 2**17

#: Features per group on the way to the k-th largest, and fewest groups for each of the k.
GROUP, GROUPS_PER_K = 8, 4

#: Tokens whose candidates are looked for together; their arrays fit a core's cache.
TOKENS = 256

#: Values of less than this have squares that float32 cannot hold in full.
TINIEST = 2.0**-63

#: Candidates for each of the k from which screening in full precision is cheaper than valuing them.
MOST_PER_K = 8


class Bound(NamedTuple):
    """|screened - exact| <= absolute + relative |screened|, entry by entry."""

    absolute: Tensor
    """Per token, (n,)."""

    relative: float
    """Of rounding the screened value itself."""


class Candidates(NamedTuple):
    """Entries that may be positive and among the k largest of their token, in token order."""

    token: NDArray[np.int32]
    feature: NDArray[np.int32]

    screened: NDArray[np.floating]
    """The screened value."""

    likely: NDArray[np.bool_]
    """Whether it reaches a value that at least k of its token reach."""


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
        dtype: of the product; bfloat16 is accumulated in float32.
        out: where to write them; (n, m) of `dtype`.
    """
    d = centred.shape[1]
    unit = torch.finfo(centred.dtype).eps
    norm_x = row_norms(centred)
    if dtype == centred.dtype:
        screened = torch.addmm(bias, centred, encoder.t(), out=out)
        largest = row_norms(encoder).max()
        absolute, relative = torch.zeros_like(norm_x), unit
    else:
        low_x, lost_x, _ = _lower(centred, dtype)
        low_w, lost_w, norm_w = _lower(encoder, dtype)
        # The bias is two more columns, its rounded value and what that leaves.
        low_x[:, d : d + 2] = 1
        low_w[:, d] = bias
        low_w[:, d + 1] = bias - low_w[:, d]
        screened = torch.mm(low_x, low_w.t(), out=out)
        largest = norm_w.max()
        # x.w - x'.w' = (x - x').w + x'.(w - w'), each at most the product of its norms.
        absolute = (lost_x * largest + (norm_x + lost_x) * lost_w.max()) * (1 + 1e-5)
        low = torch.finfo(dtype).eps
        absolute += bias.abs().max() * low**2
        relative = 0.51 * low
    # Adding d products in any order errs by d u at most (Higham 2002, 3.1), here and where the
    # candidates are valued; doubled, for units that truncate and for the norms' own rounding.
    absolute += (norm_x * largest + bias.abs().max()) * (4 * (d + 4) * unit)
    absolute += d * torch.finfo(torch.float32).tiny
    return screened, Bound(absolute, relative)


def _lower(rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (n, d) in `dtype` before two more columns, of zeros.

    With them the norms of what each row lost, and of the rows.
    """
    n, d = rows.shape
    # Eight are sixteen bytes: rows that start elsewhere keep a GPU from its fastest kernels.
    low = rows.new_empty(n, -(-(d + 2) // 8) * 8, dtype=dtype)
    low[:, d:] = 0
    lost, norms = rows.new_empty(n), rows.new_empty(n)
    for some in blocks(rows):
        part = rows[some]
        low[some, :d] = part
        norms[some] = row_norms(part)
        lost[some] = row_norms(part - low[some, :d])
    return low, lost, norms


def row_norms(rows: Tensor) -> Tensor:
    """Norm of each row or a little more, never less for tiny values: (n, d) -> (n,)."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    # Squares below float32's smallest number are lost, and processors may take such numbers for 0.
    return norms.add_(TINIEST * math.sqrt(rows.shape[1]))


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
    n = len(screened)
    if not bool(bound.absolute.isfinite().all()):
        # Something is no finite number, or its square is none. Comparisons would lose it silently.
        nothing = torch.zeros(n, dtype=torch.int32)
        return Codes(
            starts(np.arange(n, dtype=np.int32), n), nothing, bias.new_full((n,), math.nan)
        )
    found = _candidates(screened, k, bound)
    if dtype != centred.dtype and len(found.token) > MOST_PER_K * k * n:
        del screened
        return top_codes(centred, encoder, bias, k, dtype=centred.dtype)
    token, feature = found.token, found.feature
    value = np.full(len(token), -np.inf, centred.numpy().dtype)

    def look(at: NDArray[np.int64]) -> None:
        some = torch.from_numpy(feature[at])
        exact = products(starts(token[at], n), some, centred, encoder)
        value[at] = exact.add_(bias.index_select(0, some)).numpy()

    look(np.flatnonzero(found.likely))
    # k exact values are known to reach this; nothing counts whose own cannot.
    reached = _reached(token, value, n, k)
    highest = found.screened + np.abs(found.screened) * value.dtype.type(2 * bound.relative)
    highest += bound.absolute.numpy()[token]
    look(np.flatnonzero(~found.likely & (highest >= reached[token])))
    kept = _largest(token, feature, value, n, k)
    return Codes(
        starts(token[kept], n), torch.from_numpy(feature[kept]), torch.from_numpy(value[kept])
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


def _candidates(screened: Tensor, k: int, bound: Bound) -> Candidates:
    """All entries that may be positive and among the k largest of their token by exact value.

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
    absolute, relative = bound.absolute, 2 * bound.relative
    below = reached - relative * reached.abs() - 2 * absolute
    lowest = torch.maximum(below, -absolute)
    lowest -= relative * lowest.abs()
    # Rounded to the screen's own precision and a step down, a comparison there is no stricter.
    floor = lowest.to(screened.dtype).unsqueeze(1)
    floor = torch.nextafter(floor, torch.full_like(floor, -math.inf))
    above = (maxima >= floor).numpy()
    # numpy gathers faster than torch, but knows no bfloat16.
    whole = screened.view(torch.int16) if screened.dtype == torch.bfloat16 else screened
    flat, limits, likely = whole.numpy().reshape(-1), lowest.numpy(), reached.numpy()
    steps = np.arange(group, dtype=np.int32) * np.int32(m // group)

    def part(low: int) -> Candidates:
        token, first = split(np.flatnonzero(above[low : low + TOKENS]), m // group)
        token += np.int32(low)
        feature: NDArray[np.int32] = np.add.outer(first, steps)
        taken = flat.take(np.add(feature, (token.astype(np.int64) * m)[:, None]))
        values = _widened(taken, screened.dtype, limits.dtype)
        inner = np.flatnonzero(values >= limits[token][:, None])
        token = token[inner // group]
        values = values.reshape(-1)[inner]
        return Candidates(token, feature.reshape(-1)[inner], values, values >= likely[token])

    parts = list(_each(part, range(0, n, TOKENS)))
    return Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _widened(
    taken: NDArray[np.generic], dtype: torch.dtype, wide: np.dtype[np.floating]
) -> NDArray[np.floating]:
    """Values gathered as they lie in memory, in the precision of the bound."""
    if dtype != torch.bfloat16:
        return taken.astype(wide, copy=False)
    # bfloat16 is the upper half of a float32.
    return (taken.astype(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _each(work: Callable[[int], Candidates], items: range) -> Iterator[Candidates]:
    """`work` of each item in order, on as many threads as torch has."""
    threads = min(torch.get_num_threads(), len(items))
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, items)


def _group(m: int, k: int) -> int:
    """How many features to a group: a divisor of m that leaves enough groups; 1 for none."""
    for size in (GROUP, GROUP // 2, GROUP // 4):
        if m % size == 0 and m // size >= GROUPS_PER_K * k:
            return size
    return 1


def _reached(
    token: NDArray[np.int32], value: NDArray[np.floating], n: int, k: int
) -> NDArray[np.floating]:
    """The k-th largest of each token's values, -inf where there are fewer: (n,)."""
    start = starts(token, n).numpy()
    width = max(int(np.diff(start).max(initial=0)), k)
    padded = np.full((n, width), -np.inf, value.dtype)
    padded[token, np.arange(len(token), dtype=np.int32) - start[token]] = value
    padded.partition(width - k, axis=1)
    return padded[:, width - k].copy()


def _largest(
    token: NDArray[np.int32],
    feature: NDArray[np.int32],
    value: NDArray[np.floating],
    n: int,
    k: int,
) -> NDArray[np.int64]:
    """Places of the positive entries among the k largest of their token, in the given order."""
    reached = _reached(token, value, n, k)
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
