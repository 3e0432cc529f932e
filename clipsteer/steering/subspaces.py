"""Subspaces to project off: spans of a feature set's directions or of its encoder's columns, and random ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from clipsteer.backbones.tokens import token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.steering.evaluator import Evaluator
from clipsteer.steering.intervention import StreamEdit

Side = Literal["decoder", "encoder"]
SIDES: tuple[Side, Side] = ("decoder", "encoder")


def vectors_of(dictionary: Dictionary, features: np.ndarray, side: Side) -> torch.Tensor:
    """What the features stand for, (|F|, d) float64: directions n_j, or columns of the encoder."""
    index = torch.from_numpy(np.asarray(features, dtype=np.int64))
    if side == "decoder":
        rows = dictionary.directions(index.to(dictionary.W_dec.device))
    else:
        rows = dictionary.W_enc.index_select(1, index.to(dictionary.W_enc.device)).T
    return rows.cpu().double()


def span(vectors: torch.Tensor) -> torch.Tensor:
    """An orthonormal basis (d, r) of what rows (k, d) span; r counts singular values above rounding."""
    if not len(vectors):
        return vectors.new_zeros(vectors.shape[1], 0)
    _, values, rows = torch.linalg.svd(vectors, full_matrices=False)
    # as numpy.linalg.matrix_rank has it, for vectors that were stored in float32
    least = values[0] * max(vectors.shape) * torch.finfo(torch.float32).eps
    basis: torch.Tensor = rows[values > least].T.contiguous()
    return basis


def second_moment(evaluator: Evaluator) -> torch.Tensor:
    """Sum of x x^T (d, d) float64 over the edited tokens of all images. Raises ValueError for none."""
    total: torch.Tensor | None = None
    for _, hook, _ in evaluator.batches():
        x = torch.from_numpy(np.asarray(hook, dtype=np.float64))
        rows = x[:, token_span(evaluator.tokens, x.shape[1])].reshape(-1, x.shape[2])
        total = rows.T @ rows if total is None else total + rows.T @ rows
    if total is None:
        raise ValueError("no batches")
    return total


def removed_energy(edits: Sequence[StreamEdit], evaluator: Evaluator) -> list[float]:
    """Sum over the edited tokens of all images of ||x' - x||^2, of each edit, float64."""
    totals = [0.0] * len(edits)
    if not edits:
        return totals
    with torch.inference_mode():
        for _, hook, _ in evaluator.batches():
            x = torch.from_numpy(np.asarray(hook, dtype=np.float32)).to(evaluator.device)
            for number, edit in enumerate(edits):
                change = (edit.apply(x, evaluator.tokens) - x).double()
                totals[number] += float(change.square().sum())
    return totals


def rank_reaching(energy: float, second: torch.Tensor, basis: torch.Tensor) -> int:
    """The smallest r for which projecting off the first r columns of `basis` removes `energy`.

    `second` (d, d) as from `second_moment`, `basis` (d, d) orthonormal. What r columns remove is
    sum_{k<r} q_k^T S q_k. d where even all of them remove less.
    """
    removed = torch.cumsum((basis * (second @ basis)).sum(dim=0), dim=0)
    reached = int((removed < energy).sum()) + 1 if energy > 0 else 0
    return min(reached, basis.shape[1])
