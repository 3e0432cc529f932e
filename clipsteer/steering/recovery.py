"""How close feature sets of one place come to the true effect, from pairs of the test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from clipsteer.steering.ablation import predict_sets
from clipsteer.steering.evaluator import Evaluator, Progress
from clipsteer.steering.heads import Heads
from clipsteer.steering.pairs import Pairs, margins


def recoveries(
    evaluator: Evaluator,
    head: torch.Tensor,
    sets: Mapping[str, np.ndarray],
    pairs: Pairs,
    progress: Progress | None = None,
) -> dict[str, dict[str, float | None]]:
    """`Pairs.measure` of each set (features,) ablated; an empty one is the resumed pass.

    `evaluator`: of the images that `pairs` is of, in their order. `head`: (K, p), the zero-shot head.
    """
    heads = Heads(head)
    reading = replace(evaluator, classify=heads.read, reads=heads.readings)
    found = predict_sets(reading, list(sets.values()), progress).edited
    return {
        name: pairs.measure(margins(row["scores"], pairs.targets), len(head))
        for name, row in zip(sets, found, strict=True)
    }
