"""`results/<dataset>_top_images.png`: the paper's Figures 2 and 10, with features chosen by rule.

Rows are features, each with the images that it answers to most and its own activations over them. On one side
stand features of the set that was selected on validation, on the other neurons of the same layer.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clipsteer.report.drawing import painted_label, saved
from clipsteer.steering.choose import Condition, Rule
from clipsteer.steering.feature_set import chosen_sets
from clipsteer.steering.places import Place, first_choice, unmodified_counts
from clipsteer.steering.shown import ShownPlace

ROWS, IMAGES = 4, 6
_LETTERS = 153  # of a line above two panels
# As on the page of features: a veil, clear where a row's activation is largest, of a grey that neither dark
# nor bright patches look like.
_GREY, _VEIL = 0.5, 0.8


class Row(NamedTuple):
    """A feature: its label, its images by number, and their patches (images, patches)."""

    label: str
    images: list[int]
    patches: NDArray[np.float32]


class Panel(NamedTuple):
    """One side of the figure."""

    title: str
    rows: list[Row]


def panels(
    shown: Sequence[ShownPlace],
    selections: Mapping[Place, Mapping[str, Any]],
    hooks: Mapping[str, str],
    neurons: set[str],
    rules: Mapping[Condition, Rule],
) -> list[Panel]:
    """Neurons, where the table has them at that hook point, and the features selected: those of the largest difference.

    The place is the one that the strict rule chooses on validation, and where its sets are empty everywhere
    the relaxed one's; where these are too, there is no set, and the first place stands there with its largest
    differences.
    """
    saes = {place: found for place, found in selections.items() if place[1] not in neurons}
    condition, where = first_choice(saes, hooks, rules, unmodified_counts(saes))
    layer, dictionary = where
    beside = next((name for name in neurons if hooks[name] == hooks[dictionary]), None)
    by_place = {(place.layer, place.dictionary): place for place in shown}
    found = []
    if beside is not None:
        found.append(
            Panel(f"neurons, layer {layer}: largest differences", _rows(by_place[layer, beside]))
        )
    chosen = f"{condition} set" if condition else "no set selected: largest differences"
    title = f"{dictionary}, layer {layer}: {chosen}"
    only = chosen_sets(selections[where])[condition].features if condition else None
    return [*found, Panel(title, _rows(by_place[where], only))]


def _rows(place: ShownPlace, only: NDArray[np.int64] | None = None) -> list[Row]:
    """The features of the largest difference by Eq. 9, of those in `only` if given."""
    features = place.features
    if only is not None:
        features = features.filter(pl.col("feature").is_in(only.tolist()))
    return rows_of(features, place.examples)


def rows_of(features: pl.DataFrame, examples: pl.DataFrame) -> list[Row]:
    """Features of the highest rank, with their difference, and of each the first of its top images."""
    found = []
    for feature, difference in (
        features.sort("rank").head(ROWS).select("feature", "difference").rows()
    ):
        top = examples.filter((pl.col("feature") == feature) & (pl.col("kind") == "top"))
        top = top.head(IMAGES)
        patches = np.array(top["patches"].to_list(), np.float32)
        found.append(Row(f"{feature}\n{difference:+.2g}", top["image"].to_list(), patches))
    return found


def top_images_figure(
    found: Sequence[Panel],
    seen: Callable[[int], NDArray[np.uint8]],
    path: Path,
    *,
    title: str,
    source: str,
    grid: tuple[int, int],
) -> None:
    """Draw the panels side by side into a PNG at `path`.

    `seen`: an image's number to its pixels (H, W, 3) as the model sees them; `grid`: rows and columns of patches.
    """
    deep = max((len(panel.rows) for panel in found), default=0) or 1
    with saved(path, (0.4 + 4.6 * len(found), 0.9 + 0.7 * deep)) as figure:
        sides = figure.subfigures(1, len(found), squeeze=False)[0]
        for side, panel in zip(sides, found, strict=True):
            side.suptitle(panel.title, fontsize=9)
            axes = side.subplots(deep, IMAGES, squeeze=False)
            for one in axes.flat:
                one.axis("off")
            for line, row in zip(axes, panel.rows, strict=False):
                line[0].text(
                    -0.1,
                    0.5,
                    row.label,
                    transform=line[0].transAxes,
                    ha="right",
                    va="center",
                    fontsize=7,
                )
                most = float(row.patches.max(initial=0.0)) or 1.0
                for one, image, patches in zip(line, row.images, row.patches, strict=False):
                    pixels = seen(image)
                    share = np.clip(patches.reshape(grid) / most, 0, 1)
                    extent = (0, pixels.shape[1], pixels.shape[0], 0)
                    one.imshow(pixels, extent=extent)
                    veil = np.full((*grid, 4), _GREY)
                    veil[..., 3] = _VEIL * (1 - share)
                    one.imshow(veil, extent=extent, interpolation="nearest")
        said = (
            f"{title}: {painted_label(source)}. Features by number, with their difference by Eq. 9; images of the "
            "largest activation, veiled where the feature is silent (all over where only CLS answers)"
        )
        figure.suptitle(textwrap.fill(said, _LETTERS), fontsize=9)
