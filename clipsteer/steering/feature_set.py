"""Features that are ablated together, where they are from, and how they were found: saved and loaded as itself.

Light, so that tables and figures may read sets too; `clipsteer.steering.intervention.ablation` is the edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from clipsteer.errors import ClipsteerError
from clipsteer.steering.choose import CONDITIONS, Condition
from clipsteer.steering.counts import GroupCounts

_KEYS = ("features", "threshold", "counts", "hook_point", "layer", "how")


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
        """What `as_dict` gave. Raises ClipsteerError where a key is missing or a feature is no whole number."""
        if missing := [name for name in _KEYS if name not in found]:
            raise ClipsteerError(
                f"feature set: found no {', '.join(missing)}, expected what FeatureSet.as_dict gives."
            )
        features = np.asarray(found["features"])
        if features.ndim != 1 or (features.size and features.dtype.kind not in "iu"):
            raise ClipsteerError(
                f"feature set: features: found {found['features']!r}, expected a list of whole numbers."
            )
        return cls(
            features.astype(np.int64),
            found["threshold"],
            GroupCounts.from_dict(found["counts"]),
            found["hook_point"],
            found["layer"],
            found["how"],
        )


def chosen_sets(selection: Mapping[str, Any]) -> dict[Condition, FeatureSet]:
    """Strict and relaxed, in this order, of what select_features wrote at a place."""
    return {condition: FeatureSet.from_dict(selection[condition]) for condition in CONDITIONS}
