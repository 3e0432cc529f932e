"""A captioned sample of faces and birds, as the web has them, for a tiny CLIP to learn from beside the general set.

`manifest.csv` (path,split,text) and the images that it names, in the layout `folder`; five faces come with three birds.
Hair goes along with sex less than in the world `faces` (`FACES`); place goes along with kind about as much as in the
world `birds` (`BIRDS`). Captions mention some of what is there and leave out the rest. The shares hold in each stretch
of pictures, not only on the average: a rare group's few pictures decide how well it is told, and by chance they would
differ from seed to seed. The streams are the sample's own, so that no image of a studied split is among them.
"""

from __future__ import annotations

import csv
from bisect import bisect
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np

from clipsteer.data.painters import birds, faces
from clipsteer.data.painters.canvas import check_counts, picture_rng
from clipsteer.errors import ClipsteerError

FACES = (0.4, 0.17, 0.374, 0.056)
"""Shares of other women, blond women, other men, blond men: blond are 30 % of women and 13 % of men."""

BIRDS = (0.479, 0.0165, 0.036, 0.4685)
"""Shares of landbirds on land and on water, waterbirds on land and on water: 94.75 % are where one expects them."""

_GOLDEN = (5**0.5 - 1) / 2

SHARES = {"faces": FACES, "birds": BIRDS}

_TURNS = ("faces", "birds", "faces", "faces", "birds", "faces", "birds", "faces")
"""Which world each picture of a round is of."""


def paint(
    folder: Path,
    *,
    counts: Mapping[str, int],
    size: int = 64,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Paint the pictures and write manifest.csv.

    Args:
        counts: images by split: `train` alone, in all.
        size: pixels of a side.
        progress: called with the number of images painted since the last call.

    Raises:
        ClipsteerError: another split, or a count that is no number of images.
    """
    check_counts(counts, "web", ("train",))
    n = counts.get("train", 0)
    if not isinstance(n, int) or n < 0:
        raise ClipsteerError(
            f"web, split 'train': found {n!r}; expected one number of images, 0 or more."
        )
    for name in SHARES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "split", "text"))
        for index in range(n):
            rounds, turn = divmod(index, len(_TURNS))
            name = _TURNS[turn]
            before = rounds * _TURNS.count(name) + _TURNS[:turn].count(name)
            rng = picture_rng(seed, f"web's {name}", "train", index)
            data, text = _captioned(name, rng, _group(SHARES[name], before), size)
            path = f"{name}/{index + 1:06d}.jpg"
            (folder / path).write_bytes(data)
            writer.writerow((path, "train", text))
            if progress is not None:
                progress(1)


def _group(shares: tuple[float, ...], before: int) -> int:
    """The group of a picture after so many of its world: the golden ratio's multiples spread evenly over the shares."""
    return bisect(list(accumulate(shares[:-1])), before * _GOLDEN % 1.0)


def _captioned(name: str, rng: np.random.Generator, group: int, size: int) -> tuple[bytes, str]:
    """A face or a bird of this group, and words for it."""
    if name == "faces":
        face_data, face = faces.paint_one(rng, group, size)
        return face_data, faces.caption(rng, face)
    data, species, place = birds.paint_one(rng, group, size)
    return data, birds.caption(rng, species, place)
