"""`results/<dataset>_sparsity.csv` and `.png`: L0 by token and layer (the paper's Figures 4 and 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clipsteer.report.drawing import Title, saved

COLUMNS = (
    *("dataset", "source", "model", "hook_point", "layer", "dictionary", "trained_on"),
    *("token", "row", "column", "l0", "l0_p5", "l0_p25", "l0_p50", "l0_p75", "l0_p95", "high_norm"),
)
#: L0 of a token of GPT-2 small, as the paper has it of others' SAEs (Section 5.2: "average L0 = 20-50").
GPT2 = (20, 50)
_HIGH = 0.01  # a patch is marked where it is of high norm in such a share of the images
_PANELS = 6  # in a row
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


class Shown(NamedTuple):
    """One dictionary at a layer; `sparsity` is what `clipsteer.dictionaries.sparsity` has, with the `grid`."""

    name: str
    architecture: str
    hook_point: str
    trained_on: str | None
    layer: int
    sparsity: Mapping[str, Any]

    @property
    def cls(self) -> int | None:
        """The place of CLS among its tokens."""
        return None if self.sparsity["cls"] is None else int(self.sparsity["cls"])

    def spatial(self) -> NDArray[np.float64]:
        """Mean L0 of the patches (P,), row by row; of a dictionary that is for CLS alone there are none."""
        values = np.array(self.sparsity["mean"])
        return values if self.cls is None else np.delete(values, self.cls, axis=0)

    @property
    def patches(self) -> NDArray[np.float64]:
        """The same as (rows, columns)."""
        return self.spatial().reshape(self.sparsity["grid"])


def sparsity_rows(places: Sequence[Shown], title: Title) -> pl.DataFrame:
    """One row for each token of each place; of CLS, row and column are null."""
    rows = []
    for place in places:
        columns = place.sparsity["grid"][1]
        for token, mean in enumerate(place.sparsity["mean"]):
            patch = None if token == place.cls else token - (place.cls is not None)
            at = (None, None) if patch is None else divmod(patch, columns)
            rows.append(
                (
                    *(title.dataset, title.source, title.model, place.hook_point, place.layer),
                    *(place.name, place.trained_on),
                    *("cls" if patch is None else "spatial", *at, mean),
                    *place.sparsity["quantiles"][token],
                    place.sparsity["high_norm"][token],
                )
            )
    integers = {name: pl.Int64() for name in ("layer", "row", "column")}
    texts = {name: pl.String() for name in (*COLUMNS[:4], "dictionary", "trained_on", "token")}
    schema = {name: (integers | texts).get(name, pl.Float64()) for name in COLUMNS}
    return pl.DataFrame(rows, schema=schema, orient="row")


def sparsity_figure(places: Sequence[Shown], path: Path, title: Title) -> None:
    """The patches of one dictionary at every layer on one scale and on their own, its tokens, and all by layer.

    The dictionary is the first of the table that has a code of its own length for each token: of Top-K there is little
    to see.
    """
    shown = _shown(places)
    here = [place for place in places if place.name == shown]
    rows = -(-len(here) // _PANELS)
    columns = min(len(here), _PANELS)
    heights = [1.5 * rows, 1.5 * rows, 1.5 * rows, 2.6]
    with saved(path, (max(7.0, 1.75 * columns), sum(heights) + 1.0)) as figure:
        parts = figure.subfigures(4, 1, height_ratios=heights)
        values = [float(x) for place in here for x in place.spatial()] or [0.0]
        scale = (min(values), max(values))
        _patches(parts[0], here, (rows, columns), scale)
        parts[0].suptitle(f"{shown}: mean L0 per patch, one scale for all layers", fontsize=9)
        _patches(parts[1], here, (rows, columns), None)
        parts[1].suptitle("the same, each layer on its own scale", fontsize=9)
        _boxes(parts[2], here, (rows, columns))
        parts[2].suptitle(
            "L0 by token: CLS (orange), patches row by row, those that are of high norm in 1 % of the images (red)",
            fontsize=9,
        )
        _by_layer(parts[3].subplots(), places)
        figure.suptitle(title.of("How many features are active on a token"), fontsize=9)


def _shown(places: Sequence[Shown]) -> str:
    """The dictionary whose tokens are drawn."""
    fixed = {place.name for place in places if place.architecture == "topk"}
    names = [place.name for place in places if len(place.spatial())]
    names = names or [place.name for place in places]
    return next((name for name in names if name not in fixed), names[0])


def _panels(part: Any, here: Sequence[Shown], shape: tuple[int, int]) -> list[Any]:
    """Axes for each layer, in rows; what is left of the last row is empty."""
    axes = list(np.atleast_1d(part.subplots(*shape)).flat)
    for empty in axes[len(here) :]:
        empty.axis("off")
    return axes[: len(here)]


def _patches(
    part: Any, here: Sequence[Shown], shape: tuple[int, int], scale: tuple[float, float] | None
) -> None:
    axes = _panels(part, here, shape)
    drawn = None
    for panel, place in zip(axes, here, strict=True):
        panel.set_title(f"layer {place.layer}", fontsize=8)
        panel.axis("off")
        if not len(place.spatial()):
            continue
        low, high = scale or (place.patches.min(), place.patches.max())
        # where all are alike, the middle of a scale
        room = 0.5 * (low == high)
        drawn = panel.imshow(place.patches, cmap="cividis", vmin=low - room, vmax=high + room)
        if scale is None:
            bar = part.colorbar(drawn, ax=panel, shrink=0.8)
            bar.ax.tick_params(labelsize=6)
    if scale is not None and drawn is not None:
        part.colorbar(drawn, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)


def _boxes(part: Any, here: Sequence[Shown], shape: tuple[int, int]) -> None:
    for panel, place in zip(_panels(part, here, shape), here, strict=True):
        boxes = [
            dict(zip(("whislo", "q1", "med", "q3", "whishi"), found, strict=True), fliers=[])
            for found in place.sparsity["quantiles"]
        ]
        drawn = panel.bxp(
            boxes, showfliers=False, showcaps=False, widths=0.8, patch_artist=True,
            medianprops={"color": "black", "linewidth": 0.6},
            whiskerprops={"linewidth": 0.5}, boxprops={"linewidth": 0.3},
        )  # fmt: skip
        high = np.array(place.sparsity["high_norm"]) >= _HIGH
        for token, box in enumerate(drawn["boxes"]):
            is_cls = token == place.cls
            box.set_facecolor("#E69F00" if is_cls else "#C0392B" if high[token] else "#9DB7D5")
        panel.set_xticks([])
        panel.set_ylim(bottom=0)
        panel.tick_params(labelsize=6)
        panel.set_title(f"layer {place.layer}", fontsize=8)


def _by_layer(axes: Any, places: Sequence[Shown]) -> None:
    """L0 of CLS and of patches by layer, of every dictionary, beside GPT-2's."""
    names = list(dict.fromkeys(place.name for place in places))
    for name, colour in zip(names, _cycle(len(names)), strict=True):
        here = [place for place in places if place.name == name]
        layers = [place.layer for place in here]
        if all(len(place.spatial()) for place in here):
            means = [float(place.spatial().mean()) for place in here]
            axes.plot(layers, means, color=colour, marker=".", label=f"{name}, patches")
        if all(place.cls is not None for place in here):
            own = [place.sparsity["mean"][place.cls] for place in here]
            axes.plot(layers, own, color=colour, marker="x", linestyle=":", label=f"{name}, CLS")
    axes.axhspan(*GPT2, color="#DDDDDD", zorder=0, label="GPT-2's tokens (from the paper)")
    axes.set_yscale("log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis("{x:g}")
    axes.set_xticks(sorted({place.layer for place in places}))
    axes.set_xlabel("layer")
    axes.set_ylabel("mean L0")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _cycle(number: int) -> list[str]:
    return [_COLOURS[place % len(_COLOURS)] for place in range(number)]
