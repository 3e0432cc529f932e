"""What directions are fitted on: means and covariances of a split's tokens, in one pass (float64).

A cell is a target class with or without the attribute: 2 * target + (1 in D_A, else 0). CLS (where a model has
it) and spatial tokens are kept apart, and within each kind every token of an image has the same weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch

from clipsteer.backbones.tokens import token_span, tokens_meant
from clipsteer.steering.intervention import TOKEN_KINDS, TokenKind
from clipsteer.steering.statistics import Balance, refuse_one_sided


class Moments(NamedTuple):
    """Sums over the tokens of one kind, by cell, float64.

    `tokens` (C,): how many; `sums` (C, d); `squares` (C, d, d): of x x^T.
    """

    tokens: torch.Tensor
    sums: torch.Tensor
    squares: torch.Tensor


class Fitted(NamedTuple):
    """What one pass yields: moments by kind of token, and the mean over all tokens of each image (N, d)."""

    kinds: Mapping[TokenKind, Moments]
    image_means: torch.Tensor

    @property
    def n_cells(self) -> int:
        return len(next(iter(self.kinds.values())).tokens)


class Contrast(NamedTuple):
    """D_A and D_notA under a weighting of the cells, all float64.

    `mean_a`, `mean_not_a`, `mean` (d,), `covariance` (d, d) of x (population), `cross` (d,): covariance of
    x with the indicator of A.
    """

    mean_a: torch.Tensor
    mean_not_a: torch.Tensor
    mean: torch.Tensor
    covariance: torch.Tensor
    cross: torch.Tensor


def cells_of(targets: np.ndarray, in_a: np.ndarray) -> np.ndarray:
    """The cell of each image (N,) from its target class and whether it is in D_A."""
    return 2 * targets.astype(np.int64) + in_a.astype(np.int64)


def token_moments(
    batches: Iterable[tuple[int, np.ndarray]],
    cells: np.ndarray,
    *,
    cls: int | None = 0,
    progress: Callable[[int], None] | None = None,
) -> Fitted:
    """One pass over (start, activations (n, T, d)), in order and without gaps, of images in `cells` (N,).

    `cls`: place of the CLS token; None where there is none, and all tokens are spatial.
    Raises ValueError where batches and cells do not fit together.
    """
    kinds: dict[TokenKind, Moments] = {}
    means: list[torch.Tensor] = []
    n_cells = int(cells.max()) + 1 if len(cells) else 0
    n_cells += n_cells % 2  # of a class, both cells
    done = 0
    for _, block in batches:
        x = torch.from_numpy(np.asarray(block, dtype=np.float64))
        here = cells[done : done + len(x)]
        done += len(x)
        if len(here) < len(x):
            break
        means.append(x.mean(dim=1))
        for kind in TOKEN_KINDS if cls is not None else TOKEN_KINDS[1:]:
            part = x[:, token_span(tokens_meant(kind, cls), x.shape[1])]
            d = part.shape[2]
            if kind not in kinds:
                kinds[kind] = Moments(
                    torch.zeros(n_cells, dtype=torch.float64),
                    torch.zeros(n_cells, d, dtype=torch.float64),
                    torch.zeros(n_cells, d, d, dtype=torch.float64),
                )
            for cell in np.unique(here).tolist():
                rows = part[torch.from_numpy(np.flatnonzero(here == cell))].reshape(-1, d)
                kinds[kind].tokens[cell] += len(rows)
                kinds[kind].sums[cell] += rows.sum(dim=0)
                kinds[kind].squares[cell] += rows.T @ rows
        if progress is not None:
            progress(len(x))
    if done != len(cells):
        raise ValueError(f"activations of {done} images, labels of {len(cells)}")
    return Fitted(kinds, torch.cat(means))


def cell_weights(counts: np.ndarray, balance: Balance) -> np.ndarray:
    """The weight of each cell (C,), of sum 1, from the number of images in each (C,).

    `none`: as many as there are. `group`: every cell the same, among target classes that have images,
    so that target and attribute are independent; the mean of A less that of notA is then the mean over
    target classes of the difference within the class, as in Eq. 9's `balance`. Raises ClipsteerError
    where one side has no image, ValueError for another balance.
    """
    counts = np.asarray(counts, dtype=np.float64)
    by_target = counts.reshape(-1, 2)
    if balance == "none":
        refuse_one_sided(int(by_target[:, 1].sum()), int(by_target[:, 0].sum()), "the split")
        return np.asarray(counts / counts.sum())
    if balance != "group":
        raise ValueError(f"balance must be 'none' or 'group', not {balance!r}")
    present = by_target.sum(axis=1) > 0
    for target in np.flatnonzero(present).tolist():
        without, within = by_target[target].tolist()
        refuse_one_sided(int(within), int(without), f"target class {target}")
    return np.repeat(present / (2.0 * present.sum()), 2)


def possible_balances(counts: np.ndarray) -> tuple[Balance, ...]:
    """`none`, and `group` where every target class with images has some on both sides; `counts` by cell (C,)."""
    by_target = np.asarray(counts).reshape(-1, 2)
    both = (by_target[by_target.sum(axis=1) > 0] > 0).all()
    return ("none", "group") if both else ("none",)


def contrast(moments: Moments, weights: np.ndarray) -> Contrast:
    """D_A against D_notA for tokens of one kind, cells weighted by `weights` (C,)."""
    w = torch.from_numpy(weights)
    number = moments.tokens.clamp_min(1)
    means = moments.sums / number[:, None]
    mean = w @ means
    second = torch.einsum("c,cij->ij", w / number, moments.squares)
    share = w[1::2].sum()
    mean_a = (w[1::2] @ means[1::2]) / share
    mean_not_a = (w[0::2] @ means[0::2]) / (1 - share)
    return Contrast(
        mean_a,
        mean_not_a,
        mean,
        second - torch.outer(mean, mean),
        share * (1 - share) * (mean_a - mean_not_a),
    )
