"""What the painters share: seeded randomness, a supersampled canvas, JPEG bytes, small files.

A picture is a pure function of (seed, world, split, index): each has a Philox stream of its own, so
images that are appended to a split later leave the earlier ones as they were, byte for byte.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipsteer.errors import ClipsteerError

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]] | NDArray[np.float64]
Count = int | Sequence[int]

SPLITS = ("train", "validation", "test")
T = TypeVar("T")

# Catmull-Rom weights at 6 places along a segment: smooth outlines from a few points.
_STEPS = np.linspace(0.0, 1.0, 6, endpoint=False)
_CURVE = np.stack([_STEPS**3, _STEPS**2, _STEPS, np.ones_like(_STEPS)], axis=1) @ (
    0.5 * np.array([[-1, 3, -3, 1], [2, -5, 4, -1], [-1, 0, 1, 0], [0, 2, 0, 0]], dtype=np.float64)
)
_AT = np.linspace(0.0, 1.0, 5)
_BEND = np.stack([(1 - _AT) ** 2, 2 * _AT * (1 - _AT), _AT**2], axis=1)
_TURN = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)


def picture_rng(seed: int, world: str, split: str, index: int) -> np.random.Generator:
    """The stream of one picture: Philox, key (seed, world), counter (.., split, index).

    Only the counter's low words run, so no two pictures share a number.
    """
    counter = np.array([0, 0, SPLITS.index(split), index], dtype=np.uint64)
    key = np.array([seed & (2**64 - 1), zlib.crc32(world.encode())], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))


def group_plan(count: Count, n_groups: int, what: str) -> list[int] | int:
    """Read one split's count: an int (drawn with the world's own correlation) is returned as it is.

    A list of one number per group becomes the list of groups in painting order: round robin until a
    group is used up, so that raising all the numbers together only appends pictures.
    """
    if isinstance(count, int):
        if count < 0:
            raise ClipsteerError(f"{what}: found {count} images; expected 0 or more.")
        return count
    wanted = [int(number) for number in count]
    if len(wanted) != n_groups or min(wanted) < 0:
        raise ClipsteerError(
            f"{what}: found {list(count)}; expected one number of images or a list of {n_groups} "
            f"numbers, one per group (2 * target + spurious). Correct the counts."
        )
    return [g for turn in range(max(wanted)) for g in range(n_groups) if turn < wanted[g]]


def check_counts(counts: Mapping[str, object], world: str, splits: Sequence[str] = SPLITS) -> None:
    """Refuse names that are no split of this world (ClipsteerError)."""
    for name in counts:
        if name not in splits:
            raise ClipsteerError(
                f"{world}: found counts for {name!r}; expected some of {', '.join(splits)}."
            )


def weighted(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """One index, with probability proportional to its weight (cheaper than Generator.choice)."""
    u = rng.random() * sum(weights)
    for i, w in enumerate(weights):
        u -= w
        if u < 0:
            return i
    return len(weights) - 1


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of the items, uniformly."""
    return items[int(rng.integers(len(items)))]


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """From a (t = 0) to b (t = 1)."""
    return (
        round(a[0] + (b[0] - a[0]) * t),
        round(a[1] + (b[1] - a[1]) * t),
        round(a[2] + (b[2] - a[2]) * t),
    )


def shade(colour: Colour, factor: float) -> Colour:
    """Darker (factor < 1) or lighter (factor > 1), kept within 0..255."""
    return (
        min(255, round(colour[0] * factor)),
        min(255, round(colour[1] * factor)),
        min(255, round(colour[2] * factor)),
    )


def vary(rng: np.random.Generator, colour: Colour, amount: float = 12.0) -> Colour:
    """The colour with normal noise of this size on each channel, and half of it on all three."""
    r, g, b, all_three = rng.standard_normal(4).tolist()
    return (
        min(255, max(0, int(colour[0] + amount * (r + all_three / 2)))),
        min(255, max(0, int(colour[1] + amount * (g + all_three / 2)))),
        min(255, max(0, int(colour[2] + amount * (b + all_three / 2)))),
    )


@lru_cache(maxsize=64)
def _closed(n: int) -> NDArray[np.float64]:
    """The (6 n, n) matrix that takes n points to the closed Catmull-Rom curve through them."""
    matrix = np.zeros((n, len(_STEPS), n))
    for i in range(n):
        for j in range(4):
            matrix[i, :, (i + j - 1) % n] += _CURVE[:, j]
    return matrix.reshape(-1, n)


def smooth(points: Points) -> NDArray[np.float64]:
    """A closed curve (6 n, 2) through n points."""
    p = np.asarray(points, dtype=np.float64)
    return _closed(len(p)) @ p


def bend(points: Points) -> NDArray[np.float64]:
    """Five points (5, 2) of the quadratic curve from the first to the third point."""
    return _BEND @ np.asarray(points, dtype=np.float64)


def _flat(points: Points, side: int) -> list[float]:
    flat: list[float] = (np.asarray(points, dtype=np.float64) * side).ravel().tolist()
    return flat


