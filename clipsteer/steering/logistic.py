"""Logistic regression with an L2 penalty that cross-validation chooses, in float64: the probes among the baselines.

    min_v,b  sum_i w_i log(1 + exp(-y_i (v x_i + b))) + penalty / 2 ||v||^2,  y_i in -1, 1,  sum_i w_i = 1

on standardised inputs, by Newton's method. More than two classes: each against the rest.
"""

from __future__ import annotations

import numpy as np
import torch

from clipsteer.steering.controls import random_folds
from clipsteer.steering.intervention import LinearHead

# Held-out loss decides among these; the strongest comes first, and of equals it is taken.
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
FOLDS = 5
_TOLERANCE = 1e-10  # of the gradient, on inputs of unit variance
_STEPS = 60


def fit_probe(
    x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, *, n_classes: int, seed: int
) -> tuple[LinearHead, float]:
    """A linear classifier on x (N, p) as it is, for y (N,) in 0..n_classes-1, and the penalty that was chosen.

    `weights` (N,) >= 0 count in training and in the held-out loss. Folds are drawn with `seed`. Of two
    classes the first has the score 0.
    """
    x = x.double()
    weights = weights.double() / weights.sum()
    mean = weights @ x
    spread = (weights @ (x - mean).square()).sqrt()
    spread = torch.where(spread > 0, spread, 1.0)
    z = torch.cat([(x - mean) / spread, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    classes = [1] if n_classes == 2 else range(n_classes)
    signs = torch.stack([torch.where(y == c, 1.0, -1.0).double() for c in classes])
    penalty = _chosen(z, signs, weights, seed)
    found = torch.stack([_minimum(z, sign, weights, penalty) for sign in signs], dim=1)
    w, b = found[:-1] / spread[:, None], found[-1]
    b = b - mean @ w
    if n_classes == 2:
        w, b = torch.cat([torch.zeros_like(w), w], dim=1), torch.cat([torch.zeros_like(b), b])
    return LinearHead(w, b), penalty


def _chosen(z: torch.Tensor, signs: torch.Tensor, weights: torch.Tensor, seed: int) -> float:
    """The penalty of the least held-out loss over FOLDS folds, summed over classes."""
    n = len(z)
    count = min(FOLDS, n)
    fold = torch.from_numpy(random_folds(n, count, seed))
    losses = np.zeros(len(PENALTIES))
    for number in range(count):
        held, kept = fold == number, fold != number
        total = weights[kept].sum()
        if not float(total) > 0:
            continue
        for sign in signs:
            start: torch.Tensor | None = None
            for place, penalty in enumerate(PENALTIES):
                start = _minimum(z[kept], sign[kept], weights[kept] / total, penalty, start)
                losses[place] += float(_loss(z[held], sign[held], weights[held], start))
    return PENALTIES[int(np.argmin(losses))]


def _loss(
    z: torch.Tensor, sign: torch.Tensor, weights: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    return weights @ torch.nn.functional.softplus(-sign * (z @ v))


def _minimum(
    z: torch.Tensor,
    sign: torch.Tensor,
    weights: torch.Tensor,
    penalty: float,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """v and b together (p + 1,) where the penalised loss is least; the last column of z is 1."""
    ridge = torch.full((z.shape[1],), penalty, dtype=torch.float64)
    ridge[-1] = 0.0
    v = torch.zeros_like(ridge) if start is None else start

    def objective(v: torch.Tensor) -> float:
        return float(_loss(z, sign, weights, v) + (ridge * v.square()).sum() / 2)

    least = objective(v)
    for _ in range(_STEPS):
        share = torch.sigmoid(-sign * (z @ v))
        gradient = ridge * v - z.T @ (weights * sign * share)
        if float(gradient.abs().max()) < _TOLERANCE:
            break
        curvature = weights * share * (1 - share)
        hessian = z.T @ (curvature[:, None] * z) + torch.diag(ridge)
        hessian[-1, -1] += 1e-12  # where all images are on one side, b has no bound
        step = torch.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-6 and not objective(v - size * step) < least:
            size /= 2
        if size <= 1e-6:  # as near as rounding lets it come
            break
        v = v - size * step
        least = objective(v)
    return v
