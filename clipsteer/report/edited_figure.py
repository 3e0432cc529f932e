"""`results/<dataset>_edited_images.png`: the paper's Figure 1 in the project's own pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipsteer.report.drawing import Title, saved

_BEFORE, _AFTER = "#999999", "#0072B2"


class EditedImage(NamedTuple):
    """A row: the image (H, W, 3), where it is changed (rows, columns of patches), and what the model says.

    `before`, `after` (K,): class probabilities; `suppressed`: features of the set with their mean activation, the
    most active first.
    """

    title: str
    pixels: NDArray[np.uint8]
    moved: NDArray[np.float32]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    suppressed: Sequence[tuple[int, float]]


def edited_figure(
    rows: Sequence[EditedImage],
    class_names: Sequence[str],
    path: Path,
    *,
    title: Title,
    set_name: str,
) -> None:
    """Draw a row for each image into a PNG at `path`. `set_name`: which set is ablated, where, on which split."""
    with saved(path, (8.2, 0.9 + 1.25 * len(rows))) as figure:
        axes = figure.subplots(len(rows), 4, width_ratios=[1, 1, 2.1, 1.5], squeeze=False)
        for line, row in zip(axes, rows, strict=True):
            extent = (0, row.pixels.shape[1], row.pixels.shape[0], 0)
            for at in (0, 1):
                line[at].imshow(row.pixels, extent=extent)
                line[at].axis("off")
            line[1].imshow(
                row.moved,
                extent=extent,
                cmap="cividis",
                alpha=0.75,
                vmin=0,
                interpolation="nearest",
            )
            line[0].set_title(row.title.replace(": ", ":\n"), fontsize=7, loc="left")
            places = np.arange(len(class_names))
            line[2].barh(places - 0.2, row.before, 0.38, color=_BEFORE)
            line[2].barh(places + 0.2, row.after, 0.38, color=_AFTER)
            for place, (b, a) in enumerate(zip(row.before, row.after, strict=True)):
                line[2].text(
                    1.02, place, f"{100 * b:.0f} → {100 * a:.0f} %", fontsize=7, va="center"
                )
            line[2].set_yticks(places, class_names, fontsize=7)
            line[2].set_xlim(0, 1)
            line[2].set_xticks([])
            line[2].invert_yaxis()
            line[3].axis("off")
            said = "\n".join(f"{j}: {value:.2g}" for j, value in row.suppressed)
            line[3].text(0.3, 0.5, said or "none is active", fontsize=7, va="center")
        for at, head in ((1, "changed most"), (2, "probability: grey as it is, blue edited")):
            axes[0, at].set_title(head, fontsize=7)
        axes[0, 3].set_title("suppressed: feature, mean", fontsize=7)
        figure.suptitle(title.of(f"\n{set_name} ablated; images chosen by rule"), fontsize=9)
