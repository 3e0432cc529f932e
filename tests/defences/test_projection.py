"""The output projection beside its loss written out, and gradients by differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clipsteer.defences.descent import AttackedPairs
from clipsteer.defences.projection import (
    ProjectionSettings,
    projected_logits,
    projection_loss,
    train_projection,
)

P, K, N, SCALE = 5, 3, 8, 7.0
SETTINGS = ProjectionSettings(lr=0.02, epochs=4, batch_size=N, clean=3.0, orthogonal=0.5)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


RNG = np.random.default_rng(3)
CLEAN, ATTACKED, HEAD = (unit(RNG.normal(size=(n, P))) for n in (N, N, K))
TARGETS = RNG.integers(0, K, N)


def pairs(dtype: torch.dtype) -> AttackedPairs:
    clean, attacked = (torch.from_numpy(x).to(dtype) for x in (CLEAN, ATTACKED))
    return AttackedPairs(clean, attacked, torch.from_numpy(TARGETS))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def loss(matrix: np.ndarray) -> float:
    """As the module's first lines have it, image by image."""
    texts = unit(HEAD @ matrix.T)
    told = softmax(SCALE * unit(ATTACKED @ matrix.T) @ texts.T)
    before, after = (
        softmax(SCALE * CLEAN @ HEAD.T),
        softmax(SCALE * unit(CLEAN @ matrix.T) @ texts.T),
    )
    entropy = -np.mean([math.log(told[i, TARGETS[i]]) for i in range(N)])
    kept = np.mean(
        [
            sum(b * math.log(b / a) for b, a in zip(*r, strict=True))
            for r in zip(before, after, strict=True)
        ]
    )
    away = ((matrix.T @ matrix - np.eye(P)) ** 2).sum()
    return float(entropy + SETTINGS.clean * kept + SETTINGS.orthogonal * away)


def test_the_loss_is_what_is_written() -> None:
    matrix = np.eye(P) + 0.1 * RNG.normal(size=(P, P))
    found = projection_loss(
        torch.from_numpy(matrix),
        torch.from_numpy(HEAD),
        SCALE,
        pairs(torch.float64),
        torch.arange(N),
        SETTINGS,
    )
    assert float(found) == pytest.approx(loss(matrix), rel=1e-9)


def test_training_is_that_of_a_re_statement() -> None:
    """Four steps of Adam written out, with gradients by central differences of the written loss."""
    got, losses = train_projection(
        torch.from_numpy(HEAD).float(), SCALE, pairs(torch.float32), SETTINGS, seed=0
    )
    matrix, mean, square = np.eye(P), np.zeros((P, P)), np.zeros((P, P))
    for step in range(4):
        assert losses[step] == pytest.approx(loss(matrix), rel=1e-4)
        gradient = np.zeros((P, P))
        for at in np.ndindex(P, P):
            aside = np.zeros((P, P))
            aside[at] = 1e-5
            gradient[at] = (loss(matrix + aside) - loss(matrix - aside)) / 2e-5
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        corrected = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
        rate = SETTINGS.lr * 0.5 * (1 + math.cos(math.pi * step / 3))
        matrix = matrix - rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    assert np.allclose(got.numpy(), matrix, atol=2e-4)


def test_a_rotation_changes_no_cosine() -> None:
    rotation, _ = np.linalg.qr(RNG.normal(size=(P, P)))
    images, head, turn = (torch.from_numpy(x).float() for x in (3 * CLEAN, HEAD, rotation))
    assert torch.allclose(
        projected_logits(images, head, turn), torch.from_numpy(CLEAN @ HEAD.T).float(), atol=1e-6
    )
