"""The number of overcomplete 0.3.0 that tests/dictionaries/test_likeness.py has for its own two sets of directions.

python overcomplete_likeness.py     # where overcomplete, or its module of metrics alone, can be imported
"""

from __future__ import annotations

import torch


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True)


if __name__ == "__main__":
    try:
        from overcomplete.metrics import cosine_hungarian_loss
    except ImportError:
        from metrics import cosine_hungarian_loss
    loss = cosine_hungarian_loss(rows(200, 24, 0), rows(200, 24, 1))
    print(f"mean cosine of the matching: {1 - loss / 200:.7f}")
