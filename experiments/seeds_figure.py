"""docs/images/seeds.png: what each method gains, loses and recovers in each seed, from experiments/seeds.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipsteer.report.baselines import METHODS
from clipsteer.report.drawing import painted_label, saved
from experiments.seeds_criteria import (
    DATASETS,
    SAE,
    Json,
    Records,
    acts,
    interval,
    names_of,
    rows_of,
)

CONDITION = "relaxed"
SAES, OTHERS = "#0072B2", "#666666"  # of Okabe and Ito's palette, and grey
TITLE = f"""{painted_label("painted").capitalize()}, test images; {CONDITION} condition, balance: none. \
Each method at its best place by validation (random subspaces at the SAE's).
Dots: seeds, at 0 where nothing passed. Bars: the mean over seeds and Student's 95 % interval."""
# column of a record, what stands below its panel
MEASURES = {
    "gain": "gain of worst-group accuracy,\npoints",
    "largest_fall": "largest fall of any group,\npoints (less is better)",
    "recovery_by_class": "recovery of the true effect,\nby class (1 is ideal)",
    "pair_collateral": "collateral\n(0 is ideal)",
}


def values_of(found: Sequence[Json], measure: str, name: str) -> list[list[float]]:
    """Of one method and balance, seeds of each series: one, or by class one each; 0 where it did nothing."""
    by_class = measure.endswith("_by_class")
    cells = [
        (row[measure] if by_class else [row[measure]]) if acts(row) else [None] * (1 + by_class)
        for row in rows_of(found, CONDITION, name)
    ]
    return [[float(value or 0.0) for value in series] for series in zip(*cells, strict=True)]


def methods_of(found: Sequence[Json]) -> list[str]:
    """The methods of the figure from top to bottom: all with `steering.balance: none`, as the tables have them."""
    names = {name for name in names_of(found, CONDITION) if name.endswith("/none")}
    return [f"{method}/none" for method in METHODS if f"{method}/none" in names]


def seeds_figure(records: Records, path: Path) -> None:
    """Draw a row of panels for each data set into a PNG at `path`: a dot a seed, the mean with its 95 % interval."""
    with saved(path, (13.0, 0.9 + 3.4 * len(records))) as figure:
        panels = figure.subplots(len(records), len(MEASURES), squeeze=False, sharex="col")
        for line, (dataset, found) in zip(panels, records.items(), strict=True):
            names = methods_of(found)
            for axes, measure in zip(line, MEASURES, strict=True):
                panel(axes, [values_of(found, measure, name) for name in names], names)
                axes.set_yticks(range(len(names)), [""] * len(names))
            line[0].set_yticklabels([METHODS[name.partition("/")[0]] for name in names], fontsize=8)
            about = DATASETS[dataset]
            line[0].set_title(f"{about.title}, {len(found)} seeds", fontsize=10, loc="left")
            line[2].set_title("above: {}, below: {}".format(*about.classes), fontsize=8, loc="left")
        for axes, words in zip(panels[-1], MEASURES.values(), strict=True):
            axes.set_xlabel(words)
        figure.suptitle(TITLE, fontsize=9.5)


def panel(axes: Any, rows: Sequence[Sequence[Sequence[float]]], names: Sequence[str]) -> None:
    """One measure: lines of dots a method, the first at the top; several series of it one below another."""
    axes.axvline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    for place, (several, name) in enumerate(zip(rows, names, strict=True)):
        colour = SAES if name == f"{SAE}/none" else OTHERS
        for number, values in enumerate(several):
            height = place + 0.38 * (number - (len(several) - 1) / 2)
            heights = [height] * len(values)
            axes.plot(values, heights, "o", color=colour, markersize=3.5, alpha=0.4, mew=0)
            centre, low, high = interval(values)
            axes.errorbar(
                centre,
                height,
                xerr=[[centre - low], [high - centre]],
                color=colour,
                marker="|",
                markersize=12 / len(several),
                markeredgewidth=2,
                linewidth=1.6,
                capsize=0,
            )
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
