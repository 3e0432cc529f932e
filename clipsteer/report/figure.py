"""`results/<dataset>_layers.png`: worst-group accuracy by layer, to be read in colour and in grey.

Every series has its own colour (Okabe and Ito's palette), marker and line style.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from clipsteer.report.drawing import painted_label, saved
from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.outcomes import NEURONS

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (6, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (2.5, 1)), (0, (6, 1, 1, 1, 1, 1)), "-")
_NEURONS = {"color": "#000000", "marker": "x", "markersize": 6, "linestyle": (0, (1.2, 1.2))}
_RANDOM = {"color": "#777777", "marker": "*", "markersize": 7, "linestyle": (0, (4, 3))}
_SPREAD = 0.36  # part of a layer's width over which the series' error bars are spread
_ABREAST = 8
_UNMODIFIED = "unmodified model"


def layers_figure(
    table: pl.DataFrame,
    path: Path,
    *,
    title: str,
    baseline_interval: tuple[float, float] | None = None,
) -> None:
    """Draw one hook point's results, a panel for each condition, into a PNG at `path`.

    `table` from `clipsteer.report.table.results_table`. Lines with 95 % intervals as bars:
    each SAE (targeted), the neurons (targeted), and random features (means over SAEs, of the bounds
    too); the unmodified model is a level line, with `baseline_interval` (low, high in per cent) as
    a band. Painted data are named in the title.
    """
    conditions = [c for c in CONDITIONS if c in table["condition"].to_list()]
    layers = sorted(table["layer"].unique().to_list())
    stacked = len(layers) > _ABREAST  # many layers: one panel above the other fits a page
    down, across = (len(conditions), 1) if stacked else (1, len(conditions))
    with saved(path, (9.0, 1.1 + 3.2 * down)) as figure:
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = list(grid.flat)
        for axes, condition in zip(panels, conditions, strict=True):
            _panel(axes, table.filter(pl.col("condition") == condition), layers, baseline_interval)
            axes.set_title(f"{condition} condition", fontsize=10)
        for axes in grid[:, 0]:
            axes.set_ylabel("worst-group accuracy, %")
        for axes in grid[-1]:
            axes.set_xlabel("layer")
        pairs = sorted(zip(*panels[0].get_legend_handles_labels(), strict=True), key=_legend_rank)
        handles, labels = zip(*pairs, strict=True)
        figure.legend(
            handles, labels, loc="outside lower center", ncols=3, frameon=False, handlelength=3.4
        )
        figure.suptitle(
            f"{title}: {painted_label(table['source'][0])}. Worst-group accuracy under ablation, "
            "with 95 % intervals",
            fontsize=10.5,
        )


def _legend_rank(entry: tuple[Any, str]) -> bool:
    return entry[1].startswith(_UNMODIFIED)  # after the others, which keep their order


def _style(number: int) -> dict[str, Any]:
    """Colour, marker and line of the n-th SAE; every second marker is hollow."""
    place = number % len(_COLOURS)
    fill = {"markerfacecolor": "white"} if number % 2 else {}
    line = {"linestyle": _DASHES[place], "marker": _MARKERS[place], "markersize": 5}
    return {"color": _COLOURS[place], **line, **fill}


def _of(table: pl.DataFrame, dictionary: str) -> pl.DataFrame:
    return table.filter(pl.col("dictionary") == dictionary)


def _panel(
    axes: Any,
    table: pl.DataFrame,
    layers: Sequence[int],
    baseline_interval: tuple[float, float] | None,
) -> None:
    names = [n for n in dict.fromkeys(table["dictionary"].to_list()) if n != NEURONS]
    targeted = table.filter(pl.col("ablation") == "targeted")
    random = table.filter((pl.col("ablation") == "random") & (pl.col("dictionary") != NEURONS))
    series = [
        (f"SAE {name}, targeted", _style(i), _of(targeted, name)) for i, name in enumerate(names)
    ]
    series.append(("neurons, targeted", _NEURONS, _of(targeted, NEURONS)))
    series.append(("random SAE features, mean", _RANDOM, random))
    series = [item for item in series if len(item[2])]
    step = _SPREAD / max(1, len(series) - 1)
    for number, (label, style, rows) in enumerate(series):
        mean = rows.group_by("layer").agg(pl.col("worst", "worst_low", "worst_high").mean())
        mean = mean.sort("layer")
        worst = mean["worst"].to_numpy()
        below = worst - mean["worst_low"].to_numpy()
        above = mean["worst_high"].to_numpy() - worst
        axes.errorbar(
            mean["layer"].to_numpy() + number * step - _SPREAD / 2,
            worst,
            yerr=[below.clip(0), above.clip(0)],
            label=label,
            linewidth=1.4,
            elinewidth=0.8,
            capsize=2,
            zorder=3,
            **style,
        )
    base = table["baseline_worst"][0]
    label = f"{_UNMODIFIED} (worst: {table['baseline_worst_group'][0]})"
    if baseline_interval is not None:
        axes.axhspan(*baseline_interval, color="#BBBBBB", alpha=0.35, linewidth=0, zorder=0)
    axes.axhline(base, color="#000000", linewidth=1, label=label, zorder=1.5)
    axes.set_xticks(list(layers))
    axes.set_xlim(min(layers) - 0.6, max(layers) + 0.6)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
