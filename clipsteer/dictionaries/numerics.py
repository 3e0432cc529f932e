"""Sums whose result does not depend on the number of threads; passes over rows that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

#: Values of one matrix in a block of rows: 1 MB in float32.
BLOCK = 2**18


def total(values: Tensor) -> Tensor:
    """Sum of a vector (n,) in float64, in one fixed order; on its device, so that nothing waits.

    A full `x.sum()` over a large tensor is split between threads and so depends on their number;
    reduce rows first (`x.sum(dim=-1)`), then call this.
    """
    wide = values.detach().to(torch.float64)
    return torch.tensor(np.sum(wide.numpy())) if wide.device.type == "cpu" else wide.sum()


def square_sum(values: Tensor) -> Tensor:
    """Sum of squares of a vector or matrix: rows first, then `total`."""
    if values.ndim == 1:
        return total(values.to(torch.float64).square())
    return total(torch.linalg.vector_norm(values, dim=-1).to(torch.float64).square())


def blocks(rows: Tensor) -> Iterator[slice]:
    """Runs of rows of a matrix that fit a processor's cache.

    On other devices, where each operation costs a launch, all rows at once.
    """
    n, d = rows.shape
    size = max(1, BLOCK // d) if rows.device.type == "cpu" else n
    for low in range(0, n, size):
        yield slice(low, min(low + size, n))
