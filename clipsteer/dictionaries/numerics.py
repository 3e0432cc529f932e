"""Sums whose result does not depend on the number of threads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def total(values: Tensor) -> float:
    """Sum of a vector (n,) in float64, in one fixed order.

    A full `x.sum()` over a large tensor is split between threads and so depends on their number;
    reduce rows first (`x.sum(dim=-1)`), then call this.
    """
    return float(np.sum(values.detach().to(torch.float64).cpu().numpy()))


def square_sum(values: Tensor) -> float:
    """Sum of squares of a vector or matrix: rows first, then `total`."""
    if values.ndim == 1:
        return total(values.to(torch.float64).square())
    return total(torch.linalg.vector_norm(values, dim=-1).to(torch.float64).square())
