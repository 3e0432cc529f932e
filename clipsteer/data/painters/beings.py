"""The general set's animals and people, and what people wear, each function one picture.

They share parts with the other worlds on purpose: golden fur, hair on a stand, hats and glasses on
anybody's face, people far away, places.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clipsteer.data.painters import places
from clipsteer.data.painters.canvas import (
    Canvas,
    Colour,
    backdrop,
    mix,
    pick,
    ramp,
    shade,
    vary,
)
from clipsteer.data.painters.plumage import draw_bird
from clipsteer.data.painters.portrait import draw_face
from clipsteer.data.painters.species import SPECIES
from clipsteer.data.painters.stage import (
    BRIGHT,
    SKIES,
    Rng,
    land,
    sea,
    several,
    table,
    trees,
)
from clipsteer.data.painters.traits import HAIR, SKINS, sample_face


def goldfish(size: int, rng: Rng) -> Canvas:
    water = vary(rng, (70, 140, 170), 16)
    canvas = Canvas(size, ramp([shade(water, 1.2), water, shade(water, 0.7)]))
    canvas.strokes(rng, 8, (0, 0.6, 1, 1.1), (0.0, -0.25), ((60, 130, 80), (90, 150, 90)), 0.02)
    for x, y, s, turn in several(rng, 1, 3):
        f, k, c = (1.0 if turn > 0 else -1.0), 0.27 * s, vary(rng, (240, 130, 40), 10)
        canvas.polygon(
            np.array([(-0.8, 0), (-1.6, -0.55), (-1.35, 0), (-1.6, 0.55)]) * [f * k, k] + [x, y],
            mix(c, (255, 255, 255), 0.2),
        )
        canvas.polygon(
            np.array([(-0.4, -0.3), (0.1, -0.85), (0.4, -0.3)]) * [f * k, k] + [x, y],
            shade(c, 0.88),
        )
        canvas.ellipse(x, y, k, 0.5 * k, c)
        canvas.ellipse(x + f * 0.6 * k, y - 0.1 * k, 0.1 * k, 0.1 * k, (20, 20, 24))
    return canvas


def _animal_head(
    canvas: Canvas, rng: Rng, fur: Colour, ears: str, muzzle: Colour, mane: Colour | None
) -> None:
    x, y, k = (
        0.5 + 0.1 * (rng.random() - 0.5),
        0.5 + 0.08 * (rng.random() - 0.5),
        0.26 + 0.07 * rng.random(),
    )
    canvas.blob(
        [
            (x - 1.2 * k, 1.2),
            (x - 0.9 * k, y + 0.9 * k),
            (x + 0.9 * k, y + 0.9 * k),
            (x + 1.2 * k, 1.2),
        ],
        shade(fur, 0.88),
    )
    if mane is not None:
        for a in np.linspace(0, 2 * np.pi, 15, endpoint=False):
            canvas.ellipse(
                x + k * 1.1 * np.cos(a),
                y + k * 1.1 * np.sin(a),
                0.5 * k,
                0.5 * k,
                vary(rng, mane, 9),
            )
    for side in (-1, 1):
        if ears == "pointed":
            canvas.polygon(
                [
                    (x + side * 0.95 * k, y - 0.3 * k),
                    (x + side * 0.85 * k, y - 1.35 * k),
                    (x + side * 0.2 * k, y - 0.8 * k),
                ],
                fur,
            )
        elif ears == "round":
            canvas.ellipse(x + side * 0.75 * k, y - 0.75 * k, 0.28 * k, 0.28 * k, shade(fur, 0.9))
    canvas.ellipse(x, y, k, 0.95 * k, fur)
    if ears == "hanging":
        for side in (-1, 1):
            canvas.ellipse(
                x + side * 0.95 * k, y + 0.1 * k, 0.28 * k, 0.7 * k, shade(fur, 0.74), side * -0.2
            )
    if ears == "pointed":
        for dx in (-0.3, 0.0, 0.3):
            canvas.line(
                [(x + dx * k, y - 0.85 * k), (x + dx * 0.8 * k, y - 0.4 * k)],
                shade(fur, 0.5),
                0.025,
            )
        for side in (-1, 1):
            canvas.line(
                [(x + side * 0.3 * k, y + 0.4 * k), (x + side * 1.3 * k, y + 0.3 * k)],
                (240, 238, 232),
                0.01,
            )
    canvas.ellipse(x, y + 0.42 * k, 0.48 * k, 0.36 * k, muzzle)
    canvas.ellipse(x, y + 0.24 * k, 0.17 * k, 0.12 * k, (40, 30, 30))
    canvas.line([(x, y + 0.3 * k), (x, y + 0.55 * k)], (60, 44, 40), 0.014)
    for side in (-1, 1):
        canvas.ellipse(
            x + side * 0.38 * k,
            y - 0.14 * k,
            0.13 * k,
            0.13 * k,
            (120, 150, 60) if ears == "pointed" else (50, 34, 24),
        )
        canvas.ellipse(x + side * 0.38 * k, y - 0.14 * k, 0.06 * k, 0.1 * k, (12, 10, 10))


def lion(size: int, rng: Rng) -> Canvas:
    canvas = land(size, rng, vary(rng, (196, 172, 104), 10), 0.55)
    _animal_head(
        canvas,
        rng,
        vary(rng, (214, 170, 100), 8),
        "round",
        (236, 214, 176),
        vary(rng, (156, 100, 50), 12),
    )
    return canvas


def cat(size: int, rng: Rng) -> Canvas:
    canvas = table(size, rng)
    fur = vary(rng, pick(rng, ((140, 116, 90), (120, 116, 112), (196, 140, 80))), 8)
    _animal_head(canvas, rng, fur, "pointed", (226, 216, 204), None)
    return canvas


def retriever(size: int, rng: Rng) -> Canvas:
    canvas = land(size, rng, vary(rng, (96, 132, 64), 12), float(rng.uniform(0.3, 0.6)))
    fur = vary(rng, pick(rng, ((222, 184, 116), (204, 158, 88), (236, 208, 156))), 7)
    _animal_head(canvas, rng, fur, "hanging", mix(fur, (255, 255, 255), 0.35), None)
    return canvas


def _person(size: int, rng: Rng, hat: str, glasses: str) -> Canvas:
    """A face of anybody, for the classes that people wear; sex and hair are not the subject."""
    face = sample_face(rng, bool(rng.random() < 0.5), bool(rng.random() < 0.15))
    brown = vary(rng, (150, 106, 66), 14)
    face = replace(
        face, hat=hat, glasses=glasses or face.glasses, hat_colour=brown if hat else face.hat_colour
    )
    canvas = Canvas(size, backdrop(rng, (pick(rng, SKIES), pick(rng, SKIES), (120, 140, 100)), 10))
    draw_face(canvas, rng, face)
    return canvas


def sunglasses(size: int, rng: Rng) -> Canvas:
    if rng.random() < 0.5:
        return _person(size, rng, "", "dark")
    canvas = table(size, rng)
    x, y, tone = 0.5, 0.5 + 0.1 * (rng.random() - 0.5), vary(rng, (40, 36, 40), 12)
    for side in (-1, 1):
        canvas.line([(x + side * 0.34, y - 0.06), (x + side * 0.26, y - 0.3)], tone, 0.03)
        canvas.ellipse(x + side * 0.2, y, 0.16, 0.12, tone)
        canvas.ellipse(x + side * 0.17, y - 0.04, 0.05, 0.03, shade(tone, 2.4))
    canvas.line([(x - 0.06, y - 0.03), (x + 0.06, y - 0.03)], tone, 0.03)
    return canvas


def cowboy_hat(size: int, rng: Rng) -> Canvas:
    if rng.random() < 0.5:
        return _person(size, rng, "brim", "")
    canvas, c = (
        table(size, rng),
        vary(rng, pick(rng, ((150, 106, 66), (60, 48, 44), (226, 206, 160))), 10),
    )
    y = 0.58 + 0.06 * rng.standard_normal()
    canvas.blob(
        [
            (0.08, y - 0.12),
            (0.3, y + 0.02),
            (0.7, y + 0.02),
            (0.92, y - 0.12),
            (0.7, y + 0.16),
            (0.3, y + 0.16),
        ],
        shade(c, 0.8),
    )
    canvas.blob(
        [
            (0.28, y + 0.04),
            (0.32, y - 0.24),
            (0.42, y - 0.32),
            (0.5, y - 0.26),
            (0.58, y - 0.32),
            (0.68, y - 0.24),
            (0.72, y + 0.04),
        ],
        c,
    )
    canvas.rectangle(0.29, y - 0.05, 0.71, y + 0.02, shade(c, 0.45))
    return canvas


def wig(size: int, rng: Rng) -> Canvas:
    """Hair of any colour on a stand without a face."""
    canvas = table(size, rng)
    c = vary(
        rng,
        pick(
            rng,
            (
                *HAIR["blond"],
                *HAIR["black"],
                *HAIR["brown"],
                *HAIR["red"],
                (220, 90, 160),
                (90, 120, 210),
            ),
        ),
        8,
    )
    x, y, long = 0.5 + 0.06 * rng.standard_normal(), 0.45, 0.1 + 0.35 * float(rng.random())
    canvas.blob(
        [
            (x - 0.28, y + long),
            (x - 0.27, y - 0.15),
            (x, y - 0.34),
            (x + 0.27, y - 0.15),
            (x + 0.28, y + long),
            (x, y + long + 0.05),
        ],
        shade(c, 0.8),
    )
    stand = vary(rng, pick(rng, ((232, 230, 226), (210, 190, 170), (60, 58, 60))), 6)
    canvas.polygon(
        [(x - 0.07, y + 0.2), (x + 0.07, y + 0.2), (x + 0.1, 1.0), (x - 0.1, 1.0)],
        shade(stand, 0.85),
    )
    canvas.ellipse(x, y + 0.06, 0.17, 0.23, stand)
    canvas.blob(
        [
            (x - 0.22, y + 0.04),
            (x - 0.22, y - 0.16),
            (x, y - 0.3),
            (x + 0.22, y - 0.16),
            (x + 0.22, y + 0.04),
            (x + 0.1, y - 0.12),
            (x - 0.1, y - 0.12),
        ],
        c,
    )
    canvas.strokes(
        rng,
        12,
        (x - 0.27, y - 0.1, x - 0.2, y + long * 0.7),
        (0.0, 0.12),
        (shade(c, 1.15), shade(c, 0.7)),
        0.014,
    )
    canvas.strokes(
        rng,
        12,
        (x + 0.2, y - 0.1, x + 0.27, y + long * 0.7),
        (0.0, 0.12),
        (shade(c, 1.15), shade(c, 0.7)),
        0.014,
    )
    return canvas


def _figure(
    canvas: Canvas, rng: Rng, x: float, y: float, k: float, top: Colour, legs: Colour, skirt: bool
) -> None:
    """A whole person, small; feet at y, k the height."""
    skin = vary(rng, pick(rng, SKINS), 6)
    hair = vary(rng, pick(rng, HAIR[pick(rng, ("blond", "black", "brown", "brown", "black"))]), 6)
    if skirt:
        canvas.polygon(
            [
                (x - 0.06 * k, y - 0.6 * k),
                (x + 0.06 * k, y - 0.6 * k),
                (x + 0.24 * k, y),
                (x - 0.24 * k, y),
            ],
            legs,
        )
    else:
        for side in (-1, 1):
            canvas.line(
                [(x + side * 0.05 * k, y - 0.45 * k), (x + side * 0.08 * k, y)], legs, 0.09 * k
            )
    canvas.blob(
        [
            (x - 0.15 * k, y - 0.76 * k),
            (x + 0.15 * k, y - 0.76 * k),
            (x + 0.11 * k, y - 0.42 * k),
            (x - 0.11 * k, y - 0.42 * k),
        ],
        top,
    )
    canvas.ellipse(x, y - 0.92 * k, 0.095 * k, 0.1 * k, hair)
    canvas.ellipse(x, y - 0.88 * k, 0.078 * k, 0.09 * k, skin)


def groom(size: int, rng: Rng) -> Canvas:
    canvas = land(size, rng, vary(rng, (110, 146, 80), 12), 0.6)
    trees(canvas, rng, 0.62, 6, 0.22)
    k, x = 0.62 + 0.12 * rng.random(), 0.42 + 0.1 * rng.random()
    _figure(canvas, rng, x + 0.24 * k, 0.92, k * 0.95, (246, 244, 242), (246, 244, 242), True)
    _figure(canvas, rng, x - 0.08 * k, 0.92, k, vary(rng, (38, 38, 46), 8), (34, 34, 40), False)
    canvas.dots(
        rng, 6, (x + 0.12 * k, 0.5, x + 0.22 * k, 0.58), 0.018, ((220, 80, 110), (246, 226, 226))
    )
    return canvas


def ballplayer(size: int, rng: Rng) -> Canvas:
    canvas = land(size, rng, vary(rng, (92, 140, 66), 10), 0.35)
    canvas.ellipse(0.5, 0.95, 0.6, 0.25, vary(rng, (190, 146, 96), 8))
    k, x, top = (
        0.72 + 0.1 * rng.random(),
        0.46 + 0.1 * rng.random(),
        vary(rng, pick(rng, BRIGHT), 10),
    )
    _figure(canvas, rng, x, 0.95, k, top, (236, 236, 232), False)
    canvas.blob(
        [
            (x - 0.11 * k, 0.95 - 0.93 * k),
            (x, 0.95 - 1.04 * k),
            (x + 0.11 * k, 0.95 - 0.93 * k),
            (x + 0.17 * k, 0.95 - 0.91 * k),
        ],
        shade(top, 0.7),
    )
    canvas.line(
        [(x + 0.1 * k, 0.95 - 0.66 * k), (x + 0.26 * k, 0.95 - 0.8 * k)], (206, 156, 120), 0.04
    )
    canvas.line(
        [(x + 0.22 * k, 0.95 - 0.7 * k), (x + 0.42 * k, 0.95 - 1.15 * k)], (200, 160, 100), 0.03
    )
    return canvas


def doll(size: int, rng: Rng) -> Canvas:
    """Toyshop: a doll with yarn hair among blocks."""
    canvas = table(size, rng)
    for i, (a, b) in enumerate(rng.random((5, 2)).tolist()):
        canvas.rectangle(
            0.2 * i, 0.72 + 0.1 * a, 0.2 * i + 0.14 + 0.05 * b, 1.0, BRIGHT[int(a * len(BRIGHT))]
        )
    x, k = 0.5 + 0.1 * (rng.random() - 0.5), 0.2 + 0.04 * rng.random()
    yarn = vary(rng, pick(rng, ((240, 200, 70), (170, 60, 40), (70, 46, 36), (240, 200, 70))), 8)
    canvas.polygon(
        [(x - 0.4 * k, 0.5), (x + 0.4 * k, 0.5), (x + 1.2 * k, 0.95), (x - 1.2 * k, 0.95)],
        vary(rng, pick(rng, BRIGHT), 8),
    )
    for side in (-1, 1):
        canvas.line(
            [(x + side * k, 0.32), (x + side * 1.35 * k, 0.5), (x + side * 1.2 * k, 0.68)],
            yarn,
            0.09,
        )
    canvas.ellipse(x, 0.34, 1.1 * k, 1.1 * k, yarn)
    canvas.ellipse(x, 0.38, 0.9 * k, 0.9 * k, (250, 224, 200))
    for side in (-1, 1):
        canvas.ellipse(x + side * 0.36 * k, 0.36, 0.12 * k, 0.12 * k, (20, 20, 24))
        canvas.ellipse(x + side * 0.52 * k, 0.45, 0.16 * k, 0.1 * k, (240, 150, 150))
    canvas.arc(x, 0.41, 0.35 * k, 0.3 * k, 20, 160, (190, 50, 60), 0.016)
    return canvas


def _bird(size: int, rng: Rng, folder: str) -> Canvas:
    species = next(s for s in SPECIES if s.folder == folder)
    on_water = bool(rng.random() < (0.6 if species.water else 0.2))
    canvas = sea(size, rng) if on_water else Canvas(size, places.forest_backdrop(rng))
    if not on_water:
        places.grass(canvas, rng, 0.7)
    draw_bird(canvas, rng, species, on_water=on_water)
    return canvas


def drake(size: int, rng: Rng) -> Canvas:
    return _bird(size, rng, "087.Mallard")


def goldfinch(size: int, rng: Rng) -> Canvas:
    return _bird(size, rng, "047.American_Goldfinch")
