"""The general set's landscapes and vehicles, each function one picture of its class.

They share colours and textures with the other worlds on purpose: golden fields, woods, water.
"""

from __future__ import annotations

import numpy as np

from clipsteer.data.painters import places
from clipsteer.data.painters.canvas import (
    Canvas,
    pick,
    ramp,
    shade,
    vary,
)
from clipsteer.data.painters.stage import (
    BRIGHT,
    Rng,
    land,
    sea,
    several,
    sky,
    trees,
)


def rapeseed(size: int, rng: Rng) -> Canvas:
    yellow = vary(rng, (226, 206, 40), 10)
    horizon = float(rng.uniform(0.35, 0.55))
    canvas = land(size, rng, shade(yellow, 0.85), horizon)
    trees(canvas, rng, horizon + 0.01, 6, 0.12)
    canvas.dots(rng, 90, (0, horizon, 1, 1), 0.022, (yellow, shade(yellow, 1.15), (140, 160, 50)))
    return canvas


def hay(size: int, rng: Rng) -> Canvas:
    straw = vary(rng, (214, 178, 96), 10)
    horizon = float(rng.uniform(0.35, 0.5))
    canvas = land(size, rng, shade(straw, 0.9), horizon)
    canvas.strokes(
        rng,
        60,
        (0, horizon, 1, 1),
        (0.01, -0.05),
        (straw, shade(straw, 0.75), shade(straw, 1.15)),
        0.012,
    )
    for x, y, s, _ in several(rng, 1, 3):
        r, y = 0.2 * s, max(y, horizon + 0.06)
        canvas.ellipse(x + 0.2 * s, y, r * 0.9, r, shade(straw, 0.78))
        canvas.ellipse(x, y, r, r, shade(straw, 1.1))
        for q in (0.75, 0.5, 0.25):
            canvas.arc(x, y, r * q, r * q, 0, 320, shade(straw, 0.7), 0.014)
    return canvas


def barn(size: int, rng: Rng) -> Canvas:
    canvas = land(size, rng, vary(rng, pick(rng, ((110, 140, 70), (206, 178, 90))), 10), 0.66)
    trees(canvas, rng, 0.68, 5, 0.2)
    c, x, w = (
        vary(rng, pick(rng, ((160, 50, 44), (120, 88, 64), (226, 222, 212))), 8),
        0.5 + 0.12 * (rng.random() - 0.5),
        0.26,
    )
    canvas.rectangle(x - w, 0.46, x + w, 0.84, c)
    canvas.polygon(
        [(x - w - 0.05, 0.47), (x - 0.16, 0.26), (x, 0.2), (x + 0.16, 0.26), (x + w + 0.05, 0.47)],
        shade(c, 0.6),
    )
    canvas.rectangle(x - 0.09, 0.6, x + 0.09, 0.84, (240, 236, 228))
    canvas.line([(x - 0.09, 0.6), (x + 0.09, 0.84)], c, 0.02)
    canvas.line([(x + 0.09, 0.6), (x - 0.09, 0.84)], c, 0.02)
    return canvas


def _road(size: int, rng: Rng) -> Canvas:
    canvas = land(size, rng, vary(rng, (110, 136, 84), 14), 0.5)
    trees(canvas, rng, 0.54, 5, 0.16)
    canvas.rectangle(0, 0.66, 1, 1, (96, 96, 100))
    return canvas


def _wheels(canvas: Canvas, xs: tuple[float, float], y: float, r: float) -> None:
    for x in xs:
        canvas.ellipse(x, y, r, r, (28, 28, 30))
        canvas.ellipse(x, y, r * 0.5, r * 0.5, (170, 172, 176))


def sports_car(size: int, rng: Rng) -> Canvas:
    canvas = _road(size, rng)
    c = vary(
        rng,
        pick(rng, ((206, 34, 36), (240, 206, 40), (40, 70, 170), (232, 232, 234), (36, 36, 40))),
        8,
    )
    f, y = (1.0 if rng.random() < 0.5 else -1.0), 0.7 + 0.05 * rng.random()
    canvas.blob(
        np.array(
            [
                (-0.4, 0.02),
                (-0.38, -0.1),
                (0.05, -0.13),
                (0.4, -0.05),
                (0.43, 0.05),
                (0.3, 0.08),
                (-0.3, 0.08),
            ]
        )
        * [f, 1]
        + [0.5, y],
        c,
    )
    canvas.blob(
        np.array([(-0.24, -0.1), (-0.12, -0.22), (0.06, -0.21), (0.18, -0.1)]) * [f, 1] + [0.5, y],
        (60, 74, 90),
    )
    _wheels(canvas, (0.26, 0.74), y + 0.08, 0.075)
    return canvas


