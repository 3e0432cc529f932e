"""Images with their most probable words before and after steering, side by side: what `clipsteer steer --out` draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from clipsteer.report.drawing import saved

_BEFORE, _AFTER = "#999999", "#0072B2"


class Steered(NamedTuple):
    """An image, and words with their probabilities before and after."""

    name: str
    picture: Image.Image
    words: Sequence[tuple[str, float, float]]


def steered_figure(found: Sequence[Steered], path: Path, title: str) -> None:
    """Draw a row for each image into a PNG at `path`."""
    most = max(len(one.words) for one in found)
    with saved(path, (7.5, 0.6 + len(found) * (0.5 + 0.28 * most))) as figure:
        rows = figure.subplots(len(found), 2, width_ratios=[1, 2.4], squeeze=False)
        for (left, right), one in zip(rows, found, strict=True):
            left.imshow(one.picture)
            left.set_title(one.name, fontsize=8)
            left.axis("off")
            places = range(len(one.words))
            right.barh(
                [at - 0.2 for at in places], [b for _, b, _ in one.words], 0.38, color=_BEFORE
            )
            right.barh(
                [at + 0.2 for at in places], [a for _, _, a in one.words], 0.38, color=_AFTER
            )
            right.set_yticks(list(places), [word for word, _, _ in one.words], fontsize=8)
            right.invert_yaxis()
            right.set_xlim(0, 1)
        rows[-1, 1].set_xlabel("probability: grey before, blue after")
        figure.suptitle(title, fontsize=9)
