"""The learning rate: linear warm-up, then a cosine to a chosen fraction."""

from __future__ import annotations

import math


def learning_rate(step: int, *, steps: int, lr: float, warmup_steps: int, final_lr: float) -> float:
    """Learning rate of `step` (0-based) in a run of `steps`.

    Rises by lr / warmup_steps a step, then follows half a cosine towards `final_lr * lr`. The
    authors pass lr / 10 where their schedule expects a fraction, so theirs falls to about 0:
    final_lr = 0 is the faithful value, 0.1 what they seem to have meant.
    """
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return lr * (final_lr + (1.0 - final_lr) * 0.5 * (1.0 + math.cos(math.pi * progress)))
