"""The general set's fruit and flowers, each function one picture of its class."""

from __future__ import annotations

import numpy as np

from clipsteer.data.painters.canvas import (
    Canvas,
    Colour,
    backdrop,
    mix,
    shade,
    vary,
)
from clipsteer.data.painters.stage import (
    Rng,
    several,
    table,
)


def _round_fruit(size: int, rng: Rng, colour: Colour, long: float, leaf: bool) -> Canvas:
    canvas = table(size, rng)
    for x, y, s, turn in several(rng, 1, 4):
        c, r = vary(rng, colour, 9), 0.2 * s
        canvas.ellipse(x + 0.02, y + 0.8 * r, r, r * 0.3, (60, 52, 48))
        canvas.ellipse(x, y, r * long, r, c, turn if long > 1 else 0.0)
        if long > 1.1:
            canvas.ellipse(
                x + np.cos(turn) * r * long,
                y + np.sin(turn) * r * long,
                r * 0.22,
                r * 0.22,
                shade(c, 0.92),
            )
        canvas.ellipse(x - 0.3 * r, y - 0.35 * r, 0.35 * r, 0.25 * r, mix(c, (255, 255, 255), 0.4))
        if leaf:
            canvas.line([(x, y - r * 0.8), (x + 0.03, y - r * 1.25)], (90, 70, 40), 0.02)
            canvas.ellipse(x + 0.07 * s, y - r * 1.15, 0.07 * s, 0.03 * s, (84, 130, 60), -0.5)
    return canvas


def lemon(size: int, rng: Rng) -> Canvas:
    return _round_fruit(size, rng, (238, 214, 60), 1.3, False)


def orange(size: int, rng: Rng) -> Canvas:
    return _round_fruit(size, rng, (238, 140, 40), 1.0, False)


def apple(size: int, rng: Rng) -> Canvas:
    return _round_fruit(size, rng, (140, 190, 60), 1.05, True)


def strawberry(size: int, rng: Rng) -> Canvas:
    canvas = table(size, rng)
    for x, y, s, _ in several(rng, 2, 5):
        red, k = vary(rng, (206, 40, 50), 10), 0.24 * s
        canvas.blob(
            [
                (x - k, y - 0.5 * k),
                (x, y - 0.8 * k),
                (x + k, y - 0.5 * k),
                (x + 0.4 * k, y + 0.8 * k),
                (x, y + 1.1 * k),
                (x - 0.4 * k, y + 0.8 * k),
            ],
            red,
        )
        canvas.dots(
            rng, 9, (x - 0.6 * k, y - 0.4 * k, x + 0.6 * k, y + 0.6 * k), 0.01, ((240, 214, 130),)
        )
        canvas.polygon(
            [
                (x - 0.6 * k, y - 0.9 * k),
                (x, y - 0.5 * k),
                (x + 0.6 * k, y - 0.9 * k),
                (x, y - 1.2 * k),
            ],
            (74, 130, 56),
        )
    return canvas


def banana(size: int, rng: Rng) -> Canvas:
    canvas = table(size, rng)
    x, y, s = (
        0.5 + 0.1 * rng.standard_normal(),
        0.3 + 0.06 * rng.standard_normal(),
        0.36 + 0.05 * rng.random(),
    )
    flip = 1.0 if rng.random() < 0.5 else -1.0
    for i in range(int(rng.integers(1, 4))):
        c, d = vary(rng, (238, 208, 70), 8), 0.09 * i
        points = [
            (-1, -0.3 + d),
            (-0.6, 0.45 + d),
            (0.1, 0.8 + d),
            (0.9, 0.6 + d),
            (1.05, 0.42 + d),
            (0.2, 0.4 + d),
            (-0.45, 0.05 + d),
            (-0.85, -0.4 + d),
        ]
        canvas.blob(np.array(points) * [flip * s, s] + [x, y], c)
        canvas.line(
            np.array([(-0.75, 0.1 + d), (-0.1, 0.62 + d), (0.8, 0.52 + d)]) * [flip * s, s]
            + [x, y],
            shade(c, 0.8),
            0.012,
        )
        canvas.ellipse(x - flip * 0.92 * s, y + (d - 0.36) * s, 0.03, 0.03, (96, 80, 40))
    return canvas


