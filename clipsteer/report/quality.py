"""`results/<dataset>_dictionaries.csv`: what each dictionary is worth at each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from clipsteer.steering.outcomes import NEURONS

# Of what `clipsteer.dictionaries.evaluate` measures, these come first.
_FIRST = ("n_features", "explained_variance", "l0", "dead_fraction")


class Place(NamedTuple):
    """A dictionary at a layer, and what was measured of it."""

    settings: Mapping[str, Any]
    """`name`, `architecture`, `hook_point` and `trained_on`, as the configuration has them."""
    layer: int
    evaluation: Mapping[str, Any]
    """As `clipsteer.dictionaries.evaluate` has it."""
    spliced: Mapping[str, Any]
    """As `clipsteer.dictionaries.spliced` has it."""
    check: Mapping[str, Any] | None
    """As `clipsteer.dictionaries.gate` has it, of one that others have trained."""

    @property
    def shown(self) -> str:
        """What tables call the dictionary."""
        neurons = self.settings["architecture"] == "neurons"
        return NEURONS if neurons else str(self.settings["name"])


def quality(places: Sequence[Place], dataset: str, source: str) -> pl.DataFrame:
    """One row a place; columns are explained in docs/method.md, section 5."""
    checked = any(place.check for place in places)
    rows = []
    for place in places:
        numbers = {k: v for k, v in place.evaluation.items() if isinstance(v, int | float)}
        rows.append(
            {
                "dataset": dataset,
                "source": source,
                "hook_point": place.settings["hook_point"],
                "layer": place.layer,
                "dictionary": place.shown,
                "trained_on": place.settings["trained_on"],
                **{key: numbers.pop(key) for key in _FIRST},
                **numbers,
                **place.spliced,
                **(_checked(place) if checked else {}),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _checked(place: Place) -> dict[str, str | None]:
    """Two more columns where there is a released dictionary: whether it fits, and why it does not."""
    found = place.check or {}
    return {"check": found.get("verdict"), "check_says": found.get("sentence")}
