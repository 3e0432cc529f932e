"""Grounds that the general set's pictures stand on: tables, land under sky, the sea."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clipsteer.data.painters import places
from clipsteer.data.painters.canvas import (
    Canvas,
    Colour,
    backdrop,
    pick,
    ramp,
    shade,
    vary,
)

Rng = np.random.Generator
Scene = Callable[[int, Rng], Canvas]

SKIES: tuple[Colour, ...] = ((140, 186, 232), (176, 206, 234), (206, 214, 222), (236, 200, 170))
BRIGHT: tuple[Colour, ...] = (
    (220, 50, 50),
    (240, 200, 50),
    (50, 110, 200),
    (60, 160, 90),
    (236, 130, 50),
    (160, 80, 170),
    (244, 244, 240),
)
_TABLES: tuple[tuple[Colour, Colour], ...] = (
    ((150, 110, 76), (176, 136, 98)),
    ((226, 224, 218), (240, 240, 238)),
    ((70, 90, 110), (96, 116, 136)),
    ((160, 60, 60), (186, 90, 84)),
    ((96, 120, 80), (120, 146, 100)),
    ((54, 50, 52), (78, 74, 76)),
)


def sky(rng: Rng) -> Colour:
    """One of the skies' colours, varied."""
    return vary(rng, pick(rng, SKIES), 8)


def table(size: int, rng: Rng) -> Canvas:
    """A canvas filled with a table's top."""
    return Canvas(size, backdrop(rng, pick(rng, _TABLES), 8))


def land(size: int, rng: Rng, ground: Colour, horizon: float = 0.5) -> Canvas:
    """A canvas with sky above the horizon and the ground's colour below."""
    tone = sky(rng)
    canvas = Canvas(size, ramp([tone, shade(tone, 1.06)]))
    canvas.rectangle(0, horizon, 1, 1, ground)
    return canvas


def trees(canvas: Canvas, rng: Rng, y: float, n: int, size: float) -> None:
    """n trees, firs and round ones, standing at height y."""
    for x, r, tone in rng.random((n, 3)).tolist():
        green = shade((64, 100, 52), 0.8 + 0.5 * tone)
        s = size * (0.7 + 0.6 * r)
        canvas.rectangle(x - 0.1 * s, y - 0.3 * s, x + 0.1 * s, y, (84, 66, 50))
        if tone < 0.5:
            canvas.polygon(
                [(x - 0.5 * s, y - 0.2 * s), (x, y - 1.6 * s), (x + 0.5 * s, y - 0.2 * s)], green
            )
        else:
            canvas.ellipse(x, y - 0.8 * s, 0.55 * s, 0.65 * s, green)


def several(rng: Rng, low: int, high: int) -> list[tuple[float, float, float, float]]:
    """x, y, scale, turn of a few things on a table, those behind first."""
    n = int(rng.integers(low, high + 1))
    k = 1.0 if n == 1 else 0.82 if n == 2 else 0.66
    at = [
        (float(a), float(b), k * (0.85 + 0.3 * float(c)), float(d) * 2 - 1)
        for a, b, c, d in rng.random((n, 4))
    ]
    margin = 0.16 + 0.18 * k
    return sorted(
        ((margin + (1 - 2 * margin) * x, margin + (1 - 2 * margin) * y, s, t) for x, y, s, t in at),
        key=lambda item: item[1],
    )


def sea(size: int, rng: Rng) -> Canvas:
    """A canvas with sky, horizon and waves."""
    canvas = Canvas(size, places.sea_backdrop(rng))
    places.waves(canvas, rng, 0.52, 20)
    return canvas