class Canvas:
    """Drawing in unit coordinates (x right, y down, 0..1) on a picture of twice the final size."""

    def __init__(self, size: int, background: Colour | Image.Image, scale: int = 2) -> None:
        self.size = size
        self.side = size * scale
        if isinstance(background, Image.Image):
            self.image = background.resize((self.side, self.side), Image.Resampling.BICUBIC)
        else:
            self.image = Image.new("RGB", (self.side, self.side), background)
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Points, fill: Colour) -> None:
        flat = _flat(points, self.side)
        self._draw.polygon(flat, fill=fill)

    def blob(self, points: Points, fill: Colour) -> None:
        """A filled smooth closed curve through the points."""
        self.polygon(smooth(points), fill)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, turn: float = 0.0
    ) -> None:
        """Centre, radii, and a turn in radians (clockwise as seen)."""
        if turn == 0.0:
            s = self.side
            self._draw.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=fill)
            return
        c, n = np.cos(turn), np.sin(turn)
        self.polygon((_CIRCLE * [rx, ry]) @ np.array([[c, n], [-n, c]]) + np.array([x, y]), fill)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        s = self.side
        self._draw.rectangle((x0 * s, y0 * s, x1 * s, y1 * s), fill=fill)

    def line(self, points: Points, fill: Colour, width: float) -> None:
        """An open line; width in units of the picture's side."""
        flat = _flat(points, self.side)
        self._draw.line(flat, fill=fill, width=max(1, round(width * self.side)), joint="curve")

    def arc(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        start: float,
        end: float,
        fill: Colour,
        width: float,
    ) -> None:
        """Part of an ellipse's outline; angles in degrees, clockwise from three o'clock."""
        s = self.side
        box = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._draw.arc(box, start, end, fill=fill, width=max(1, round(width * s)))

    def strokes(
        self,
        rng: np.random.Generator,
        n: int,
        box: tuple[float, float, float, float],
        length: tuple[float, float],
        colours: Sequence[Colour],
        width: float,
    ) -> None:
        """n short parallel-ish lines inside a box: grass, waves, straw, fur. length = (dx, dy)."""
        at = rng.random((n, 5))
        s = self.side
        w = max(1, round(width * s))
        x = (box[0] + (box[2] - box[0]) * at[:, 0]) * s
        y = (box[1] + (box[3] - box[1]) * at[:, 1]) * s
        dx = (length[0] * (0.5 + at[:, 2]) + 0.02 * (at[:, 3] - 0.5)) * s
        dy = length[1] * (0.5 + at[:, 2]) * s
        which = (at[:, 4] * len(colours)).astype(int).tolist()
        ends = np.stack([x, y, x + dx, y + dy], axis=1).tolist()
        for end, k in zip(ends, which, strict=True):
            self._draw.line(end, fill=colours[k], width=w)

    def dots(
        self,
        rng: np.random.Generator,
        n: int,
        box: tuple[float, float, float, float],
        radius: float,
        colours: Sequence[Colour],
    ) -> None:
        """n discs of about this radius inside a box: leaves, petals, pebbles."""
        at = rng.random((n, 4)).tolist()
        for u, v, w, k in at:
            r = radius * (0.6 + 0.8 * w)
            self.ellipse(
                box[0] + (box[2] - box[0]) * u,
                box[1] + (box[3] - box[1]) * v,
                r,
                r,
                colours[int(k * len(colours))],
            )

    def finish(
        self,
        rng: np.random.Generator,
        *,
        gain: float = 0.08,
        tint: float = 0.03,
        noise: float = 2.5,
    ) -> bytes:
        """Downscale (Lanczos), light it (gain, tint, grain), and return a JPEG's bytes."""
        small = self.image.resize((self.size, self.size), Image.Resampling.LANCZOS)
        light = 1.0 + gain * rng.standard_normal() + tint * rng.standard_normal(3)
        pixels = np.asarray(small, dtype=np.float32) * light.astype(np.float32)
        if noise > 0:
            grain = rng.standard_normal((self.size, self.size, 1), dtype=np.float32)
            pixels += np.float32(noise) * grain
        np.clip(pixels, 0, 255, out=pixels)
        return jpeg(Image.fromarray(pixels.astype(np.uint8)))


def jpeg(image: Image.Image) -> bytes:
    """Quality 90, no chroma subsampling: at 64 pixels it would wash out hair and lips."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def backdrop(
    rng: np.random.Generator, colours: Sequence[Colour], spread: float = 18.0
) -> Image.Image:
    """A soft background: 4 x 4 cells between the colours, to be enlarged smoothly."""
    palette = np.asarray(colours, dtype=np.float64)
    cells = palette[rng.integers(len(palette), size=(4, 4))]
    mean = cells.mean(axis=(0, 1))
    cells = mean + 0.6 * (cells - mean) + rng.standard_normal((4, 4, 1)) * spread
    return Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8))


def ramp(colours: Sequence[Colour]) -> Image.Image:
    """A vertical gradient through the colours, top to bottom, to be enlarged smoothly."""
    column = np.asarray(colours, dtype=np.uint8)[:, None, :]
    return Image.fromarray(np.repeat(column, 2, axis=1))


def write_captions(folder: Path, rows: Iterable[tuple[str, str]]) -> None:
    """captions.csv (path,text) in the data set's root."""
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "text"])
        writer.writerows(rows)
