"""`results/typographic_examples.png`: attacked images with what the model says before and after ablation.

Chosen by rule, in the order of the split: the first that the SAE mends, the first that stay wrong, the first that it
breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from clipsteer.defences.classes import NO_WORD
from clipsteer.defences.evaluating import NONE, SAE
from clipsteer.report.drawing import painted_label, saved

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = {"mended": 3, "still wrong": 2, "broken": 1}
"""How many images of each kind are shown."""
_COLOURS = {"mended": "#009E73", "still wrong": "#D55E00", "broken": "#D55E00"}
# of a line above an image, about as wide as it
_LETTERS = 30


class Example(NamedTuple):
    """An image by its row in the split: its class, and what the model says before and after."""

    kind: str
    row: int
    own: str
    before: str
    after: str


class Panel(NamedTuple):
    """A benchmark's images with their examples."""

    benchmark: str
    source: str
    shown: list[tuple[Image, Example]]


def told(answers: pl.DataFrame, labels: pl.DataFrame, names: Sequence[str]) -> list[Example]:
    """The examples of a benchmark: `answers` at one place, `labels` of the test images, `names` of the classes."""
    views = answers["view"].unique()
    view = "test_attacked" if "test_attacked" in views else "test"
    before, after = (
        np.array(answers.filter(view=view, defence=defence)["predictions"][0].to_list())
        for defence in (NONE, SAE)
    )
    targets, words = (labels[name].to_numpy() for name in ("target", "word"))
    was, now = before == targets, after == targets
    kinds = {"mended": ~was & now, "still wrong": ~was & ~now, "broken": was & ~now}
    return [
        Example(kind, row, *(names[found[row]] for found in (targets, before, after)))
        for kind, of_kind in kinds.items()
        for row in np.flatnonzero(of_kind & (words != NO_WORD))[: KINDS[kind]].tolist()
    ]


def draw(panels: Sequence[Panel], path: Path, title: str) -> None:
    """A row a benchmark; a kind of which there are no images leaves its places empty."""
    width = sum(KINDS.values())
    with saved(path, (1.5 * width + 0.4, 1.9 * max(1, len(panels)) + 0.4)) as figure:
        grid = figure.subplots(max(1, len(panels)), width, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        places = {kind: sum(list(KINDS.values())[:n]) for n, kind in enumerate(KINDS)}
        for line, panel in zip(grid, panels, strict=False):
            used = dict(places)
            for image, example in panel.shown:
                axes = line[used[example.kind]]
                used[example.kind] += 1
                axes.imshow(np.asarray(image))
                said = f"{example.own}: {example.before} → {example.after}"
                lines = fill(said, _LETTERS, break_long_words=False)
                axes.set_title(lines, fontsize=7, color=_COLOURS[example.kind])
            line[0].text(
                *(-0.08, 0.5, panel.benchmark),
                transform=line[0].transAxes,
                rotation=90,
                ha="right",
                va="center",
                fontsize=8,
            )
        source = painted_label(panels[0].source) if panels else ""
        kinds = ", ".join(f"{n} {kind}" for kind, n in KINDS.items())
        figure.suptitle(f"{title}: {source}. Class: before → after; the first {kinds}", fontsize=9)
