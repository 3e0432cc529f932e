from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from clipsteer.steering.controls import random_folds
from clipsteer.steering.logistic import FOLDS, PENALTIES, fit_probe

N, P = 90, 4


def sample(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, N)
    x = 3.0 + rng.normal(size=(N, P)) * np.array([1, 5, 0.2, 1]) + y[:, None] * [0.6, 1, 0, 0]
    return x, y, rng.random(N) + 0.1


def binary(z: np.ndarray, y: np.ndarray, w: np.ndarray, penalty: float) -> np.ndarray:
    """Weights and intercept (P + 1,) by another method of descent."""

    def loss(v: np.ndarray) -> float:
        margin = (2 * y - 1) * (z @ v[:-1] + v[-1])
        return float(w @ np.log1p(np.exp(-margin)) + penalty / 2 * (v[:-1] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(P + 1), method="BFGS", options={"gtol": 1e-7}).x)


def test_two_classes_are_textbook_logistic_regression() -> None:
    x, y, w = sample(2)
    w = w / w.sum()
    mean = w @ x
    z = (x - mean) / np.sqrt(w @ (x - mean) ** 2)
    fold = random_folds(N, FOLDS, 7)
    losses = []
    for penalty in PENALTIES:
        total = 0.0
        for number in range(FOLDS):
            kept, held = fold != number, fold == number
            v = binary(z[kept], y[kept], w[kept] / w[kept].sum(), penalty)
            margin = (2 * y[held] - 1) * (z[held] @ v[:-1] + v[-1])
            total += float(w[held] @ np.log1p(np.exp(-margin)))
        losses.append(total)
    found, penalty = fit_probe(*map(torch.from_numpy, (x, y, w)), n_classes=2, seed=7)
    assert penalty == PENALTIES[int(np.argmin(losses))] != PENALTIES[0]
    v = binary(z, y, w, penalty)
    logits = x @ found.weights.numpy() + found.bias.numpy()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], z @ v[:-1] + v[-1], atol=1e-4)


def test_many_classes_are_each_against_the_rest() -> None:
    x, y, w = sample(4)
    found, penalty = fit_probe(*map(torch.from_numpy, (x, y, w)), n_classes=4, seed=0)
    w = w / w.sum()
    spread = np.sqrt(w @ (x - w @ x) ** 2)
    z = (x - w @ x) / spread
    logits = x @ found.weights.numpy() + found.bias.numpy()
    # where the gradient is 0, a convex function is least
    slope = (1 / (1 + np.exp(-logits)) - np.eye(4)[y]) * w[:, None]
    weights = found.weights.numpy() * spread[:, None]
    np.testing.assert_allclose(z.T @ slope + penalty * weights, 0, atol=1e-9)
    np.testing.assert_allclose(slope.sum(axis=0), 0, atol=1e-9)


def test_one_class_alone_is_always_said() -> None:
    x, _, w = sample(2)
    found, _ = fit_probe(
        torch.from_numpy(x), torch.ones(N, dtype=torch.long), torch.from_numpy(w),
        n_classes=2, seed=0,
    )  # fmt: skip
    assert bool(((torch.from_numpy(x) @ found.weights + found.bias).argmax(dim=1) == 1).all())


def test_a_column_that_never_varies_has_no_weight() -> None:
    x, y, w = sample(2)
    x[:, 2] = 5.0
    found, _ = fit_probe(*map(torch.from_numpy, (x, y, w)), n_classes=2, seed=0)
    assert float(found.weights[2].abs().max()) == pytest.approx(0.0, abs=1e-9)