def school_bus(size: int, rng: Rng) -> Canvas:
    canvas = _road(size, rng)
    c, f, y = (
        vary(rng, (240, 184, 30), 7),
        (1.0 if rng.random() < 0.5 else -1.0),
        0.74 + 0.05 * rng.random(),
    )
    canvas.polygon(
        np.array([(-0.4, -0.4), (0.26, -0.4), (0.28, -0.2), (0.42, -0.18), (0.42, 0), (-0.4, 0)])
        * [f, 1]
        + [0.5, y],
        c,
    )
    for i in range(5):
        x = 0.5 + f * (-0.33 + 0.12 * i)
        canvas.rectangle(x - 0.045, y - 0.33, x + 0.045, y - 0.21, (70, 84, 100))
    canvas.rectangle(0.1, y - 0.14, 0.9, y - 0.11, (30, 28, 26))
    _wheels(canvas, (0.5 - f * 0.24, 0.5 + f * 0.28), y, 0.075)
    return canvas


def yawl(size: int, rng: Rng) -> Canvas:
    canvas = sea(size, rng)
    x, y, k = 0.5 + 0.2 * (rng.random() - 0.5), 0.68 + 0.06 * rng.random(), 0.8 + 0.3 * rng.random()
    sail = vary(rng, pick(rng, ((244, 244, 240), (232, 214, 180), (200, 70, 60))), 6)
    for mast, h, w in ((-0.02, 0.52, 0.22), (0.16, 0.34, 0.12)):
        canvas.line([(x + mast * k, y), (x + mast * k, y - h * k)], (80, 64, 50), 0.016)
        canvas.polygon(
            [
                (x + mast * k - 0.01, y - h * k),
                (x + (mast - w) * k, y - 0.06 * k),
                (x + mast * k - 0.01, y - 0.06 * k),
            ],
            sail,
        )
    canvas.polygon(
        [
            (x - 0.3 * k, y - 0.02),
            (x + 0.3 * k, y - 0.02),
            (x + 0.22 * k, y + 0.1 * k),
            (x - 0.22 * k, y + 0.1 * k),
        ],
        vary(rng, (110, 70, 50), 14),
    )
    return canvas


def speedboat(size: int, rng: Rng) -> Canvas:
    canvas = sea(size, rng)
    f, y, c = (
        (1.0 if rng.random() < 0.5 else -1.0),
        0.66 + 0.06 * rng.random(),
        vary(rng, pick(rng, ((238, 238, 240), (200, 50, 50), (40, 80, 150))), 8),
    )
    canvas.dots(
        rng,
        26,
        (0.5 - f * 0.55, y + 0.02, 0.5 - f * 0.2, y + 0.16),
        0.03,
        ((232, 240, 244), (206, 224, 234)),
    )
    canvas.polygon(
        np.array([(-0.34, -0.08), (0.42, -0.16), (0.26, 0.1), (-0.32, 0.12)]) * [f, 1] + [0.5, y], c
    )
    canvas.polygon(
        np.array([(-0.02, -0.11), (0.04, -0.24), (0.2, -0.14)]) * [f, 1] + [0.5, y], (90, 110, 130)
    )
    return canvas


def seashore(size: int, rng: Rng) -> Canvas:
    sand, tide = vary(rng, (226, 202, 154), 8), 0.6 + 0.1 * rng.random()
    canvas = sea(size, rng)
    canvas.blob(
        [
            (-0.2, tide + 0.16),
            (0.3, tide + 0.06),
            (0.7, tide + 0.1),
            (1.2, tide - 0.04),
            (1.2, 1.2),
            (-0.2, 1.2),
        ],
        (240, 244, 244),
    )
    canvas.blob(
        [
            (-0.2, tide + 0.21),
            (0.3, tide + 0.1),
            (0.7, tide + 0.15),
            (1.2, tide + 0.02),
            (1.2, 1.2),
            (-0.2, 1.2),
        ],
        sand,
    )
    if rng.random() < 0.5:
        x = 0.2 + 0.6 * float(rng.random())
        canvas.line([(x, 0.9), (x, 0.66)], (240, 240, 240), 0.014)
        canvas.blob(
            [(x - 0.2, 0.7), (x, 0.54), (x + 0.2, 0.7), (x, 0.66)], vary(rng, (200, 60, 60), 20)
        )
    return canvas


