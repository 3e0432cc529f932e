"""How trained defences descend: over pairs in an order drawn anew each epoch, at a rate that falls along a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class AttackedPairs:
    """Unit embeddings of clean images and of the same attacked, (N, p) each, and their classes (N,)."""

    clean: Tensor
    attacked: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Descent:
    """Epochs, pairs a step, and the rates that the cosine begins and ends at."""

    epochs: int
    batch_size: int
    lr: float
    final_lr: float


def stream(number: int, seed: int) -> np.random.Generator:
    """What one defence draws: its own number is the first word of the key."""
    return np.random.Generator(np.random.Philox(key=np.array([number, seed], dtype=np.uint64)))


def descend(
    optimiser: torch.optim.Optimizer,
    loss_of: Callable[[Tensor], Tensor],
    targets: Tensor,
    how: Descent,
    rng: np.random.Generator,
    progress: Callable[[int], None] | None = None,
) -> list[float]:
    """The loss of each step. `loss_of` is given the step's rows of the pairs; `rng` draws the order of each epoch.

    `targets` (N,): the pairs' classes. `progress` is called with the number of steps done since its last call.
    """
    n, losses = len(targets), list[float]()
    steps = how.epochs * math.ceil(n / how.batch_size)
    for _ in range(how.epochs):
        order = np.argsort(rng.random(n), kind="stable")
        for start in range(0, n, how.batch_size):
            rows = torch.from_numpy(order[start : start + how.batch_size]).to(targets.device)
            loss = loss_of(rows)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            share = len(losses) / max(1, steps - 1)
            for group in optimiser.param_groups:
                group["lr"] = how.final_lr + (how.lr - how.final_lr) * (
                    0.5 * (1 + math.cos(math.pi * share))
                )
            optimiser.step()
            losses.append(float(loss.detach()))
            if progress is not None:
                progress(1)
    return losses
