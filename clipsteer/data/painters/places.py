"""Where birds are seen: two kinds of wood, two kinds of water."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from clipsteer.data.painters.canvas import (
    Canvas,
    Colour,
    mix,
    pick,
    ramp,
    shade,
    vary,
)

# Light in the woods and water under the sky, in weather and seasons that bring the two close.
_LIGHTS: tuple[Colour, ...] = (
    (120, 156, 84),
    (120, 156, 84),
    (70, 96, 66),
    (132, 156, 158),
    (180, 146, 80),
    (176, 190, 170),
)
_SEAS: tuple[tuple[Colour, Colour], ...] = (
    ((172, 206, 234), (52, 116, 164)),
    ((172, 206, 234), (52, 116, 164)),
    ((200, 214, 216), (64, 134, 132)),
    ((196, 200, 204), (104, 120, 128)),
    ((206, 216, 196), (80, 116, 90)),
    ((238, 200, 160), (122, 104, 112)),
)
_LAKES: tuple[Colour, ...] = ((96, 134, 146), (92, 122, 92), (120, 128, 126), (70, 110, 150))


def forest_backdrop(rng: np.random.Generator) -> Image.Image:
    """Light through leaves above, undergrowth below."""
    light = vary(rng, pick(rng, _LIGHTS), 14)
    return ramp([shade(light, 1.15), light, shade(light, 0.75), vary(rng, (70, 96, 44), 14)])


def sea_backdrop(rng: np.random.Generator) -> Image.Image:
    """Sky, horizon, water, the nearest part darkest."""
    above, below = pick(rng, _SEAS)
    sky, sea = vary(rng, above, 12), vary(rng, below, 14)
    bands: list[Colour] = [sky] * int(rng.integers(1, 3)) + [shade(sky, 1.06), mix(sky, sea, 0.7)]
    return ramp([*bands, sea, shade(sea, 0.88), shade(sea, 0.78)])


def _lake_backdrop(rng: np.random.Generator) -> Image.Image:
    water = vary(rng, pick(rng, _LAKES), 14)
    hill = vary(rng, (84, 110, 84), 14)
    return ramp(
        [
            vary(rng, (196, 214, 226), 10),
            hill,
            mix(hill, water, 0.6),
            water,
            shade(water, 0.85),
            shade(water, 0.8),
        ]
    )


def trunks(canvas: Canvas, rng: np.random.Generator, n: int, colour: Colour, width: float) -> None:
    """Upright stems from above the picture to the ground."""
    for x, w, y, tone in rng.random((n, 4)).tolist():
        half = width * (0.5 + w) / 2
        lean = 0.04 * (tone - 0.5)
        canvas.polygon(
            [
                (x - half + lean, -0.02),
                (x + half + lean, -0.02),
                (x + half, 0.72 + 0.16 * y),
                (x - half, 0.72 + 0.16 * y),
            ],
            shade(colour, 0.75 + 0.5 * tone),
        )


def grass(canvas: Canvas, rng: np.random.Generator, top: float, n: int = 40) -> None:
    """Blades over the lower part of the picture."""
    green = vary(rng, (84, 118, 48), 12)
    canvas.strokes(
        rng,
        n,
        (0, top, 1, 1.05),
        (0.01, -0.08),
        (shade(green, 0.75), green, shade(green, 1.3)),
        0.012,
    )


def waves(canvas: Canvas, rng: np.random.Generator, top: float, n: int = 26) -> None:
    """Short level strokes, lighter and darker than water."""
    canvas.strokes(
        rng,
        n,
        (-0.1, top, 1, 1.0),
        (0.13, 0.0),
        ((190, 216, 230), (70, 120, 156), (120, 166, 194)),
        0.012,
    )


def _bamboo(canvas: Canvas, rng: np.random.Generator) -> None:
    trunks(canvas, rng, int(rng.integers(6, 11)), vary(rng, (128, 156, 74), 12), 0.055)
    canvas.strokes(rng, 16, (0, 0, 1, 0.5), (0.07, 0.05), ((80, 116, 46), (150, 180, 90)), 0.014)
    grass(canvas, rng, 0.78, 24)


def _broadleaf(canvas: Canvas, rng: np.random.Generator) -> None:
    trunks(canvas, rng, int(rng.integers(2, 6)), vary(rng, (92, 72, 52), 12), 0.1)
    green = vary(rng, (88, 122, 52), 12)
    canvas.dots(rng, 22, (0, -0.05, 1, 0.36), 0.06, (shade(green, 0.7), green, shade(green, 1.25)))
    grass(canvas, rng, 0.74)


def _sea(canvas: Canvas, rng: np.random.Generator) -> None:
    waves(canvas, rng, 0.5)


def _lake(canvas: Canvas, rng: np.random.Generator) -> None:
    top = 0.3
    green = vary(rng, (70, 96, 62), 12)
    canvas.dots(rng, 14, (0, top - 0.12, 1, top), 0.05, (green, shade(green, 0.8)))
    waves(canvas, rng, 0.46, 18)
    if rng.random() < 0.4:
        side = 0.0 if rng.random() < 0.5 else 0.85
        canvas.strokes(
            rng,
            10,
            (side, 0.9, side + 0.15, 1.0),
            (0.0, -0.3),
            ((96, 120, 60), (140, 140, 80)),
            0.014,
        )


PLACES: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    "bamboo_forest": forest_backdrop,
    "broadleaf_forest": forest_backdrop,
    "ocean": sea_backdrop,
    "natural_lake": _lake_backdrop,
}


DETAILS: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    "bamboo_forest": _bamboo,
    "broadleaf_forest": _broadleaf,
    "ocean": _sea,
    "natural_lake": _lake,
}
