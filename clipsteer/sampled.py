"""How many features a sample has."""

from __future__ import annotations

import math


def sampled(asked: float | str, m: int) -> int:
    """As many of m features as `steerability.features` asks for: all, a share below 1, or a number at most."""
    if isinstance(asked, str):
        return m
    return min(m, max(1, math.ceil(asked * m)) if asked < 1 else int(asked))
