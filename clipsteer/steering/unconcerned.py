"""What an edit changes for attributes that it is not meant to concern: their zero-shot accuracy, before and after.

An attribute's accuracy is **balanced**: the mean over its two values of the share of that value's images which are
told right, since most attributes are rare. 50 % is chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:  # the table of baselines is made without it
    import torch


class Unconcerned:
    """The attributes: `names`, `labels` (N, A) of the test images, 0 or 1, and `heads` (A, 2, p); A may be 0."""

    def __init__(
        self, names: Sequence[str], labels: np.ndarray, heads: torch.Tensor | None
    ) -> None:
        self.names, self.labels, self.heads = list(names), labels, heads

    def correct(self, answers: np.ndarray) -> np.ndarray:
        """Right answers by attribute and value, (R, 2 A), of answers (R, N, A): 0, 1 of the first, and so on."""
        right = answers == self.labels
        by_value = [(right & (self.labels == value)).sum(axis=1) for value in (0, 1)]
        return np.stack(by_value, axis=-1).reshape(len(answers), -1).astype(np.int64)

    def counts(self, answers: np.ndarray) -> pl.DataFrame:
        """One row an attribute and value, of answers (N, A): `attribute`, `value`, `images`, `correct`."""
        images = np.stack([(self.labels == value).sum(axis=0) for value in (0, 1)], axis=-1)
        return pl.DataFrame(
            {
                "attribute": [name for name in self.names for _ in (0, 1)],
                "value": [0, 1] * len(self.names),
                "images": images.reshape(-1).astype(np.int64),
                "correct": self.correct(answers[None])[0],
            },
            schema_overrides={"attribute": pl.String(), "value": pl.Int64()},
        )


def balanced_accuracies(
    attributes: Sequence[str], images: Sequence[int], correct: Sequence[int]
) -> dict[str, float | None]:
    """Attribute -> balanced accuracy in per cent, of counts by attribute and value; None without images of a value."""
    found: dict[str, float | None] = {}
    for place, name in enumerate(attributes[::2]):
        here = slice(2 * place, 2 * place + 2)
        pairs = list(zip(correct[here], images[here], strict=True))
        known = all(n for _, n in pairs)
        found[name] = 100 * sum(right / n for right, n in pairs) / 2 if known else None
    return found


def collateral(before: pl.DataFrame, correct: Sequence[int]) -> Mapping[str, Any]:
    """What one edit changed, in points, from `Unconcerned.counts` before and `Unconcerned.correct` after.

    `collateral_mean_change` over attributes, `collateral_largest_fall` (0 where none falls) and
    `collateral_attribute`, which falls most; `unconcerned_<attribute>`, its change. None where none is known.
    """
    names, images = before["attribute"].to_list(), before["images"].to_list()
    was = balanced_accuracies(names, images, before["correct"].to_list())
    now = balanced_accuracies(names, images, correct)
    pairs = {name: (old, now[name]) for name, old in was.items()}
    changes = {
        n: new - old for n, (old, new) in pairs.items() if old is not None and new is not None
    }
    least = min(changes, key=lambda name: (changes[name], name), default=None)
    fall = None if least is None else max(0.0, -changes[least])
    return {
        "collateral_mean_change": sum(changes.values()) / len(changes) if changes else None,
        "collateral_largest_fall": fall,
        "collateral_attribute": least if fall else None,
        **{f"unconcerned_{name}": changes.get(name) for name in was},
    }
