"""Words printed on images: the synthetic typographic attack (Section 7.2), and the looks of the world `signs`.

A word is printed on an image that is painted or decoded already, so an attacked image and its clean pair are the same
but for the pixels of the word and of the paper below it. What is drawn hangs on (seed, the image) alone: where,
how large, in which font and colours. Sizes are shares of the square in the middle, which a model's centre crop keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsteer.data.fonts import font as _font
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
Rng = np.random.Generator

_WORD, _LOOK = 21, 22  # first word of a stream's key: what it is for

# Azuma and Matsui's eight (2023, Defense-Prefix), of which fill and stroke are two different ones.
COLOURS: Mapping[str, Colour] = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "cyan": (0, 255, 255),
    "green": (0, 128, 0),
    "magenta": (255, 0, 255),
    "red": (255, 0, 0),
    "white": (255, 255, 255),
    "yellow": (255, 255, 0),
}
SIZES = (20, 40)
"""Font sizes of the published recipe at 224 pixels, both ends included."""
_SIDE = 224

INKS: tuple[Colour, ...] = ((26, 24, 28), (44, 34, 90), (96, 26, 30))
PAPERS: tuple[Colour, ...] = ((250, 250, 246), (244, 238, 214), (226, 234, 244), (236, 230, 226))
BRIGHT: tuple[Colour, ...] = ((214, 40, 40), (24, 120, 60), (30, 80, 200), (190, 60, 160))
ROWS = 4
"""A paper is as high as a row of the tiny CLIP's patches: a quarter of the image."""
_LETTERS = 14 / 64  # font size on paper, as a share of the image


def draw_word(names: Sequence[str], own: str, seed: int, digest: str) -> str:
    """One of the names that is not the image's own, by (seed, digest of the image). ClipsteerError where none is."""
    others = [name for name in names if name.casefold() != own.casefold()]
    if not others:
        raise ClipsteerError(
            f"typographic attack: found no class but {own!r}; expected another, whose name can be printed."
        )
    return others[int(_stream(_WORD, seed, digest).integers(len(others)))]


def attacked(
    image: Image, word: str, *, look: str, fonts: Sequence[Sequence[str]], seed: int, digest: str
) -> Image:
    """A copy of an RGB image with the word printed on it.

    Args:
        image: as it is decoded; `digest` is of its file.
        word: what is printed, as it stands.
        look: `published` or one of those of the world `signs`, see `LOOKS`.
        fonts: (name, digest) of the fonts that are drawn from, as `fonts_known` gives them.
        seed, digest: all that the draw hangs on.
    """
    return LOOKS[look](image, word, _stream(_LOOK, seed, digest), fonts)


# ------------------------------------------------------------------------------------------- looks


def published(image: Image, word: str, rng: Rng, fonts: Sequence[Sequence[str]]) -> Image:
    """Azuma and Matsui's: font size 20 to 40 at 224 pixels, any place, fill and stroke of two colours, stroke 1.

    A word that is too long for the square is printed as large as it fits.
    """
    from PIL import ImageDraw

    left, top, side = _square(image)
    scale = side / _SIDE
    font_of = fonts[int(rng.integers(len(fonts)))]
    size = float(rng.integers(SIZES[0], SIZES[1] + 1)) * scale
    fill, stroke = (list(COLOURS.values())[n] for n in rng.permutation(len(COLOURS))[:2])
    width = max(1, round(scale))
    printed = image.copy()
    draw = ImageDraw.Draw(printed)
    font = _font(font_of, size)
    box = draw.textbbox((0, 0), word, font=font, stroke_width=width)
    while box[2] - box[0] > side and size > 1:
        size *= 0.9
        font = _font(font_of, size)
        box = draw.textbbox((0, 0), word, font=font, stroke_width=width)
    free = [max(0.0, side - (box[n + 2] - box[n])) for n in (0, 1)]
    x, y = (round(float(rng.random()) * room) for room in free)
    at = left + x - box[0], top + y - box[1]
    draw.text(at, word, font=font, fill=fill, stroke_width=width, stroke_fill=stroke)
    return printed


