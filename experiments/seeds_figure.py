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
    interval,
    names_of,
    rows_of,
)

CONDITION = "relaxed"
SAES, OTHERS = "#0072B2", "#666666"  # of Okabe and Ito's palette, and grey


# column of a record, what stands below its panel
MEASURES = {
    "gain": "gain of the worst group, points",
    "largest_fall": "largest fall of any group, points",
    "recovery": "recovery of the true effect, mean of classes",
}


def values_of(found: Sequence[Json], measure: str, name: str) -> list[float]:
    """Of one method and balance by seed; 0 where it did nothing."""
    return [float(row.get(measure) or 0.0) for row in rows_of(found, CONDITION, name)]


def methods_of(found: Sequence[Json]) -> list[str]:
    """The methods of the figure from top to bottom: all with `steering.balance: none`, as the tables have them."""
    names = {name for name in names_of(found, CONDITION) if name.endswith("/none")}
    return [f"{method}/none" for method in METHODS if f"{method}/none" in names]


def seeds_figure(records: Records, path: Path) -> None:
    """Draw a row of panels for each data set into a PNG at `path`: a dot a seed, the mean with its 95 % interval."""
    with saved(path, (11.6, 0.6 + 3.2 * len(records))) as figure:
        panels = figure.subplots(len(records), len(MEASURES), squeeze=False)
        for line, (dataset, found) in zip(panels, records.items(), strict=True):
            names = methods_of(found)
            for axes, (measure, words) in zip(line, MEASURES.items(), strict=True):
                panel(axes, [values_of(found, measure, name) for name in names], names)
                axes.set_xlabel(words)
            labels = [METHODS[name.partition("/")[0]] for name in names]
            line[0].set_yticks(range(len(names)), labels, fontsize=8)
            for axes in line[1:]:
                axes.set_yticks(range(len(names)), [""] * len(names))
            line[0].set_title(
                f"{DATASETS[dataset].title}, {len(found)} seeds", fontsize=10, loc="left"
            )
        figure.suptitle(
            f"{painted_label('painted').capitalize()}, test images. Each method at its own best place by validation,"
            f" {CONDITION} condition.\nDots: seeds. Bars: the mean over seeds and its 95 % interval.",
            fontsize=9.5,
        )


def panel(axes: Any, rows: Sequence[Sequence[float]], names: Sequence[str]) -> None:
    """One measure: a line of dots a method, the first at the top."""
    axes.axvline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    for height, (values, name) in enumerate(zip(rows, names, strict=True)):
        colour = SAES if name == f"{SAE}/none" else OTHERS
        axes.plot(
            values,
            [height] * len(values),
            "o",
            color=colour,
            markersize=4,
            alpha=0.45,
            markeredgewidth=0,
        )
        centre, low, high = interval(values)
        axes.errorbar(
            centre,
            height,
            xerr=[[centre - low], [high - centre]],
            color=colour,
            marker="|",
            markersize=13,
            markeredgewidth=2,
            linewidth=1.6,
            capsize=0,
        )
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