def lakeside(size: int, rng: Rng) -> Canvas:
    canvas = land(size, rng, vary(rng, (90, 130, 150), 12), 0.5)
    trees(canvas, rng, 0.52, 11, 0.2)
    canvas.strokes(rng, 22, (0, 0.55, 1, 1), (0.12, 0), ((170, 196, 206), (66, 98, 110)), 0.012)
    places.grass(canvas, rng, 0.9, 20)
    return canvas


def alp(size: int, rng: Rng) -> Canvas:
    canvas = land(size, rng, vary(rng, (94, 120, 72), 10), 0.7)
    for x, h in (
        (0.15 + 0.2 * rng.random(), 0.4),
        (0.75 + 0.2 * rng.random(), 0.32),
        (0.4 + 0.2 * rng.random(), 0.56),
    ):
        rock = vary(rng, (120, 122, 134), 8)
        canvas.polygon([(x - 0.45, 0.72), (x, 0.72 - h), (x + 0.45, 0.72)], rock)
        canvas.polygon(
            [
                (x - 0.18, 0.72 - 0.6 * h),
                (x, 0.72 - h),
                (x + 0.18, 0.72 - 0.6 * h),
                (x + 0.05, 0.72 - 0.68 * h),
                (x - 0.06, 0.72 - 0.58 * h),
            ],
            (246, 248, 250),
        )
    trees(canvas, rng, 0.8, 9, 0.14)
    return canvas


def cliff(size: int, rng: Rng) -> Canvas:
    canvas = sea(size, rng)
    f, rock = (
        (1.0 if rng.random() < 0.5 else -1.0),
        vary(rng, pick(rng, ((150, 136, 116), (216, 210, 196), (150, 96, 70))), 10),
    )
    edge = np.array(
        [(-0.7, -0.3), (0.0, -0.28), (0.1, -0.1), (0.06, 0.1), (0.2, 0.4), (-0.7, 0.6)]
    ) * [f, 1] + [0.5, 0.5]
    canvas.polygon(edge, rock)
    for i in range(6):
        y = 0.3 + 0.08 * i + 0.03 * float(rng.random())
        canvas.line([(0.5 - f * 0.55, y), (0.5 + f * 0.05, y + 0.03)], shade(rock, 0.8), 0.016)
    canvas.polygon(
        np.array([(-0.7, -0.36), (0.02, -0.31), (0.02, -0.25), (-0.7, -0.26)]) * [f, 1]
        + [0.5, 0.5],
        (104, 140, 70),
    )
    return canvas


def beacon(size: int, rng: Rng) -> Canvas:
    canvas = sea(size, rng)
    x, stripe = 0.5 + 0.2 * (rng.random() - 0.5), vary(rng, (196, 50, 48), 12)
    canvas.blob(
        [(x - 0.4, 0.86), (x - 0.2, 0.74), (x + 0.25, 0.76), (x + 0.4, 0.9), (x, 1.0)], (96, 92, 88)
    )
    for i in range(5):
        a, b, y = 0.075 + 0.012 * i, 0.087 + 0.012 * i, 0.27 + 0.1 * i
        canvas.polygon(
            [(x - a, y), (x + a, y), (x + b, y + 0.1), (x - b, y + 0.1)],
            stripe if i % 2 else (242, 242, 240),
        )
    canvas.rectangle(x - 0.05, 0.18, x + 0.05, 0.27, (250, 226, 130))
    canvas.polygon([(x - 0.09, 0.18), (x, 0.1), (x + 0.09, 0.18)], stripe)
    return canvas


def balloon(size: int, rng: Rng) -> Canvas:
    tone = sky(rng)
    canvas = Canvas(size, ramp([shade(tone, 0.9), tone, shade(tone, 1.1), (120, 150, 96)]))
    for x, y, s, _ in several(rng, 1, 2):
        a, b, y = vary(rng, pick(rng, BRIGHT), 8), vary(rng, pick(rng, BRIGHT), 8), min(y, 0.55)
        for i, q in enumerate((1.0, 0.72, 0.4, 0.12)):
            canvas.ellipse(x, y, 0.27 * s * q, 0.3 * s, b if i % 2 else a)
        canvas.polygon(
            [
                (x - 0.12 * s, y + 0.26 * s),
                (x + 0.12 * s, y + 0.26 * s),
                (x + 0.05 * s, y + 0.38 * s),
                (x - 0.05 * s, y + 0.38 * s),
            ],
            shade(a, 0.8),
        )
        canvas.rectangle(x - 0.05 * s, y + 0.42 * s, x + 0.05 * s, y + 0.5 * s, (120, 84, 50))
    return canvas
