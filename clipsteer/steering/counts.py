"""Correct predictions by group, and the accuracies that follow from them as exact fractions.

Four images in 720 equal one in 180, and a tie must be seen as a tie: whatever is chosen is compared
by these counts, never by rounded per cents. A group is a pair of target class and spurious value,
numbered target-major; there may be any number of them, and one without images is left out
everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from clipsteer.errors import ClipsteerError


@dataclass(frozen=True)
class GroupCounts:
    """Correct predictions and images per group; accuracies follow exactly."""

    correct: tuple[int, ...]
    images: tuple[int, ...]

    def __post_init__(self) -> None:
        pairs = zip(self.correct, self.images, strict=True)
        if any(not 0 <= right <= n for right, n in pairs) or not any(self.images):
            raise ValueError(f"no counts of images: {self.correct} correct of {self.images}")

    @property
    def exact(self) -> dict[int, Fraction]:
        """Accuracy in 0..1 of each group that has images."""
        pairs = enumerate(zip(self.correct, self.images, strict=True))
        return {group: Fraction(right, n) for group, (right, n) in pairs if n}

    @property
    def exact_overall(self) -> Fraction:
        return Fraction(sum(self.correct), sum(self.images))

    @property
    def exact_worst(self) -> Fraction:
        return min(self.exact.values())

    @property
    def overall(self) -> float:
        """Per cent of all images."""
        return _per_cent(self.exact_overall)

    @property
    def worst(self) -> float:
        """Per cent in the group where it is lowest."""
        return _per_cent(self.exact_worst)

    @property
    def worst_group(self) -> int:
        """The group with the lowest accuracy; of equals, the first."""
        exact = self.exact
        return min(exact, key=lambda group: (exact[group], group))

    def accuracy(self, group: int) -> float | None:
        """Per cent in one group, None where it has no images."""
        return _per_cent(self.exact[group]) if self.images[group] else None

    def as_dict(self) -> dict[str, list[int]]:
        """For JSON; `from_dict` gives the same counts back."""
        return {"correct": list(self.correct), "images": list(self.images)}

    @classmethod
    def from_dict(cls, counts: Mapping[str, Sequence[int]]) -> GroupCounts:
        return cls(tuple(counts["correct"]), tuple(counts["images"]))


class Grouping(NamedTuple):
    """How groups are numbered: target-major, group = n_spurious * target + spurious."""

    n_targets: int
    n_spurious: int

    @property
    def n_groups(self) -> int:
        return self.n_targets * self.n_spurious

    def targets(self, groups: np.ndarray) -> np.ndarray:
        """The target class of each group in (N,)."""
        return np.asarray(groups).astype(np.int64) // self.n_spurious

    def spurious(self, groups: np.ndarray) -> np.ndarray:
        """The spurious value of each group in (N,)."""
        return np.asarray(groups).astype(np.int64) % self.n_spurious


BINARY = Grouping(2, 2)


def grouping_of(labels: Mapping[str, Any]) -> Grouping:
    """The numbering that a split's `target`, `spurious` and `group` (N,) follow; it has images of every class.

    Raises ValueError where they follow none.
    """
    target, value, group = (
        np.asarray(labels[name]).astype(np.int64) for name in ("target", "spurious", "group")
    )
    last = int(target.argmax()) if len(target) else 0
    if not len(target) or not target[last]:
        raise ValueError("no images of a second class, which would tell how groups are numbered")
    found = Grouping(int(target[last]) + 1, int(group[last] - value[last]) // int(target[last]))
    if (found.n_spurious * target + value != group).any() or (value >= found.n_spurious).any():
        raise ValueError(f"groups are not numbered as {found} has it")
    return found


def number_of_groups(groups: np.ndarray) -> int:
    """One more than the highest group number in (N,)."""
    return int(groups.max()) + 1 if len(groups) else 0


def count_groups(
    predictions: np.ndarray, targets: np.ndarray, groups: np.ndarray, n_groups: int
) -> GroupCounts:
    """Counts of one prediction vector (N,) against the targets (N,), by group (N,) 0..n_groups-1.

    Raises ClipsteerError for no images, ValueError for arrays of different length or a group beyond `n_groups`.
    """
    if not len(predictions) == len(targets) == len(groups):
        raise ValueError("predictions, targets and groups differ in length")
    if not len(groups):
        raise ClipsteerError(
            "accuracy: found no images to evaluate; expected at least one. Check that the split "
            "is not empty."
        )
    if number_of_groups(groups) > n_groups:
        raise ValueError(f"group {groups.max()} among {n_groups} groups")
    right = np.asarray(predictions) == np.asarray(targets)
    return GroupCounts(
        tuple(np.bincount(groups[right], minlength=n_groups).tolist()),
        tuple(np.bincount(groups, minlength=n_groups).tolist()),
    )


def _per_cent(share: Fraction) -> float:
    return float(100 * share)
