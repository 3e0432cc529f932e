"""Features that are ablated together, where they are from, and how they were found: saved and loaded as itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from clipsteer.dictionaries.base import Dictionary
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.intervention import ErrorTerm, FeatureEdit, NoEdit


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """A set F chosen on validation.

    `features` (|F|,) int64 by falling difference; `threshold` is None for the empty set; `counts` are those of
    validation with F ablated (the baseline's where it is empty). `place`: hook point and layer; of which
    dictionary, the name under which a set is kept says, as it enters no key. `how`: the settings that found it, such as
    `condition` and `balance`.
    """

    features: np.ndarray
    threshold: float | None
    counts: GroupCounts
    place: tuple[str, int] | None = None
    how: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        """|F|."""
        return len(self.features)

    def edit(self, dictionary: Dictionary, error_term: ErrorTerm) -> FeatureEdit | NoEdit:
        """Its ablation; an empty set is no intervention."""
        if not self.n_features:
            return NoEdit()
        return FeatureEdit(dictionary, self.features, error_term=error_term)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with accuracies in per cent for people; `from_dict` gives the same set back."""
        hook_point, layer = self.place or (None, None)
        return {
            "hook_point": hook_point,
            "layer": layer,
            "how": dict(self.how),
            "threshold": self.threshold,
            "features": self.features.tolist(),
            "n_features": self.n_features,
            "overall": self.counts.overall,
            "worst": self.counts.worst,
            "counts": self.counts.as_dict(),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        place = None if found["layer"] is None else (found["hook_point"], found["layer"])
        return cls(
            np.asarray(found["features"], dtype=np.int64),
            found["threshold"],
            GroupCounts.from_dict(found["counts"]),
            place,
            found["how"],
        )