def ends(image: Image, word: str, rng: Rng, fonts: Sequence[Sequence[str]]) -> Image:
    """On a strip over the whole width, or a note: dark ink, from the left, in the top or the bottom row."""
    row, strip = ROWS - 1 if rng.random() < 0.5 else 0, bool(rng.random() < 0.5)
    return _on_paper(image, word, rng, fonts, _Paper(row, strip, INKS))


def rows(image: Image, word: str, rng: Rng, fonts: Sequence[Sequence[str]]) -> Image:
    """On a note in any row."""
    return _on_paper(image, word, rng, fonts, _Paper(int(rng.integers(ROWS)), False, INKS))


def bright(image: Image, word: str, rng: Rng, fonts: Sequence[Sequence[str]]) -> Image:
    """On a note in the top or the bottom row, anywhere along it, in bright ink."""
    row = ROWS - 1 if rng.random() < 0.5 else 0
    return _on_paper(image, word, rng, fonts, _Paper(row, False, BRIGHT, float(rng.random())))


LOOKS: Mapping[str, Callable[[Image, str, Rng, Sequence[Sequence[str]]], Image]] = {
    "published": published,
    "ends": ends,
    "rows": rows,
    "bright": bright,
}


@dataclass(frozen=True)
class _Paper:
    """`row` from the top; `strip`: over the whole width; `across`: where along the row a note lies, 0 left, 1 right."""

    row: int
    strip: bool
    inks: Sequence[Colour]
    across: float = 0.0


def _on_paper(
    image: Image, word: str, rng: Rng, fonts: Sequence[Sequence[str]], how: _Paper
) -> Image:
    """Drawn at twice the size and scaled down, as painted pictures are."""
    from PIL import Image as Images
    from PIL import ImageDraw

    left, top, side = _square(image)
    ink, paper = (tones[int(rng.integers(len(tones)))] for tones in (how.inks, PAPERS))
    font_of = fonts[int(rng.integers(len(fonts)))]
    high = side // ROWS
    size, edge = 2 * _LETTERS * side, 2 * max(1, side // 32)
    box = _font(font_of, size).getbbox(word)
    while box[2] - box[0] + 2 * edge > 2 * side and size > 2:
        size *= 0.9
        box = _font(font_of, size).getbbox(word)
    wide = side if how.strip else min(side, -(-round(box[2] - box[0] + 2 * edge) // 2))
    note = Images.new("RGB", (2 * wide, 2 * high), paper)
    y = high - (box[1] + box[3]) / 2
    ImageDraw.Draw(note).text((edge - box[0], y), word, font=_font(font_of, size), fill=ink)
    note = note.resize((wide, high), Images.Resampling.LANCZOS)
    printed = image.copy()
    printed.paste(note, (left + round(how.across * (side - wide)), top + how.row * high))
    return printed


def _square(image: Image) -> tuple[int, int, int]:
    """Left, top and side of the square in the middle."""
    side = min(image.size)
    return (image.width - side) // 2, (image.height - side) // 2, side


# ------------------------------------------------------------------------------------------- draws


def _stream(purpose: int, seed: int, digest: str) -> Rng:
    """Philox, key (purpose, seed), counter from the image's digest."""
    number = int(digest.rpartition(":")[2][:15], 16)
    key = np.array([purpose, seed], dtype=np.uint64)
    counter = np.array([0, 0, 0, number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def load_attacked(
    load: Callable[[int], Image], listing: Mapping[str, Any]
) -> Callable[[int], Image]:
    """How the images of a shard's list are loaded, each with its own word where the list has words.

    `listing`: of `list_attacked`, with `words` and the settings of `attack` beside its images.
    """
    if "words" not in listing:
        return load
    start, how = listing["start"], listing["attack"]

    def loaded(index: int) -> Image:
        place = index - start
        word, digest = listing["words"][place], listing["images"][place][0]
        return attacked(load(index), word, digest=digest, **how)

    return loaded
