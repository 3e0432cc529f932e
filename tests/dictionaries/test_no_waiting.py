"""On devices other than the CPU a training step never asks for a value, so nothing waits there.

Tensors on torch's "meta" device have shapes and no values: an operation that needs one (`float`, `bool`,
`nonzero`, a boolean mask) raises. The batch's way to the device is not part of this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clipsteer.dictionaries import gradients, screen, topk
from clipsteer.dictionaries.gradients import forward_backward
from clipsteer.dictionaries.numerics import blocks
from clipsteer.dictionaries.state import TrainState
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.train import update
from clipsteer.dictionaries.vanilla import Vanilla

WIDTH, FEATURES, TOKENS = 32, 512, 256


@pytest.fixture(autouse=True)
def _products(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sampled_addmm` has no kernel for shapes alone."""

    def products(start: Tensor, feature: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return left.new_empty(len(feature))

    for module in (gradients, screen):
        monkeypatch.setattr(module, "products", products)


def state() -> TrainState:
    rng = np.random.default_rng(0)
    return TrainState.initial(FEATURES, rng.standard_normal((64, WIDTH)), 0).to("meta")


@pytest.mark.parametrize("mse", ["prisma", "sum", "normalised"])
@pytest.mark.parametrize(
    ("kind", "options", "dtype"),
    [
        (TopK, {"k": 4}, torch.float32),
        (TopK, {"k": 4}, torch.bfloat16),
        (Vanilla, {}, torch.float32),
    ],
)
def test_a_step_asks_for_no_value(
    kind: Any,
    options: dict[str, int],
    dtype: torch.dtype,
    mse: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topk, "screening_dtype", lambda x, weights: dtype)
    now = state()
    dictionary = kind(**now.parameters, **options)
    x = torch.empty(TOKENS, WIDTH, device="meta")
    done = forward_backward(dictionary, x, mse=mse, l1=0.1, statistics=False)
    norm = update(now, done, lr=1e-3, clip_norm=1.0)
    assert norm.device.type == "meta"
    assert now.step == 1
    with pytest.raises((NotImplementedError, RuntimeError)):
        float(norm)  # what would wait


def test_blocks_are_for_a_processors_cache() -> None:
    rows = torch.empty(4096, 768)
    assert len(list(blocks(rows))) > 1
    assert list(blocks(rows.to("meta"))) == [slice(0, 4096)]
