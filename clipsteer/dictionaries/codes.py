"""Sparse codes: only what fired, and the products of a training step over just that.

All products are exact sums over the positive entries of the code: what the dense matrix products
add beside them are zeros. Each output row belongs to one thread, so threads do not reach the bytes.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

#: Share of entries up to which sums over them alone beat matrix products over all: in general, and where a
#: weight matrix of up to `CACHED` values fits a core's cache (docs/speed.md).
DENSEST, CACHED_DENSEST = 1 / 10, 1 / 6
CACHED = 2**18


class Codes(NamedTuple):
    """The entries of a code f (n, m) that may be positive, token by token (CSR)."""

    start: Tensor
    """Where each token's entries begin, and where the last one's end: (n + 1,)."""

    feature: Tensor
    """The feature of each entry, of `start`'s dtype, (entries,)."""

    value: Tensor
    """f at each entry, never negative, (entries,)."""


class Transposed(NamedTuple):
    """Where the entries of `Codes` lie when ordered by feature, then token."""

    start: Tensor
    """Where each feature's entries begin, (m + 1,)."""

    token: Tensor
    """The token of each entry, of `start`'s dtype, (entries,)."""

    order: Tensor
    """The place of each entry among the `Codes`, (entries,)."""


def sparse_pays(share: float, weights: int) -> bool:
    """Whether a code of which such a share is positive is faster as a list; W_dec has `weights`."""
    return share <= (CACHED_DENSEST if weights <= CACHED else DENSEST)


def positive(f: Tensor, fired: NDArray[np.bool_]) -> Codes:
    """A dense code (n, m) on the CPU as a list; `fired` is f > 0."""
    n, m = f.shape
    flat = np.flatnonzero(fired)
    token, feature = split(flat, m)
    value = f.numpy().reshape(-1).take(flat)
    return Codes(starts(token, n), torch.from_numpy(feature), torch.from_numpy(value))


def split(flat: NDArray[np.int64], width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Rows and columns of places in a matrix of `width` columns, counted through row by row."""
    row = flat // width
    return row.astype(np.int32), (flat - row * width).astype(np.int32)


def starts(token: NDArray[np.int32], n: int) -> Tensor:
    """Where the entries of each of n tokens begin, of entries in token order: int32 (n + 1,)."""
    start = np.zeros(n + 1, np.int32)
    np.cumsum(np.bincount(token, minlength=n), out=start[1:])
    return torch.from_numpy(start)


def products(start: Tensor, feature: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """left_i . right_j at each entry (token i, feature j): (n, d), (m, d) -> (entries,)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            start,
            feature,
            left.new_zeros(len(feature)),
            (left.shape[0], right.shape[0]),
            check_invariants=False,
        )
    found: Tensor = torch.sparse.sampled_addmm(pattern, left, right.t(), beta=0.0)
    return found.values()


def decode(codes: Codes, W_dec: Tensor) -> Tensor:
    """f W_dec: (m, d) -> (n, d)."""
    return embedding_bag(
        codes.feature, W_dec, codes.start[:-1], mode="sum", per_sample_weights=codes.value
    )


def transposed(codes: Codes, m: int) -> Transposed:
    """The codes' entries ordered by feature, tokens ascending within each."""
    start, feature = codes.start, codes.feature
    entries, n = len(feature), len(start) - 1
    if feature.device.type == "cpu":
        from scipy.sparse import csr_array

        number = np.arange(entries, dtype=np.int32)
        parts = (number, feature.numpy(), start.numpy())
        turned = csr_array(parts, shape=(n, m)).tocsc()
        return Transposed(
            *(torch.from_numpy(part) for part in (turned.indptr, turned.indices, turned.data))
        )
    order = torch.argsort(feature, stable=True)
    token = torch.repeat_interleave(
        torch.arange(n, device=start.device), start.diff(), output_size=entries
    )
    first = start.new_zeros(m + 1)
    first[1:].index_add_(0, feature, torch.ones_like(feature))
    return Transposed(first.cumsum(0), token.index_select(0, order), order)


def by_feature(where: Transposed, values: Tensor, rows: Tensor) -> Tensor:
    """sum_i v_ij rows_i for each feature j: entries' values and (n, d) -> (m, d)."""
    return embedding_bag(
        where.token,
        rows,
        where.start[:-1],
        mode="sum",
        per_sample_weights=values.index_select(0, where.order),
    )
