"""The length of a training, and what it makes pointless, beside what the training does."""

from __future__ import annotations

from typing import Any

import pytest

from clipsteer.dictionaries.optimiser import learning_rate
from clipsteer.errors import ClipsteerError
from clipsteer.training_length import training_steps, without_effect


def training(**changes: Any) -> dict[str, Any]:
    base = {"epochs": 2, "batch_size": 8, "lr": 0.5, "warmup_steps": 2}
    return {**base, "ghost_grads": True, "dead_window": 3, **changes}


@pytest.mark.parametrize(("tokens", "steps"), [(8, 2), (15, 2), (16, 4), (83, 20)])
def test_steps(tokens: int, steps: int) -> None:
    assert training_steps(training(), tokens, "key") == steps


def test_fewer_tokens_than_a_batch() -> None:
    with pytest.raises(ClipsteerError, match=r"key\.batch_size: found 8, but .* only 7 tokens"):
        training_steps(training(), 7, "key")


@pytest.mark.parametrize("warmup", [0, 1, 4, 5, 6, 50])
def test_a_warm_up_without_end(warmup: int) -> None:
    def rate(step: int) -> float:
        return learning_rate(step, steps=5, lr=0.5, warmup_steps=warmup, final_lr=0.0)

    rates = [rate(step) for step in range(5)]
    found = list(without_effect(training(warmup_steps=warmup, dead_window=1), 5, "key"))
    endless = all(step < warmup for step in range(5))
    assert len(found) == endless
    if endless:
        assert rates == sorted(rates)
        assert found[0].startswith(f"key.warmup_steps: {warmup}, but the training has 5 steps")
        assert f"to {max(rates):.3g} of lr 0.5" in found[0]


@pytest.mark.parametrize("window", [1, 4, 5, 6])
@pytest.mark.parametrize("ghosts", [True, False])
def test_ghost_gradients_that_never_act(window: int, ghosts: bool) -> None:
    settings = training(dead_window=window, ghost_grads=ghosts)
    found = list(without_effect(settings, 5, "key"))
    acts = any(step >= window for step in range(5))  # as `train.advance` has it
    assert [f.split(":")[0] for f in found] == ["key.dead_window"] * (ghosts and not acts)


def test_a_training_without_ghosts() -> None:
    """The tiny CLIP's, say."""
    assert list(without_effect({"lr": 1.0, "warmup_steps": 1}, 2, "model.tiny")) == []
