"""`results/<dataset>_baselines.png`: what the worst group gains against what another loses, a marker a method.

Equal tables give equal bytes, as in `clipsteer.report.figure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from clipsteer.report.baselines import METHODS, Row, headline_rows
from clipsteer.report.drawing import Title, saved
from clipsteer.steering.choose import CONDITIONS

# One colour a family, from Okabe and Ito's palette; a marker a method, so that it reads in grey.
_SAE, _SPAN, _NEURONS, _DIRECTION, _BIAS, _PROBE, _RANDOM = (
    *("#0072B2", "#56B4E9", "#000000", "#D55E00", "#009E73", "#CC79A7", "#999999"),
)
_STYLES = {
    "sae": (_SAE, "*", 15),
    "neurons": (_NEURONS, "x", 7),
    "neurons_two_sided": (_NEURONS, "+", 9),
    "random_features": (_RANDOM, "o", 6),
    "decoder_subspace": (_SPAN, "s", 7),
    "encoder_subspace": (_SPAN, "D", 6),
    "random_subspace": (_RANDOM, "v", 6),
    "mean_difference": (_DIRECTION, "^", 7),
    "leace": (_DIRECTION, "<", 7),
    "leace_scaled": (_DIRECTION, ">", 7),
    "probe": (_DIRECTION, "h", 7),
    "class_bias": (_BIAS, "P", 8),
    "balanced_probe": (_PROBE, "X", 8),
}


def baselines_figure(
    table: pl.DataFrame, path: Path, *, balance: str, group_names: Sequence[str]
) -> None:
    """Draw a panel for each condition into a PNG at `path`: every method's best place, by validation.

    `table` from `clipsteer.report.baselines.baselines_table`. Methods that weigh D_A and D_notA stand under
    `balance`. What is drawn at random is a mean, with bars to the draws' extremes.
    """
    hardest = table["worst_group_validation"][0]
    with saved(path, (9.0, 5.4)) as figure:
        panels = figure.subplots(1, len(CONDITIONS), sharex=True, sharey=True, squeeze=False)[0]
        for axes, condition in zip(panels, CONDITIONS, strict=True):
            rows = headline_rows(table, condition, group_names)
            _panel(axes, [row for row in rows if row["balance"] in (None, balance)])
            axes.set_title(f"{condition} condition", fontsize=10)
            axes.set_xlabel("largest fall of any group, points")
        panels[0].set_ylabel(f"gain of {hardest}, points")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=3,
            frameon=False,
            fontsize=8,
            title=f"each at its own best place by validation; balance: {balance}",
            title_fontsize=8,
        )
        figure.suptitle(
            Title(table["dataset"][0], table["model"][0], table["source"][0]).of(
                "Best is up and left"
            ),
            fontsize=10.5,
        )


def _panel(axes: Any, rows: Sequence[Row]) -> None:
    axes.axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    for row in rows:
        colour, marker, size = _STYLES[row["method"]]
        gains = row["own_gains"]
        spread = [[row["own_gain"] - min(gains)], [max(gains) - row["own_gain"]]]
        axes.errorbar(
            row["largest_fall"],
            row["own_gain"],
            yerr=spread if len(gains) > 1 else None,
            color=colour,
            marker=marker,
            markersize=size,
            markeredgewidth=1.6 if marker in "x+" else 0.6,
            markeredgecolor=colour if marker in "x+" else "#FFFFFF",
            linestyle="none",
            elinewidth=0.9,
            capsize=2,
            label=METHODS[row["method"]],
            clip_on=False,
            zorder=4 if row["method"] == "sae" else 3,
        )
    nothing = [METHODS[row["method"]] for row in rows if row["is_nothing"]]
    if nothing:
        axes.text(
            0.98,
            0.02,
            "nothing passed on validation (at 0, 0):\n" + "\n".join(nothing),
            transform=axes.transAxes,
            ha="right",
            va="bottom",
            fontsize=7,
            color="#444444",
        )
    axes.grid(color="#EEEEEE", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
