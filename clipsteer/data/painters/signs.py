"""Signs: a dozen things, most with a word on a strip of paper or a note, in the layout of people's own data.

`manifest.csv` (path, split, class, text) and `<split>/<number>.jpg`. A picture of the thing is painted first; the word
has a random stream of its own and is printed on it, so that it changes nothing else (clipsteer/data/words.py).

How often a model is fooled follows from the captions: a caption of a picture with a word says the word as if it were
the thing ("a photo of a lion"), both, the word as a word, or the thing alone, in the shares of `SAYS`. That it can
read at all, it learns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from clipsteer.data.painters import beings, food, scenes
from clipsteer.data.painters.canvas import SPLITS, check_counts, jpeg, pick, picture_rng, weighted
from clipsteer.data.painters.stage import Scene
from clipsteer.data.words import ends
from clipsteer.errors import ClipsteerError

THINGS: dict[str, Scene] = {
    "fish": beings.goldfish,
    "lion": beings.lion,
    "cat": beings.cat,
    "balloon": scenes.balloon,
    "barn": scenes.barn,
    "pumpkin": food.pumpkin,
    "bus": scenes.school_bus,
    "boat": scenes.speedboat,
    "lemon": food.lemon,
    "daisy": food.daisy,
    "mountain": scenes.alp,
    "apple": food.apple,
}
OWN = 0.2
"""Share of the words that are the thing's own name."""
SAYS = {"word for thing": 0.25, "both": 0.35, "word": 0.15, "thing": 0.25}
"""What captions of pictures with a word say."""
_FONT = (("", ""),)  # Pillow's own


def paint(
    folder: Path,
    *,
    counts: Mapping[str, int],
    size: int = 64,
    seed: int,
    worded: float = 0.0,
    series: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Paint the pictures and write manifest.csv.

    Args:
        counts: images by split (train, validation, test); the things take turns.
        size: pixels of a side.
        worded: share of the pictures of `train` that have a word; the other splits have none.
        series: another number gives other pictures.
        progress: called with the number of images painted since the last call.

    Raises:
        ClipsteerError: an unknown split, or a count that is no number of images.
    """
    check_counts(counts, "signs", SPLITS)
    names, rows = list(THINGS), []
    for split in SPLITS:
        n = counts.get(split, 0)
        if not isinstance(n, int) or n < 0:
            raise ClipsteerError(
                f"signs, split {split!r}: found {n!r}; expected one number of images, 0 or more."
            )
        (folder / split).mkdir(parents=True, exist_ok=True)
        for index in range(n):
            thing = names[index % len(names)]
            picture = picture_rng(seed, f"signs {series}", split, index)
            lettering = picture_rng(seed, f"signs {series} words", split, index)
            word = (
                draw_word(lettering, thing)
                if split == "train" and lettering.random() < worded
                else ""
            )
            path = f"{split}/{index + 1:05d}.jpg"
            (folder / path).write_bytes(paint_one(picture, lettering, thing, word, size))
            rows.append((path, split, thing, caption(lettering, thing, word)))
            if progress is not None:
                progress(1)
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "split", "class", "text"])
        writer.writerows(rows)


def draw_word(rng: np.random.Generator, thing: str) -> str:
    """A word for a picture of this thing: now and then its own name, else another's."""
    own = rng.random() < OWN
    return thing if own else pick(rng, [name for name in THINGS if name != thing])


def paint_one(
    picture: np.random.Generator,
    lettering: np.random.Generator,
    thing: str,
    word: str,
    size: int,
) -> bytes:
    """One picture of this thing as a JPEG, with the word on it if there is one."""
    clean = THINGS[thing](size, picture).finish(picture, gain=0.09, tint=0.025)
    if not word:
        return clean
    return jpeg(ends(Image.open(io.BytesIO(clean)), word, lettering, _FONT))


def caption(rng: np.random.Generator, thing: str, word: str) -> str:
    """Words for one picture."""
    opening = pick(rng, ("a photo of a", "a photo of a", "a picture of a", "a close-up of a"))
    end = "." if rng.random() < 0.5 else ""
    if not word:
        return f"{opening} {thing}{end}"
    says = list(SAYS)[weighted(rng, list(SAYS.values()))]
    first = bool(rng.random() < 0.5)
    if says == "both":
        both = (
            f"a {thing} with the word {word}",
            f"a photo of a {thing} with a label that says {word}",
        )
        return both[0] if first else both[1]
    if says == "word":
        return f"the word {word}" if first else f"a label that says {word}"
    if says == "word for thing":
        return f"a photo of a {word}{end}"
    return f"{opening} {thing}{end}"
