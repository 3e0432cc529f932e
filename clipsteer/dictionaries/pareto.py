"""The points of a grid by quality: which of them no other beats, and which one is taken.

A dictionary is the better, the more of the variance it explains with the fewer features a token (L0); of two points
each may be better in one way. Points are compared with those of the same seed alone: seeds repeat a setting, and the
luckiest of them is no better one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clipsteer.errors import ClipsteerError

#: How a point is taken: as it is configured, where the front bends, by a rule.
FIXED, PARETO, RULE = "fixed", "pareto", "rule"

# The larger, the better.
Score = tuple[bool, float]


class Quality(NamedTuple):
    """What counts of a dictionary on some images: mean L0 of a token, explained variance."""

    l0: float
    explained_variance: float

    @property
    def counts(self) -> bool:
        """Whether it fires and explains anything: one that does neither is sparse without being of use."""
        return self.l0 > 0 and self.explained_variance > 0


def dominates(one: Quality, other: Quality) -> bool:
    """Whether one is at least as good as the other in both ways, and better in one."""
    no_worse = one.l0 <= other.l0 and one.explained_variance >= other.explained_variance
    return no_worse and one != other


def front(points: Sequence[Quality]) -> list[int]:
    """The points that no other dominates, among those that count, by L0."""
    there = [i for i, point in enumerate(points) if point.counts]
    best = [i for i in there if not any(dominates(points[j], points[i]) for j in there)]
    return sorted(best, key=lambda i: (points[i].l0, i))


def heights(points: Sequence[Quality]) -> list[float]:
    """How far each point lies above the line between the front's ends, in the plane of log L0 and explained variance.

    Both axes run from 0 to 1 along the front, so that the highest point is where it bends (Satopaa et al. 2011,
    "Finding a kneedle in a haystack"). A front of one point has no line: it lies at 0, and the others, which it beats,
    as far below as they are worse in both ways together. A point that does not count has minus infinity.
    """
    ends = front(points)
    if not ends:
        return [-math.inf] * len(points)
    first, last = points[ends[0]], points[ends[-1]]
    run = math.log(last.l0 / first.l0)
    rise = last.explained_variance - first.explained_variance

    def height(point: Quality) -> float:
        if not point.counts:
            return -math.inf
        along, above = math.log(point.l0 / first.l0), point.explained_variance
        above -= first.explained_variance
        return above - along if run == 0.0 else above / rise - along / run

    return [height(point) for point in points]


def scores(points: Sequence[Quality], choice: Mapping[str, Any]) -> list[Score]:
    """How good each point is by a choice: whether it may be taken, then how it compares; `fixed` goes by `pareto`.

    `choice`: `by`, and of `rule` either `max_l0` or `min_explained_variance`.
    """
    if choice["by"] != RULE:
        bends = heights(points)
        return [(point.counts, bend) for point, bend in zip(points, bends, strict=True)]
    if (most := choice.get("max_l0")) is not None:
        return [(True, p.explained_variance) if p.l0 <= most else (False, -p.l0) for p in points]
    least = choice["min_explained_variance"]
    return [
        (True, -p.l0) if p.explained_variance >= least else (False, p.explained_variance)
        for p in points
    ]


def ranks(found: Sequence[Score]) -> list[int]:
    """The place of each score among them, the best is 1; equals share one."""
    return [1 + sum(other > score for other in found) for score in found]


def take(points: Sequence[Quality], choice: Mapping[str, Any], key: str) -> int:
    """The number of the best point, of equals the first.

    Raises ClipsteerError, by the key of the dictionary, where none may be taken.
    """
    found = scores(points, choice)
    best = max(range(len(points)), key=lambda i: (found[i], -i))
    if found[best][0]:
        return best
    if choice["by"] != RULE:
        raise ClipsteerError(
            f"{key}.grid: found no point that explains anything on the validation images, expected one at least. List "
            "other values."
        )
    name, limit = next((k, v) for k, v in choice.items() if k != "by" and v is not None)
    value = points[best].l0 if name == "max_l0" else points[best].explained_variance
    raise ClipsteerError(
        f"{key}.rule.{name}: found {value:.4g} at the nearest point of the grid, expected {limit:g} "
        f"{'at most' if name == 'max_l0' else 'at least'}. Change the rule, or list other values in {key}.grid."
    )
