"""The steerability of a place's features: a sample of them at the asymptote, and curves along the strength."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from clipsteer.backbones.device import exact_inference
from clipsteer.snapshots import pack, unpack
from clipsteer.steering.steerability import Floats, Scores, Sums, asymptote, joined
from clipsteer.steering.steered import BATCH, Passes

# Images between two looks at whether a feature can be left, where that is asked for.
_LOOK = 24

Offer = Callable[[int, int, Callable[[], bytes]], None]
"""Told, after some rows, how many there were before and are now, and a way to all of them as bytes."""


class Journal:
    """Rows in the order in which they are scored: those of an earlier process are read back."""

    def __init__(self, resume: bytes | None = None, offer: Offer | None = None) -> None:
        self._offer = offer
        self._parts: list[Scores] = []
        self._known: Scores | None = None
        self._done = 0
        if resume is not None:
            tensors, _ = unpack(resume)
            self._known = Scores(*(tensors[name].numpy() for name in Scores._fields))

    def next(self, count: int) -> Scores | None:
        """The next rows, so many, if an earlier process has scored them."""
        if self._known is None or self._done + count > len(self._known.feature):
            return None
        return self._known.rows(self._done, self._done + count)

    def add(self, rows: Scores, *, known: bool) -> None:
        """They are the next ones."""
        before = self._done
        self._done += len(rows.feature)
        self._parts.append(rows)
        if self._offer is not None and not known:
            self._offer(before, self._done, self._bytes)

    def _bytes(self) -> bytes:
        self._parts = [joined(self._parts)]
        columns = self._parts[0]._asdict().items()
        return pack({name: torch.from_numpy(column.copy()) for name, column in columns}, None)


class Wanted(NamedTuple):
    """What is measured at a place. Features by their places among those of the `Passes`."""

    sample: NDArray[np.int64]
    """In their random order: the first of them are a smaller sample."""
    more: NDArray[np.int64]
    """Whose curves are wanted too."""
    curves: int
    """Features of the sample whose mean finds the asymptote."""
    strengths: Sequence[float]
    stop_below: float | None
    """Leave a feature once its S_f is surely below; None: look at all images."""


class Measured(NamedTuple):
    """`scores`: the sample at the asymptote. `curves`: some features at all strengths, with why each is there."""

    scores: Scores
    curves: list[tuple[str, Scores]]
    asymptote: float
    reached: bool
    """Whether S_f stays as it is from there on."""


ROLES = ("most", "median", "least", "chosen")


def measure(
    passes: Passes,
    wanted: Wanted,
    distance: Floats,
    journal: Journal,
    progress: Callable[[int], None] | None = None,
) -> Measured:
    """All that is wanted of a place; the same numbers however often it is interrupted."""

    def score(places: NDArray[np.int64], strength: float) -> Scores:
        parts = []
        for low in range(0, len(places), passes.block):
            block = places[low : low + passes.block]
            rows = journal.next(len(block))
            known = rows is not None
            if rows is None:
                rows = _scored(passes, block, strength, distance, wanted.stop_below)
                if progress is not None:
                    progress(len(block))
            journal.add(rows, known=known)
            parts.append(rows)
        return joined(parts)

    few = wanted.sample[: wanted.curves]
    curve = {strength: score(few, strength) for strength in wanted.strengths if strength > 0}
    means = [float(rows.s_paper.mean()) for rows in curve.values()]
    at, reached = asymptote(list(curve), means)
    rest = wanted.sample[len(few) :]
    scores = joined([curve[at], score(rest, at)]) if len(rest) else curve[at]
    ranked = wanted.sample[np.argsort(-scores.s_paper, kind="stable")]
    shown = [ranked[0], ranked[len(ranked) // 2], ranked[-1], *wanted.more]
    roles = [*ROLES[:3], *[ROLES[3]] * len(wanted.more)]
    lines = [score(np.array(shown), strength) for strength in wanted.strengths]
    curves = [
        (role, joined([rows.rows(i, i + 1) for rows in lines])) for i, role in enumerate(roles)
    ]
    return Measured(scores, curves, at, reached)


def _scored(
    passes: Passes,
    places: NDArray[np.int64],
    strength: float,
    distance: Floats,
    stop_below: float | None,
) -> Scores:
    """The rows of a block of features."""
    sums = Sums(np.arange(len(places)), passes.entries)
    left = np.arange(len(places))
    step = BATCH if stop_below is None else _LOOK
    with exact_inference():
        for start in range(0, passes.n_images, step):
            stop = min(start + step, passes.n_images)
            for part in passes.stretches(places[left], start, stop, strength):
                sums.add(int(left[part.place]), part.before, part.total_before, part.after)
            if stop_below is not None:
                left = left[~sums.surely_below(stop_below)[left]]
            if not len(left):
                break
    return sums.scores(strength, distance)._replace(feature=passes.numbers[places])


def frames(found: Measured, passes: Passes) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sample's scores, with `sample`, the place in the random order, and frequencies; the curves, with `role`."""
    sample = {"sample": np.arange(len(found.scores.feature))}
    at = np.array([passes.place_of[feature] for feature in found.scores.feature.tolist()])
    fires = {
        "frequency": passes.frequency.images[at],
        "token_frequency": passes.frequency.tokens[at],
    }
    scores = pl.DataFrame({**sample, **_columns(found.scores), **fires})
    curves = pl.concat(
        [
            pl.DataFrame({"role": [role] * len(rows.feature), **_columns(rows)})
            for role, rows in found.curves
        ]
    )
    return scores, curves


def _columns(rows: Scores) -> dict[str, Any]:
    return {
        name: column.tolist() if column.ndim == 2 else column
        for name, column in rows._asdict().items()
    }
