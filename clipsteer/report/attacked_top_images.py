"""`results/typographic_top_images.png`: Figures 2 and 10 for attacked images, features of F* beside base neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from clipsteer.report.top_images_figure import Panel, rows_of
from clipsteer.steering.selection import by_difference


class Tuned(NamedTuple):
    """A place: what was chosen there and the sweep it was chosen from, `ranked` features and their top images."""

    dictionary: str
    layer: int
    hook_point: str
    own_basis: bool
    """Whether it is the neuron basis."""
    chosen: Mapping[str, Any]
    sweep: pl.DataFrame
    features: pl.DataFrame
    examples: pl.DataFrame


def ranked(difference: np.ndarray, among: Sequence[int], count: int) -> pl.DataFrame:
    """The features of the largest difference by Eq. 9 (m,), of those in `among` if there are any.

    Columns `feature`, `difference` and `rank` (from 1, by falling difference, of all m).
    """
    order, rank = by_difference(difference)
    shown = order[np.isin(order, among)] if among else order
    shown = shown[:count]
    return pl.DataFrame(
        {"feature": shown, "difference": difference[shown].astype(float), "rank": rank[shown]}
    )


def panels(places: Sequence[Tuned]) -> list[Panel]:
    """Neurons, where the table has them at that hook point, and the features of F*.

    The place is the one whose set tells most attacked validation images right, of equals the first layer; where
    nothing was taken anywhere, the first place stands there with its largest differences.
    """
    saes = [place for place in places if not place.own_basis]
    if not saes:
        return [
            Panel(_title(place), rows_of(place.features, place.examples)) for place in places[:1]
        ]
    best = min(saes, key=lambda place: (-_right(place), place.layer))
    beside = [
        place
        for place in places
        if place.own_basis and (place.hook_point, place.layer) == (best.hook_point, best.layer)
    ]
    return [
        Panel(_title(place), rows_of(place.features, place.examples))
        for place in (*beside[:1], best)
    ]


def _right(place: Tuned) -> int:
    """Attacked validation images that the set told right; -1 where none was taken."""
    if not place.chosen["features"]:
        return -1
    cosine = place.chosen["lambda"]
    row = place.sweep.filter(
        pl.col("tau") == place.chosen["tau"], pl.col("lambda").eq_missing(pl.lit(cosine))
    )
    return int(row["attacked_correct"].item())


def _title(place: Tuned) -> str:
    if place.own_basis:
        return f"neurons, layer {place.layer}: largest differences"
    taken = "F*" if place.chosen["features"] else "no set selected: largest differences"
    return f"{place.dictionary}, layer {place.layer}: {taken}"