def corn(size: int, rng: Rng) -> Canvas:
    canvas = table(size, rng)
    for x, y, s, turn in several(rng, 1, 2):
        k = 0.4 * s
        c, n = np.cos(0.5 * turn), np.sin(0.5 * turn)
        spin = np.array([[c, n], [-n, c]])
        body = np.array(
            [(-0.9, 0), (-0.5, -0.32), (0.5, -0.3), (0.95, 0), (0.5, 0.3), (-0.5, 0.32)]
        )
        canvas.blob(body * k @ spin + [x, y], (236, 200, 70))
        kernels = rng.random((34, 2)) * [1.5, 0.46] - [0.7, 0.23]
        for px, py in (kernels * k @ spin + [x, y]).tolist():
            canvas.ellipse(
                px, py, 0.018, 0.015, (250, 224, 110) if px * 50 % 2 < 1 else (216, 172, 44)
            )
        for side in (-1, 1):
            husk = np.array(
                [(-1.2, 0), (-0.6, side * 0.5), (0.3, side * 0.52), (-0.3, side * 0.22)]
            )
            canvas.blob(husk * k @ spin + [x, y], vary(rng, (120, 164, 70), 8))
    return canvas


def daisy(size: int, rng: Rng) -> Canvas:
    canvas = Canvas(size, backdrop(rng, ((70, 110, 50), (96, 140, 66), (50, 86, 44)), 14))
    for x, y, s, turn in several(rng, 1, 4):
        canvas.line([(x, y), (x + 0.04 * turn, y + 0.6)], (84, 130, 56), 0.02)
        for a in np.arange(10) * (2 * np.pi / 10) + turn:
            canvas.ellipse(
                x + 0.16 * s * np.cos(a),
                y + 0.16 * s * np.sin(a),
                0.1 * s,
                0.045 * s,
                (244, 244, 240),
                float(a),
            )
        canvas.ellipse(x, y, 0.085 * s, 0.085 * s, vary(rng, (238, 196, 50), 8))
    return canvas


def pumpkin(size: int, rng: Rng) -> Canvas:
    canvas = Canvas(size, backdrop(rng, ((40, 34, 40), (70, 56, 50), (90, 80, 60)), 10))
    x, y, k, c = (
        0.5,
        0.55 + 0.04 * rng.standard_normal(),
        0.3 + 0.06 * rng.random(),
        vary(rng, (232, 120, 30), 9),
    )
    canvas.rectangle(x - 0.03, y - 1.15 * k, x + 0.03, y - 0.8 * k, (90, 110, 50))
    for q, tone in ((0.62, 0.82), (0.36, 0.92), (0.0, 1.0)):
        for side in (-1, 1):
            canvas.ellipse(x + side * q * k, y, 0.58 * k, 0.85 * k, shade(c, tone))
    glow = vary(rng, (252, 220, 100), 6)
    for side in (-1, 1):
        canvas.polygon(
            [
                (x + side * 0.2 * k, y - 0.05 * k),
                (x + side * 0.62 * k, y - 0.05 * k),
                (x + side * 0.4 * k, y - 0.45 * k),
            ],
            glow,
        )
    canvas.polygon(
        [
            (x - 0.6 * k, y + 0.2 * k),
            (x, y + 0.35 * k),
            (x + 0.6 * k, y + 0.2 * k),
            (x + 0.3 * k, y + 0.6 * k),
            (x, y + 0.5 * k),
            (x - 0.3 * k, y + 0.6 * k),
        ],
        glow,
    )
    return canvas
