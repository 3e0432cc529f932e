"""Features that are ablated together, where they are from, and how they were found: saved and loaded as itself.

Light, so that tables and figures may read sets too; `clipsteer.steering.intervention.ablation` is the edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from clipsteer.steering.choose import CONDITIONS, Condition
from clipsteer.steering.counts import GroupCounts


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """A set F chosen on validation.

    `features` (|F|,) int64 by falling difference; `threshold` is None for the empty set; `counts` are those of
    validation with F ablated (the baseline's where it is empty). Of which dictionary it is, the name under which a set
    is kept says, as it enters no key. `how`: the settings that found it, such as `condition` and `balance`.
    """

    features: np.ndarray
    threshold: float | None
    counts: GroupCounts
    hook_point: str | None = None
    layer: int | None = None
    how: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        """|F|."""
        return len(self.features)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with accuracies in per cent for people; `from_dict` gives the same set back."""
        return {
            "hook_point": self.hook_point,
            "layer": self.layer,
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
        return cls(
            np.asarray(found["features"], dtype=np.int64),
            found["threshold"],
            GroupCounts.from_dict(found["counts"]),
            found["hook_point"],
            found["layer"],
            found["how"],
        )


def chosen_sets(selection: Mapping[str, Any]) -> dict[Condition, FeatureSet]:
    """Strict and relaxed, in this order, of what select_features wrote at a place."""
    return {condition: FeatureSet.from_dict(selection[condition]) for condition in CONDITIONS}
