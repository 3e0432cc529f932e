"""What points of a grid would save if they shared their batches: a batch's CPU time beside a training step's.

    python -m benchmarks.shared_batches

One process on one core, from memory: CPU time counts what is computed, not how long it waits. Where reading itself is
slow, batches cost more than is said here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import Any, NamedTuple

# What a training job sets too; torch reads it at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import torch
from numpy.typing import NDArray

from clipsteer.activations.batches import Shuffle, token_batches
from clipsteer.dictionaries.train import Data, train


class Shape(NamedTuple):
    """Of images, of the batches made of their tokens, and of the dictionary that learns from them."""

    name: str
    images: int
    tokens: int
    width: int
    batch: int
    steps: int
    training: dict[str, Any]


_TRAINING = {"lr": 1e-3, "warmup_steps": 2, "dead_window": 200, "mse": "normalised"}
_TOPK, _VANILLA = {"architecture": "topk"}, {"architecture": "vanilla", "l1": 3e-3}
SHAPES = (
    Shape("d features, topk", 5000, 17, 96, 1024, 120, {**_TOPK, "expansion": 1, "k": 4}),
    Shape("d features, vanilla", 5000, 17, 96, 1024, 120, {**_VANILLA, "expansion": 1}),
    Shape("default, topk", 5000, 17, 96, 1024, 120, {**_TOPK, "expansion": 16, "k": 16}),
    Shape("default, vanilla", 5000, 17, 96, 1024, 120, {**_VANILLA, "expansion": 16}),
    Shape("B/32 x8, topk", 1200, 50, 768, 4096, 6, {**_TOPK, "expansion": 8, "k": 64}),
    Shape("B/32 x64, topk", 1200, 50, 768, 4096, 3, {**_TOPK, "expansion": 64, "k": 64}),
)


class Memory:
    """Made-up activations, with what batches ask of an `ActivationReader`."""

    dtype, start = "float16", 0

    def __init__(self, shape: Shape) -> None:
        size = (shape.images, shape.tokens, shape.width)
        self.values = np.random.default_rng(0).standard_normal(size).astype(np.float16)
        self.stop, self.n_tokens, self.width = size

    def read_stored(
        self, low: int, high: int, into: NDArray[Any] | None = None
    ) -> NDArray[np.float16]:
        if into is not None:
            into[...] = self.values[low:high]
        return self.values[low:high]


def measure(shape: Shape) -> tuple[float, float]:
    """Milliseconds of CPU time of a batch, and of a step with its batch (median)."""
    memory: Any = Memory(shape)

    def batches(done: int) -> Generator[NDArray[np.float32], None, None]:
        return token_batches(memory, Shuffle(shape.batch, 0, 2**31), epochs=9, start=done)

    stream = batches(0)
    next(stream)
    began = time.process_time()
    for _ in range(shape.steps):
        next(stream)
    batch = (time.process_time() - began) / shape.steps
    stream.close()
    ends: list[float] = []
    train(
        Data(batches, lambda: memory.values[:8].reshape(-1, shape.width)),
        {**_TRAINING, **shape.training},
        steps=shape.steps,
        seed=0,
        progress=lambda _: ends.append(time.process_time()),
    )
    return 1e3 * batch, 1e3 * float(np.median(np.diff(ends)))


def main() -> None:
    """A line a shape."""
    torch.set_num_threads(1)
    for shape in SHAPES:
        batch, step = measure(shape)
        print(f"{shape.name:19} batch {batch:8.3f} ms  step {step:9.2f} ms  {batch / step:6.2%}")


if __name__ == "__main__":
    main()
