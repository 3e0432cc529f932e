"""`results/<dataset>_pairs.png`: what an edit did to each image against what the attribute's absence does.

Equal tables give equal bytes, as in `clipsteer.report.figure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clipsteer.report.baselines import METHODS
from clipsteer.report.drawing import Title, saved
from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.contenders import SIDES

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_WITHOUT = "#999999"
_NOTHING = {"sae": "SAE features", "baseline": "baselines"}


def pairs_figure(
    effects: pl.DataFrame,
    path: Path,
    *,
    title: Title,
    class_names: Sequence[str],
) -> None:
    """Draw the SAE beside the best baseline, a row a condition, into a PNG at `path`.

    `effects` from `clipsteer.steering.contenders.effects`; A point is a test
    image. Those without the attribute stand at 0, which is where the ideal edit, the diagonal, leaves them.
    """
    known = effects.drop_nulls(["true_effect"])
    values = known.select("true_effect", "edited_effect").to_numpy()
    reach = float(np.abs(values).max(initial=0.0))
    with saved(path, (8.6, 8.0)) as figure:
        panels = figure.subplots(
            len(CONDITIONS), len(SIDES), sharex=True, sharey=True, squeeze=False
        )
        for row, condition in zip(panels, CONDITIONS, strict=True):
            for axes, side in zip(row, SIDES, strict=True):
                here = known.filter(condition=condition, side=side)
                axes.plot(
                    [-reach, reach], [-reach, reach], color="#BBBBBB", linewidth=0.9, zorder=0
                )
                axes.axhline(0, color="#DDDDDD", linewidth=0.8, zorder=0)
                _points(axes, here, class_names)
                axes.set_title(f"{condition}: {_title(here, side)}", fontsize=9)
        for axes in panels[-1]:
            axes.set_xlabel("true effect on the margin, m(pair) - m(image)")
        for row in panels:
            row[0].set_ylabel("the edit's effect, m(edited) - m(image)")
        handles, labels = next(
            (
                axes.get_legend_handles_labels()
                for row in panels
                for axes in row
                if axes.collections
            ),
            ([], []),
        )
        figure.legend(
            handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8
        )
        figure.suptitle(
            title.of("On the line is ideal; each at its own best place by validation"),
            fontsize=10,
        )


def _title(here: pl.DataFrame, side: str) -> str:
    if here.is_empty():
        return f"{_NOTHING[side]}, nothing passed on validation"
    row = here.row(0, named=True)
    place = "" if row["layer"] is None else f", layer {row['layer']}"
    return f"{METHODS[row['method']]}{place}" + (
        f", {row['dictionary']}" if row["dictionary"] else ""
    )


def _points(axes: Any, here: pl.DataFrame, class_names: Sequence[str]) -> None:
    without = here.filter(~pl.col("caused"))
    if without.height:
        axes.scatter(
            without["true_effect"], without["edited_effect"], s=5, color=_WITHOUT, alpha=0.35,
            linewidths=0, label="without the attribute", zorder=1,
        )  # fmt: skip
    for number, name in enumerate(class_names):
        own = here.filter(pl.col("caused") & (pl.col("class") == number))
        if own.height:
            axes.scatter(
                own["true_effect"], own["edited_effect"], s=6, alpha=0.5, linewidths=0,
                color=_COLOURS[number % len(_COLOURS)], label=f"{name}, with the attribute", zorder=2,
            )  # fmt: skip
