"""What the length of a training makes pointless: said before a run where the length is known, else in the job's log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clipsteer.errors import ClipsteerError


def training_steps(training: Mapping[str, Any], tokens: int, key: str) -> int:
    """Steps of a dictionary's training on a split of so many tokens; each epoch drops its last, short batch.

    `key` is the dotted key of `training`. Raises ClipsteerError where the tokens do not fill one batch.
    """
    batch_size: int = training["batch_size"]
    if tokens < batch_size:
        raise ClipsteerError(
            f"{key}.batch_size: found {batch_size}, but the training split has only {tokens} tokens; expected at "
            "most that many."
        )
    return int(training["epochs"]) * (tokens // batch_size)


def without_effect(training: Mapping[str, Any], steps: int, key: str) -> Iterator[str]:
    """Warnings about a training of so many steps: a warm-up that does not end, ghost gradients that never act."""
    warmup = training["warmup_steps"]
    if warmup >= steps:
        yield (
            f"{key}.warmup_steps: {warmup}, but the training has {steps} steps: the learning rate only rises, to "
            f"{training['lr'] * steps / warmup:.3g} of lr {training['lr']:.3g}."
        )
    window = training.get("dead_window", 0)
    if training.get("ghost_grads") and window >= steps:
        yield (
            f"{key}.dead_window: {window}, but the training has {steps} steps: no feature counts as dead before "
            "the end, so ghost_grads never acts."
        )
