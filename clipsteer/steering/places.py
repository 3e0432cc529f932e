"""Where to edit: the layer and dictionary with the best score on validation."""

from __future__ import annotations

from collections.abc import Mapping

Place = tuple[int, str]


def best_place(scores: Mapping[Place, float]) -> Place:
    """The (layer, dictionary) with the highest score; of equals the lower layer, then the earlier name.

    One rule for the headline and for its negative control. Raises ValueError for no scores at all.
    """
    return min(scores, key=lambda place: (-scores[place], place))
