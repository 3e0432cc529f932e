"""Predictions of a whole threshold grid, and of the model without any edit to compare them with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from clipsteer.activations.tokens import Tokens
from clipsteer.dictionaries.base import Dictionary
from clipsteer.steering.ablation import predict_prefixes, predict_sets
from clipsteer.steering.evaluator import Batch, Classify, Embed
from clipsteer.steering.intervention import ErrorTerm


def sweep_passes(error_term: ErrorTerm) -> int:
    """How often `predict_sweep` goes over the batches: 1 or 2."""
    return 1 + (error_term == "drop")


def predict_sweep(
    dictionary: Dictionary,
    batches: Callable[[], Iterable[Batch]],
    embed: Embed,
    classify: Classify,
    order: np.ndarray,
    sizes: Sequence[int] | np.ndarray,
    *,
    tokens: Tokens = "all",
    error_term: ErrorTerm = "keep",
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of the resumed pass without any edit, int32 (N,), and of `order[:size]` ablated, (len(sizes), N).

    As `predict_prefixes`, but an **empty set is no intervention at all**: its row is the resumed pass,
    also with `error_term="drop"` (see `clipsteer.steering.ablation.predict_selected`). What is chosen
    is compared with that pass, which reads the same stored activations: what storing changes is in
    both. `batches` is called once for each pass.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    empty = sizes == 0

    def prefixes(of: np.ndarray) -> np.ndarray:
        return predict_prefixes(
            dictionary, batches(), embed, classify, order, of,
            tokens=tokens, error_term=error_term, device=device, progress=progress,
        )  # fmt: skip

    if error_term == "keep":
        found = prefixes(np.concatenate([[0], sizes[~empty]]))
        resumed, edited = found[0], found[1:]
    else:
        nothing = np.zeros(0, dtype=np.int64)
        (resumed,) = predict_sets(
            dictionary, batches(), embed, classify, [nothing], device=device, progress=progress
        )
        edited = prefixes(sizes[~empty])
    predictions = np.tile(resumed, (len(sizes), 1))
    predictions[~empty] = edited
    return resumed, predictions
