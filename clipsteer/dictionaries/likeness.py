"""How alike two dictionaries are, feature by feature, and how alike two random ones of their shape would be.

Directions are compared by cosine. In few dimensions many directions are alike by chance, so every number stands beside
that of random unit directions: without it, it says little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Cosines in a block, so that two dictionaries of 49,152 features need no matrix of all their pairs.
_BLOCK = 2**25
#: Above so many features on either side the one-to-one matching is left out: it takes their number to the third power.
MATCHED = 8192
#: Cosines from which features are called shared (Paulo & Belrose 2025, arXiv 2501.16615, take 0.7).
SHARED = (0.7, 0.9)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Nearest(NamedTuple):
    """Of each direction on one side the nearest on the other: its cosine and its number; of equals the first."""

    cosine: Floats
    number: Indices


def nearest(a: Tensor, b: Tensor) -> tuple[Nearest, Nearest]:
    """The nearest in b of each row of a, and the other way round: unit rows (n, d) and (k, d), neither empty."""
    n, k = len(a), len(b)
    there, back = torch.empty(n), torch.full((k,), -2.0)
    to_b, to_a = (torch.zeros(count, dtype=torch.int64) for count in (n, k))
    step = max(1, _BLOCK // k)
    for low in range(0, n, step):
        cosines = a[low : low + step] @ b.T
        there[low : low + step], to_b[low : low + step] = cosines.max(dim=1)
        best, row = cosines.max(dim=0)
        better = best > back
        back[better], to_a[better] = best[better], row[better] + low
    pairs = ((there, to_b), (back, to_a))
    first, second = (Nearest(c.double().numpy(), i.numpy()) for c, i in pairs)
    return first, second


def mutual(there: Nearest, back: Nearest) -> Indices:
    """Of each direction of a the number of the one of b that is its nearest and whose nearest it is; -1 without one."""
    own = np.arange(len(there.number))
    return np.where(back.number[there.number] == own, there.number, -1)


def assigned(a: Tensor, b: Tensor) -> float | None:
    """The mean cosine of the one-to-one matching that makes it largest; None where there are too many for it."""
    if max(len(a), len(b)) > MATCHED:
        return None
    from scipy.optimize import linear_sum_assignment

    cosines = (a @ b.T).double().numpy()
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return float(cosines[rows, columns].mean())


def alikeness(a: Tensor, b: Tensor, there: Nearest, back: Nearest) -> dict[str, float | None]:
    """What is measured of unit rows (n, d) and (k, d), neither empty, and of the `nearest` of both.

    - `cosine`, `cosine_back`: the mean over a of the cosine to the nearest of b, and over b to the nearest of a;
    - `mutual`, `mutual_70`, `mutual_90`: pairs that are each other's nearest, of any cosine or of so many hundredths at
      least, as a share of the smaller side;
    - `matched`: `assigned`.
    """
    pairs = there.cosine[mutual(there, back) >= 0]
    smaller = min(len(a), len(b))
    return {
        "cosine": float(there.cosine.mean()),
        "cosine_back": float(back.cosine.mean()),
        "mutual": len(pairs) / smaller,
        **{f"mutual_{100 * s:.0f}": int((pairs >= s).sum()) / smaller for s in SHARED},
        "matched": assigned(a, b),
    }


def random_alikeness(n: int, k: int, d: int, seed: int) -> dict[str, float | None]:
    """The same of random unit rows."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randn(count, d, generator=generator) for count in (n, k))
    a, b = (rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True) for rows in drawn)
    return alikeness(a, b, *nearest(a, b))


class Side(NamedTuple):
    """One of two dictionaries: `directions` (m, d), `frequency` (m,) of firing, 0 for the dead; `sets` by condition."""

    directions: Tensor
    frequency: Floats
    sets: Mapping[str, Sequence[int]]

    @property
    def alive(self) -> Indices:
        return np.flatnonzero(self.frequency > 0)


def compare(a: Side, b: Side, seed: int) -> dict[str, Any]:
    """How alike the living features of two dictionaries are.

    `alikeness`; `weighted` and `weighted_back`, its cosines with each feature weighted by how often it fires; `random_`
    and the same names for `random_alikeness` of as many; and for each condition that both sides have a set of,
    `set_overlap`. Where either side has no living feature, nothing but the numbers of them.
    """
    alive = {"alive": len(a.alive), "alive_back": len(b.alive)}
    if not min(alive.values()):
        return alive
    rows_a, rows_b = (side.directions[torch.from_numpy(side.alive)] for side in (a, b))
    there, back = nearest(rows_a, rows_b)
    chance = random_alikeness(len(rows_a), len(rows_b), rows_a.shape[1], seed)
    partner = np.full(len(a.frequency), -1, dtype=np.int64)
    pairs = mutual(there, back)
    partner[a.alive] = np.where(pairs >= 0, b.alive[pairs], -1)
    found: dict[str, Any] = {
        **alive,
        **alikeness(rows_a, rows_b, there, back),
        "weighted": _weighted(there, a.frequency[a.alive]),
        "weighted_back": _weighted(back, b.frequency[b.alive]),
        **{f"random_{name}": value for name, value in chance.items()},
    }
    for condition in a.sets:
        if condition in b.sets:
            told = set_overlap(a, b, partner, condition)
            found |= {f"{condition}_{name}": value for name, value in told.items()}
    return found


def set_overlap(a: Side, b: Side, partner: Indices, condition: str) -> dict[str, float | None]:
    """How alike the sets are that were selected on both sides.

    - `overlap`: features of a whose partner is in b's set, over all that are in either (Jaccard, after matching);
      `overlap_random` is what it would be of random sets of these sizes;
    - `subspace`: ||U^T V||_F^2 / min(r, s) for orthonormal bases U (d, r), V (d, s) of what the sets span, 1 where one
      lies in the other; `subspace_random` is its mean for random subspaces of their ranks, max(r, s) / d.

    None where a set is empty.
    """
    one, other = (np.asarray(side.sets[condition], dtype=np.int64) for side in (a, b))
    names = ("overlap", "overlap_random", "subspace", "subspace_random")
    if not len(one) or not len(other):
        return dict.fromkeys(names)
    both = int(np.isin(partner[one], other).sum())
    matched = int((partner >= 0).sum())
    by_chance = matched * len(one) / len(a.frequency) * len(other) / len(b.frequency)
    u, v = _basis(a.directions, one), _basis(b.directions, other)
    d = u.shape[0]
    shared = float(np.square(u.T @ v).sum()) / min(u.shape[1], v.shape[1])
    sizes = len(one) + len(other)
    values = (both / (sizes - both), by_chance / (sizes - by_chance), shared)
    return dict(zip(names, (*values, max(u.shape[1], v.shape[1]) / d), strict=True))


def _weighted(found: Nearest, weights: Floats) -> float:
    return float((found.cosine * weights).sum() / weights.sum())


def _basis(directions: Tensor, features: Indices) -> Floats:
    """An orthonormal basis (d, r) of what some rows span."""
    rows = directions[torch.from_numpy(features)].double().numpy()
    u, values, _ = np.linalg.svd(rows.T, full_matrices=False)
    return np.asarray(u[:, values > values.max(initial=0.0) * max(rows.shape) * 1e-7])
