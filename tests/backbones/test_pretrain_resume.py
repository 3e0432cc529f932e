"""An interrupted and resumed pre-training ends in the very bytes of an uninterrupted one."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipsteer.backbones.pretrain import pretrain
from tests.keeper import Keeper, Killed

STEPS = 11
SMALL: dict[str, Any] = {
    "image_size": 32,
    "vision_layers": 1,
    "vision_width": 32,
    "vision_heads": 2,
    "text_width": 32,
    "text_layers": 1,
    "text_heads": 2,
    "projection_dim": 16,
    "batch_size": 24,
    "steps": STEPS,
    "warmup_steps": 2,
    "vocabulary": 600,
    "shift": 1,
}
PIXELS = np.random.default_rng(0).integers(0, 256, size=(70, 32, 32, 3), dtype=np.uint8)
TEXTS = [f"a photo of a {w}" for w in ("lemon", "gull", "plum", "crow", "fox", "owl", "pear")] * 10


class Training(Keeper):
    def run(self, folder: Path) -> tuple[Any, ...]:
        """Metrics (with the order of their columns) and files of a pre-training."""
        metrics = pretrain(
            PIXELS,
            TEXTS,
            folder,
            config=SMALL,
            seed=5,
            resume=self.resume,
            offer=self.offer,
        )
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        return list(metrics.items()), files


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Any, ...], dict[int, bytes]]:
    """The uninterrupted training, and its snapshot after each step."""
    keeper = Training(1)
    result = keeper.run(tmp_path_factory.mktemp("clip"))
    assert list(keeper.seen) == list(range(1, STEPS + 1))
    return result, keeper.seen


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_steps_it_ends_in_the_same_bytes(
    whole: tuple[Any, ...], seed: int, tmp_path: Path
) -> None:
    result, snapshots = whole
    draw = random.Random(seed)
    every = draw.choice([1, 2, 3])
    snapshot: bytes | None = None
    for last in sorted(draw.sample(range(1, STEPS + 1), 3)):
        keeper = Training(every, last, snapshot)
        with pytest.raises(Killed):
            keeper.run(tmp_path / "killed")
        snapshot = keeper.snapshot
        for step, data in keeper.seen.items():
            assert data == snapshots[step], f"snapshot of step {step}"
    torch.manual_seed(seed)  # torch's own stream of random numbers is none of it
    assert Training(every, None, snapshot).run(tmp_path / "clip") == result


def test_each_step_changes_the_snapshot(whole: tuple[Any, ...]) -> None:
    _, snapshots = whole
    assert all(snapshots[a] != snapshots[b] for a, b in pairwise(sorted(snapshots)))
