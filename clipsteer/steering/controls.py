"""Controls: random feature sets, orders and subspaces, shuffled labels, and what else is drawn.

Every draw has its own Philox stream keyed on what it is for, so that no draw depends on which other
draws were made, or in which order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

Pool = Literal["all", "alive"]

# First word of the key: what the stream is for.
_ALL, _ALIVE, _LABELS, _ORDER, _BASIS, _FOLDS, _SAMPLE = range(1, 8)
_DIRECTIONS, _BOOTSTRAP = 8, 9
_NEIGHBOURS = 8  # an `alive` control is drawn from this many features nearest in frequency


def random_sets(
    m: int,
    size: int,
    seeds: Sequence[int],
    *,
    pool: Pool = "all",
    frequency: np.ndarray | None = None,
    like: np.ndarray | None = None,
) -> list[np.ndarray]:
    """One random feature set per seed, each sorted, int64.

    - `pool="all"` (the paper): uniform over all m features, without replacement.
    - `pool="alive"` (ours): for every targeted feature in `like` (size,) one living feature
      (`frequency` (m,) above 0) of like firing frequency, drawn among the eight nearest in log
      frequency that are left; never a targeted one. Where fewer than `size` living features are
      left, all of them are taken, so the set can be smaller.

    Raises ValueError for a size beyond m, another pool, and for `alive` without both arrays.
    """
    if not 0 <= size <= m:
        raise ValueError(f"a set of {size} features out of {m}")
    if pool == "all":
        draws = (_generator(_ALL, seed, m, size).random(m) for seed in seeds)
        # Ranks of uniform numbers, as in _permutation.
        return [np.sort(np.argsort(draw, kind="stable")[:size]) for draw in draws]
    if pool != "alive":
        raise ValueError(f"pool must be 'all' or 'alive', not {pool!r}")
    if frequency is None or like is None or len(frequency) != m or len(like) != size:
        raise ValueError("pool 'alive' needs frequency (m,) and like (size,)")
    return [_like_frequency(frequency, like, _generator(_ALIVE, seed, m, size)) for seed in seeds]


def shuffled_labels(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` random permutations of bool labels (N,), as (count, N): Eq. 9's negative control."""
    labels = np.asarray(labels, dtype=np.bool_)
    n = len(labels)
    rows = [
        labels[np.argsort(_generator(_LABELS, seed, n, i).random(n), kind="stable")]
        for i in range(count)
    ]
    return np.stack(rows) if rows else np.zeros((0, n), dtype=np.bool_)


def random_orders(
    m: int, seeds: Sequence[int], *, pool: Pool = "all", frequency: np.ndarray | None = None
) -> list[np.ndarray]:
    """One order of features per seed, int64, whose prefixes are nested random sets.

    `pool="all"`: of all m features; `"alive"`: of those whose `frequency` (m,) is above 0;
    ValueError without it.
    """
    if pool == "alive" and frequency is None:
        raise ValueError("pool 'alive' needs frequency (m,)")
    free = np.arange(m) if frequency is None or pool == "all" else np.flatnonzero(frequency > 0)
    return [free[_permutation(len(free), _ORDER, seed, m)].astype(np.int64) for seed in seeds]


def random_basis(d: int, seed: int) -> np.ndarray:
    """Orthonormal columns (d, d), uniformly distributed: the first r span a random subspace of rank r."""
    import torch

    from clipsteer.backbones.device import one_thread

    drawn = torch.from_numpy(_generator(_BASIS, seed, d).standard_normal((d, d)))
    with one_thread():  # numpy's own has other last bits with another number of threads
        basis, triangle = torch.linalg.qr(drawn)
    return np.asarray((basis * torch.where(torch.diag(triangle) < 0, -1.0, 1.0)).numpy())


def random_directions(count: int, d: int, seed: int) -> np.ndarray:
    """Unit rows (count, d) float32, uniformly distributed on the sphere; fewer of them are the first ones."""
    drawn = _generator(_DIRECTIONS, seed, d).standard_normal((count, d))
    unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.asarray(unit.astype(np.float32))


def resamples(n: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """`count` draws of n of n things with replacement, each int64 (n,): the bootstrap's."""
    generator = _generator(_BOOTSTRAP, seed, n)
    for _ in range(count):
        yield (generator.random(n) * n).astype(np.int64)


def random_folds(n: int, count: int, seed: int) -> np.ndarray:
    """The fold 0..count-1 of each of n images, as equal in size as can be, (n,) int64."""
    return np.argsort(_permutation(n, _FOLDS, seed, n), kind="stable") % count


def balanced_sample(groups: np.ndarray, seed: int) -> np.ndarray:
    """Indices, ascending, of as many images of each group in `groups` (N,) as the smallest has."""
    present, counts = np.unique(groups, return_counts=True)
    least = int(counts.min()) if len(counts) else 0
    drawn = [
        np.flatnonzero(groups == group)[_permutation(n, _SAMPLE, seed, int(group))[:least]]
        for group, n in zip(present.tolist(), counts.tolist(), strict=True)
    ]
    return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, dtype=np.int64)


def _permutation(n: int, *key: int) -> np.ndarray:
    # Ranks of uniform numbers: a fixed recipe, unlike Generator.permutation across versions.
    return np.argsort(_generator(*key).random(n), kind="stable")


def _like_frequency(
    frequency: np.ndarray, like: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    like = np.asarray(like, dtype=np.int64)
    free = np.asarray(frequency) > 0
    free[like] = False
    candidates = np.flatnonzero(free)
    candidates = candidates[np.argsort(frequency[candidates], kind="stable")]
    if len(candidates) <= len(like):
        return np.sort(candidates)
    smallest = np.finfo(np.float64).tiny
    wanted = np.log(np.maximum(np.asarray(frequency, dtype=np.float64)[like], smallest))
    left = candidates.tolist()
    levels = np.log(np.asarray(frequency, dtype=np.float64)[candidates]).tolist()
    chosen = []
    # In random order, since the last to draw has the least choice.
    for level in wanted[np.argsort(generator.random(len(like)), kind="stable")].tolist():
        low = high = bisect_left(levels, level)
        while high - low < min(_NEIGHBOURS, len(left)):
            below = level - levels[low - 1] if low > 0 else np.inf
            above = levels[high] - level if high < len(left) else np.inf
            if below < above:
                low -= 1
            else:
                high += 1
        pick = low + int(generator.random() * (high - low))
        chosen.append(left.pop(pick))
        levels.pop(pick)
    return np.sort(np.asarray(chosen, dtype=np.int64))


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
