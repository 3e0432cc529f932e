"""`results/typographic_layers.png`: what each defence reaches on attacked images, by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clipsteer.defences.evaluating import (
    BOTH,
    NEURONS,
    NONE,
    PATCHING,
    PREFIX,
    PROJECTION,
    RANDOM,
    SAE,
)
from clipsteer.report.drawing import painted_label, saved
from clipsteer.report.typographic import DEFENCES

_LINES = {
    SAE: ("#0072B2", "o", "-"),
    BOTH: ("#009E73", "o", "-"),
    RANDOM: ("#999999", ".", "-"),
    NEURONS: ("#D55E00", "s", "-"),
    "mean_difference": ("#CC79A7", "^", "-"),
    "leace": ("#E69F00", "v", "-"),
}
_LEVELS = {
    NONE: ("#444444", ":"),
    PREFIX: ("#009E73", "--"),
    PROJECTION: ("#56B4E9", "-."),
    PATCHING: ("#000000", "-."),
}


def layers_figure(found: pl.DataFrame, tuned: str, path: Path) -> None:
    """A panel a benchmark: accuracy on attacked images along the layers, with 95 % intervals.

    `found`: the table. Where there are several dictionaries, lines of one defence have one colour.
    """
    benchmarks = [name for name in found["benchmark"].unique(maintain_order=True) if name != tuned]
    first = found.row(0, named=True)
    with saved(path, (3.3 * len(benchmarks) + 1.6, 3.6)) as figure:
        panels = figure.subplots(1, len(benchmarks), sharey=True, squeeze=False)[0]
        for axes, benchmark in zip(panels, benchmarks, strict=True):
            part = found.filter(pl.col("benchmark") == benchmark, pl.col("attacked").is_not_null())
            _panel(axes, part)
            axes.set_title(benchmark, fontsize=9)
            axes.set_xlabel("layer")
            axes.grid(color="#EEEEEE", linewidth=0.6)
        panels[0].set_ylabel("attacked images told right, %")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=8)
        figure.suptitle(f"{first['model']}: {painted_label(first['source'])}", fontsize=9)


def _panel(axes: Any, part: pl.DataFrame) -> None:
    for defence, (colour, style) in _LEVELS.items():
        rows = part.filter(pl.col("defence") == defence)
        if rows.height:
            axes.axhline(
                rows["attacked"][0],
                color=colour,
                linestyle=style,
                linewidth=1.2,
                label=DEFENCES[defence],
            )
    for defence, (colour, marker, style) in _LINES.items():
        own = part.filter(pl.col("defence") == defence)
        for number, ((_, name), rows) in enumerate(
            own.group_by("hook_point", "dictionary", maintain_order=True)
        ):
            rows = rows.sort("layer")
            value = rows["attacked"].to_numpy()
            bounds = [
                value - rows["attacked_low"].fill_null(rows["attacked"]).to_numpy(),
                rows["attacked_high"].fill_null(rows["attacked"]).to_numpy() - value,
            ]
            several = own["dictionary"].n_unique() > 1
            axes.errorbar(
                rows["layer"].to_numpy(),
                value,
                yerr=np.maximum(np.array(bounds), 0),
                color=colour,
                marker=marker,
                linestyle=style if number == 0 else "--",
                markersize=5,
                capsize=2,
                linewidth=1.2,
                label=f"{DEFENCES[defence]}, {name}" if several else DEFENCES[defence],
            )
    axes.set_xticks(sorted(part["layer"].drop_nulls().unique().to_list()))
