"""The parts of a training step: start, schedule, clipping, projection, Adam, settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from clipsteer.dictionaries.optimiser import (
    adam_,
    clipping,
    joint_norm,
    learning_rate,
    normalise_rows_,
    remove_parallel_,
)
from clipsteer.dictionaries.settings import Settings
from clipsteer.dictionaries.state import geometric_median, initial_tensors
from clipsteer.errors import ClipsteerError
from tests.dictionaries import helpers


def test_geometric_median_is_the_minimum() -> None:
    points = np.random.default_rng(3).lognormal(size=(60, 4))

    def distances(at: np.ndarray) -> float:
        return float(np.linalg.norm(points - at, axis=1).sum())

    found = geometric_median(points).numpy()
    best = minimize(distances, points.mean(axis=0), method="Nelder-Mead", options={"xatol": 1e-9})
    np.testing.assert_allclose(found, best.x, atol=1e-4)
    assert distances(found) < distances(points.mean(axis=0)) - 0.1


def test_geometric_median_ignores_an_outlier_and_survives_sitting_on_a_point() -> None:
    points = np.zeros((9, 3))
    points[0] = 1e6
    assert float(np.abs(geometric_median(points).numpy()).max()) < 1.0
    assert np.allclose(geometric_median(np.ones((5, 3))).numpy(), 1.0)


@pytest.mark.parametrize("sample", [np.zeros((0, 3)), np.full((2, 3), np.nan)])
def test_geometric_median_refuses_nothing_and_nan(sample: np.ndarray) -> None:
    with pytest.raises(ClipsteerError, match="sample for the decoder bias"):
        geometric_median(sample)


def test_initial_tensors() -> None:
    bias = torch.arange(5.0, dtype=torch.float64)
    first = initial_tensors(30, bias, torch.Generator().manual_seed(4))
    again = initial_tensors(30, bias, torch.Generator().manual_seed(4))
    other = initial_tensors(30, bias, torch.Generator().manual_seed(5))
    assert torch.equal(first["W_enc"], first["W_dec"].t())
    assert first["W_enc"].is_contiguous()
    torch.testing.assert_close(first["W_dec"].norm(dim=1), torch.ones(30))
    assert not first["b_enc"].any()
    assert torch.equal(first["b_dec"], bias.float())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["W_dec"], other["W_dec"])


def test_learning_rate_by_hand() -> None:
    def at(step: int, final: float) -> float:
        return learning_rate(step, steps=100, lr=0.5, warmup_steps=20, final_lr=final)

    assert [at(0, 0.0), at(9, 0.0), at(19, 0.0), at(20, 0.0)] == [0.025, 0.25, 0.5, 0.5]
    assert at(60, 0.0) == pytest.approx(0.25)
    assert at(60, 0.1) == pytest.approx(0.5 * (0.1 + 0.9 / 2))
    assert at(99, 0.0) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 79 / 80)))
    assert at(99, 0.1) > 0.05


def test_adam_and_clipping_agree_with_torch() -> None:
    ours = helpers.make("vanilla").tensors()
    theirs = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in ours.items()}
    optimiser = torch.optim.Adam(theirs.values(), lr=0.01)
    first = {name: torch.zeros_like(tensor) for name, tensor in ours.items()}
    second = {name: torch.zeros_like(tensor) for name, tensor in ours.items()}
    generator = torch.Generator().manual_seed(9)
    for step in range(1, 8):
        scale = 0.01 if step % 2 else 3.0
        gradients = {
            name: torch.randn(t.shape, generator=generator, dtype=t.dtype) * scale
            for name, t in ours.items()
        }
        for name, parameter in theirs.items():
            parameter.grad = gradients[name].clone()
        norm = torch.nn.utils.clip_grad_norm_(theirs.values(), 1.0)
        optimiser.step()
        found = joint_norm(gradients)
        assert float(found) == pytest.approx(norm.item(), rel=1e-6)
        divisor = clipping(found, 1.0)
        adam_(ours, gradients, first, second, step=step, lr=0.01, divisor=divisor)
        for name, parameter in theirs.items():
            torch.testing.assert_close(ours[name], parameter.detach(), rtol=1e-6, atol=1e-8)


def test_no_clipping_when_the_limit_is_null() -> None:
    norm = joint_norm({"W": torch.full((3, 4), 10.0)})
    assert float(norm) == pytest.approx(math.sqrt(1200))
    assert clipping(norm, None) is None
    for limit, divisor in ((1e3, 1.0), (1.0, math.sqrt(1200))):
        assert float(clipping(norm, limit)) == pytest.approx(divisor, rel=1e-6)  # type: ignore[arg-type]


def test_projection_leaves_nothing_along_the_rows() -> None:
    W_dec = helpers.make("vanilla").W_dec
    gradient = helpers.tokens(20, 7)
    before = gradient.clone()
    remove_parallel_(gradient, W_dec)
    assert float((gradient * W_dec).sum(dim=1).abs().max()) < 1e-12
    removed = before - gradient
    along = (removed * W_dec).sum(dim=1, keepdim=True) * W_dec
    torch.testing.assert_close(removed, along)
    normalise_rows_(gradient)
    torch.testing.assert_close(gradient.norm(dim=1), torch.ones(20, dtype=torch.float64))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learning_rate": 1}, r"unknown keys \['learning_rate'\]"),
        ({"lr": "1e-4"}, "lr: found '1e-4', expected a finite number"),
        ({"lr": float("nan")}, "lr: found nan"),
        ({"mse": "mean"}, "mse: found 'mean', expected one of prisma, sum, normalised"),
        ({"k": 0}, "k: found 0"),
        ({"expansion": 1.5}, "expansion: found 1.5"),
        ({"clip_norm": 0}, "clip_norm: found 0"),
        ({"ghost_grads": 1}, "ghost_grads: found 1"),
        ({"final_lr": 2}, "final_lr: found 2, expected .* at most 1"),
    ],
)
def test_settings_name_the_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ClipsteerError, match=message):
        Settings.parse(config)


def test_settings_leave_out_the_callers_keys() -> None:
    parsed = Settings.parse({"architecture": "topk", "batch_size": 8, "epochs": 2, "l1": 1})
    assert parsed == Settings(l1=1)
