"""`results/<dataset>_pareto.png`: explained variance against L0 of every point of every grid, a panel a layer.

Equal tables give equal bytes, as in `clipsteer.report.figure`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from clipsteer.report.drawing import Title, saved

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREY = "#444444"
_MEASURES = {"explained_variance": "explained variance", "ce_recovered": "CE recovered, %"}


def pareto_figure(table: pl.DataFrame, path: Path, *, title: Title) -> None:
    """Draw `sweep_table`'s rows into a PNG at `path`: a column a layer; CE recovered in a row of its own, where known.

    Of each dictionary's points those that no other beats by L0 and explained variance are joined, in both rows. A ring:
    a key's best value is an end of its list. A star: the point that tables use. A cross: the settings are the paper's.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    table = table.filter(pl.col("l0") > 0)  # one that never fires has no place on a log axis
    layers = table["layer"].unique().sort().to_list()
    measures = [name for name in _MEASURES if table[name].is_not_null().any()] or [
        "explained_variance"
    ]
    across, down = max(1, len(layers)), len(measures)
    # title and legend need a width of their own where there is one layer
    with saved(path, (max(6.4, 1.2 + 3.6 * across), 0.9 + 3.0 * down)) as figure:
        panels = figure.subplots(down, across, squeeze=False, sharex="col")
        names = table["dictionary"].unique(maintain_order=True).to_list()
        for measure, row in zip(measures, panels, strict=True):
            row[0].set_ylabel(_MEASURES[measure])
            for axes, layer in zip(row, layers, strict=False):
                for number, name in enumerate(names):
                    here = table.filter(layer=layer, dictionary=name)
                    _points(axes, here, measure, _COLOURS[number % len(_COLOURS)], name)
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_formatter(NullFormatter())
        for axes, layer in zip(panels[0], layers, strict=False):
            axes.set_title(f"layer {layer}", fontsize=9)
        for axes in panels[-1]:
            axes.set_xlabel("L0: features a token")
        handles, labels = panels.flat[0].get_legend_handles_labels()
        extra_handles, extra_labels = _signs(panels.flat[0], table)
        figure.legend(
            handles + extra_handles, labels + extra_labels, loc="outside lower center",
            ncols=3 if across > 1 else 2, frameon=False, fontsize=8,
        )  # fmt: skip
        figure.suptitle(title.of("Quality on the validation images"), fontsize=10)


def _points(axes: Any, here: pl.DataFrame, measure: str, colour: str, name: str) -> None:
    if here.is_empty():
        return
    axes.scatter(here["l0"], here[measure], s=22, color=colour, label=name, zorder=2)
    for _, seeded in here.group_by(_seed(here), maintain_order=True):
        best = seeded.filter(pl.col("pareto")).sort("l0")
        axes.plot(best["l0"], best[measure], color=colour, linewidth=1.0, zorder=1)
    chosen = here.filter(pl.col("chosen"))
    axes.scatter(
        chosen["l0"], chosen[measure], s=120, marker="*", color=colour, edgecolors="black",
        linewidths=0.6, zorder=4,
    )  # fmt: skip
    ends = here.filter(pl.col("edge").is_not_null())
    axes.scatter(
        ends["l0"], ends[measure], s=75, facecolors="none", edgecolors="#CC0000", linewidths=1.0,
        zorder=3,
    )  # fmt: skip
    papers = here.filter(pl.col("paper"))
    axes.scatter(
        papers["l0"], papers[measure], s=60, marker="x", color="black", linewidths=1.0, zorder=5
    )


def _seed(here: pl.DataFrame) -> list[str]:
    """By what fronts are apart."""
    return ["seed"] if "seed" in here.columns else ["dictionary"]


def _signs(axes: Any, table: pl.DataFrame) -> tuple[list[Any], list[str]]:
    """What the signs mean, of those that the figure has."""
    signs = [
        (table["chosen"], "the point that tables use", {"marker": "*", "s": 90, "color": _GREY}),
        (
            table["edge"].is_not_null(),
            "a key's best value is an end of its list",
            {"marker": "o", "s": 60, "facecolors": "none", "edgecolors": "#CC0000"},
        ),
        (table["paper"], "the paper's settings", {"marker": "x", "s": 50, "color": "black"}),
    ]
    there = [(words, style) for found, words, style in signs if found.any()]
    handles = [axes.scatter([], [], **style) for _, style in there]
    (line,) = axes.plot([], [], color=_GREY, linewidth=1.0)
    return [*handles, line], [*(words for words, _ in there), "the front by explained variance"]
