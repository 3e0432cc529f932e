"""Feature sets against typographic attacks: F by Eq. 9, and F* with all features of like direction (Section 7.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from clipsteer.dictionaries.base import Dictionary
from clipsteer.steering.selection import Sweep

_CHUNK_BYTES = 256 * 2**20


class Expanded(NamedTuple):
    """F* of one tau and lambda: `features` (|F*|,) int64, those of F first, the others ascending."""

    threshold: float
    cosine: float | None
    n_features: int
    """|F|."""
    features: np.ndarray


def random_cosine(width: int) -> float:
    """Standard deviation of the cosine of two random directions in `width` dimensions: 1 / sqrt(d)."""
    return 1 / math.sqrt(width)


def expanded_sets(
    sweep: Sweep,
    dictionary: Dictionary,
    cosines: Sequence[float | None],
    device: torch.device | str = "cpu",
) -> list[Expanded]:
    """F* of every tau of a sweep and every lambda, those of empty F left out; None adds nothing.

    F* = F and every j whose direction n_j has a cosine above lambda with a member's. The sets F are prefixes of one
    order, so the largest cosine with a member is carried from each to the next.
    """
    directions = torch.nn.functional.normalize(
        dictionary.directions(torch.arange(dictionary.m, device=device)).float(), dim=1
    )
    rows = max(1, _CHUNK_BYTES // (4 * dictionary.m))
    closest = torch.full((dictionary.m,), -torch.inf, device=directions.device)
    found: dict[int, list[tuple[float | None, np.ndarray]]] = {}
    done = 0
    for size in [int(size) for size in sweep.distinct if size]:
        while done < size:
            stop = min(size, done + rows)
            members = torch.from_numpy(sweep.order[done:stop]).to(directions.device)
            closest = torch.maximum(closest, (directions[members] @ directions.T).amax(dim=0))
            done = stop
        own = sweep.order[:size]
        near = closest.cpu().numpy()
        found[size] = []
        for cosine in cosines:
            added = np.zeros(0, np.int64)
            if cosine is not None:
                added = np.setdiff1d(np.flatnonzero(near > cosine), own)
            found[size].append((cosine, np.concatenate([own, added])))
    return [
        Expanded(tau, cosine, size, features)
        for tau, size in zip(sweep.thresholds.tolist(), sweep.sizes.tolist(), strict=True)
        if size
        for cosine, features in found[size]
    ]
