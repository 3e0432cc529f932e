"""Which directions of a dictionary are nearest to some of another's, or of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipsteer.backbones.device import one_thread
from clipsteer.dictionaries.base import Dictionary

# Directions that are compared with all others at a time.
_COMPARED = 256

SCHEMA = {
    "dictionary": pl.String(),
    "feature": pl.Int64(),
    "other": pl.String(),
    "nearest": pl.List(pl.Int64()),
    "cosine": pl.List(pl.Float32()),
}


def closest(
    directions: Tensor, features: NDArray[np.int64], others: Tensor, count: int
) -> Iterator[tuple[list[list[int]], list[list[float]]]]:
    """Of some of the unit rows (m, d) the `count` nearest of the unit rows `others` (m', d), block by block.

    Yields numbers and cosines, falling, ties to the lower number. Where both are the same tensor, a row is none of
    its own neighbours.
    """
    with torch.inference_mode(), one_thread():
        for low in range(0, len(features), _COMPARED):
            here = np.asarray(features[low : low + _COMPARED], np.int64)
            similar = (directions.index_select(0, torch.tensor(here)) @ others.T).numpy()
            if directions is others:
                similar[np.arange(len(here)), here] = -np.inf
            best = np.argsort(-similar, axis=1, kind="stable")[:, :count]
            yield best.tolist(), np.take_along_axis(similar, best, axis=1).tolist()


def nearest_in_others(
    dictionaries: Mapping[str, Dictionary],
    features: Mapping[str, NDArray[np.int64]],
    hook_points: Mapping[str, str],
    count: int,
) -> pl.DataFrame:
    """Of each dictionary's features the nearest directions in every other one at its hook point: columns `SCHEMA`."""
    rows = []
    for name, own in dictionaries.items():
        for other, there in dictionaries.items():
            if name == other or hook_points[name] != hook_points[other]:
                continue
            left = iter(features[name].tolist())
            for near, cosine in closest(own.W_dec.cpu(), features[name], there.W_dec.cpu(), count):
                for numbers, values in zip(near, cosine, strict=True):
                    rows.append((name, next(left), other, numbers, values))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")
