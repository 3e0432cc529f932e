"""Drawing one bird in profile.

Waterbirds have long necks or bills, low bodies and webbed feet; landbirds are rounder, with short
bills, thin legs and long tails.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clipsteer.data.painters.canvas import (
    Canvas,
    Colour,
    mix,
    shade,
    vary,
)
from clipsteer.data.painters.species import Species

_WAVES: tuple[Colour, ...] = ((200, 222, 232), (110, 156, 186))


_BLADES: tuple[Colour, ...] = ((96, 132, 60), (66, 96, 44))
"""What lies before a bird that swims, and before one that sits in the grass as it would swim."""


def draw_bird(
    canvas: Canvas,
    rng: np.random.Generator,
    species: Species,
    *,
    on_water: bool,
    posed_on_water: bool | None = None,
) -> None:
    """A bird in profile, facing either way, swimming, standing or perched.

    `posed_on_water`: the ground that its pose was drawn for, where it is painted on another, as a pair is. The bird is
    the same on either; what it stands on, and what lies before it, is the ground's.
    """
    u = rng.random(8)
    face = 1.0 if u[0] < 0.5 else -1.0
    k = 0.25 + 0.09 * u[1]
    x0, y0 = 0.5 + 0.16 * (u[2] - 0.5), 0.54 + 0.12 * (u[3] - 0.5)
    back, belly, head, bill = (
        vary(rng, c, 9) for c in (species.back, species.belly, species.head, species.bill)
    )

    def at(points: list[tuple[float, float]]) -> NDArray[np.float64]:
        placed: NDArray[np.float64] = np.asarray(points) * [face * k, k] + [x0, y0]
        return placed

    posed = on_water if posed_on_water is None else posed_on_water
    swims = species.water and posed and u[4] < 0.6
    if species.water:
        _stand_waterbird(canvas, at, k, swims, on_water, bill)
        _waterbird(canvas, at, k, species, (back, belly, head, bill), float(u[5]))
        if swims:
            canvas.strokes(
                rng,
                7,
                (x0 - 1.1 * k, y0 + 0.34 * k, x0 + 0.7 * k, y0 + 0.5 * k),
                (0.12, 0.0),
                _WAVES if on_water else _BLADES,
                0.014,
            )
    else:
        _perch(canvas, rng, at, k, float(u[6]))
        _landbird(canvas, at, k, species, (back, belly, head, bill), float(u[5]))


_At = Callable[[list[tuple[float, float]]], NDArray[np.float64]]


_Plumage = tuple[Colour, Colour, Colour, Colour]


def _stand_waterbird(
    canvas: Canvas, at: _At, k: float, swims: bool, on_water: bool, bill: Colour
) -> None:
    if swims:
        return
    legs = mix(bill, (220, 140, 60), 0.5)
    if on_water:  # a rock in the water to stand on
        canvas.blob(
            at([(-0.7, 0.92), (-0.2, 0.8), (0.5, 0.84), (0.9, 1.2), (0.0, 1.4), (-0.9, 1.2)]),
            (112, 108, 104),
        )
    for x in (-0.12, 0.14):
        canvas.line(at([(x, 0.35), (x, 0.88)]), legs, 0.1 * k)
        canvas.polygon(at([(x - 0.04, 0.82), (x + 0.34, 0.98), (x - 0.1, 0.98)]), legs)


def _waterbird(
    canvas: Canvas, at: _At, k: float, s: Species, plumage: _Plumage, pose: float
) -> None:
    """A long low body, a neck that rises from the breast, a long bill."""
    back, belly, head, bill = plumage
    canvas.blob(
        at(
            [
                (-1.15, -0.16),
                (-0.5, -0.34),
                (0.3, -0.34),
                (0.74, -0.1),
                (0.66, 0.24),
                (0.1, 0.46),
                (-0.55, 0.34),
            ]
        ),
        belly,
    )
    canvas.blob(
        at([(-1.2, -0.2), (-0.5, -0.37), (0.3, -0.3), (0.42, -0.02), (-0.1, 0.14), (-0.7, 0.06)]),
        back,
    )
    lean = 0.18 + 0.2 * pose
    hx, hy = 0.66 + lean * (0.5 + 0.5 * s.neck), -0.42 - 0.62 * s.neck
    thick = 0.17
    canvas.blob(
        at(
            [
                (0.36, -0.28),
                (hx - thick - 0.06, hy + 0.12),
                (hx, hy - 0.1),
                (hx + thick * 0.8, hy + 0.08),
                (hx * 0.9 + 0.06, (hy - 0.1) / 2 + 0.06),
                (0.78, 0.06),
            ]
        ),
        mix(head, belly, 0.35),
    )
    tip = s.bill_length
    half = s.bill_width / 2
    canvas.polygon(
        at(
            [
                (hx + 0.08, hy - half),
                (hx + 0.14 + tip * 0.8, hy + 0.02),
                (hx + 0.16 + tip, hy + 0.12),
                (hx + 0.12 + tip * 0.5, hy + half + 0.08),
                (hx + 0.08, hy + half),
            ]
        ),
        bill,
    )
    canvas.blob(
        at(
            [
                (hx - 0.24, hy + 0.02),
                (hx - 0.02, hy - 0.2),
                (hx + 0.22, hy - 0.04),
                (hx + 0.1, hy + 0.16),
                (hx - 0.12, hy + 0.18),
            ]
        ),
        head,
    )
    _eye(canvas, at, k, hx + 0.06, hy - 0.04, head)


def _landbird(
    canvas: Canvas, at: _At, k: float, s: Species, plumage: _Plumage, pose: float
) -> None:
    """A round upright body, a big head close to it, a short bill, a long tail."""
    back, belly, head, bill = plumage
    dip = 0.3 * pose
    for x in (-0.02, 0.16):
        canvas.line(at([(x, 0.4), (x + 0.02, 0.72)]), (70, 56, 48), 0.05 * k)
    canvas.polygon(
        at([(-0.42, 0.05), (-0.3, 0.3), (-1.2, 0.62 - dip), (-1.28, 0.44 - dip)]), shade(back, 0.82)
    )
    canvas.blob(
        at(
            [
                (-0.62, 0.1),
                (-0.3, -0.34),
                (0.2, -0.5),
                (0.56, -0.14),
                (0.5, 0.26),
                (0.1, 0.5),
                (-0.36, 0.4),
            ]
        ),
        belly,
    )
    canvas.blob(
        at([(-0.72, 0.24), (-0.4, -0.3), (0.12, -0.48), (0.2, -0.1), (-0.1, 0.22), (-0.5, 0.32)]),
        back,
    )
    hx, hy = 0.36, -0.54 - 0.3 * s.neck
    half = s.bill_width / 2
    canvas.polygon(
        at(
            [
                (hx + 0.2, hy - half),
                (hx + 0.26 + s.bill_length, hy + 0.05),
                (hx + 0.2, hy + half + 0.04),
            ]
        ),
        bill,
    )
    if s.crest:
        canvas.polygon(at([(hx - 0.28, hy), (hx - 0.3, hy - 0.5), (hx + 0.14, hy - 0.22)]), head)
    canvas.blob(
        at(
            [
                (hx - 0.28, hy + 0.04),
                (hx - 0.04, hy - 0.28),
                (hx + 0.26, hy - 0.06),
                (hx + 0.16, hy + 0.24),
                (hx - 0.16, hy + 0.28),
            ]
        ),
        head,
    )
    canvas.line(at([(-0.52, 0.2), (-0.12, -0.02)]), shade(back, 0.7), 0.05 * k)
    _eye(canvas, at, k, hx + 0.08, hy - 0.03, head)


def _eye(canvas: Canvas, at: _At, k: float, x: float, y: float, head: Colour) -> None:
    centre = at([(x, y)])[0]
    dark = sum(head) < 240
    if dark:
        canvas.ellipse(centre[0], centre[1], 0.065 * k, 0.065 * k, (232, 214, 150))
    canvas.ellipse(centre[0], centre[1], 0.045 * k, 0.045 * k, (12, 12, 14))


def _perch(canvas: Canvas, rng: np.random.Generator, at: _At, k: float, which: float) -> None:
    """A twig across the picture or a post under the bird, on land and over water alike."""
    wood = vary(rng, (104, 82, 62), 10)
    if which < 0.65:
        foot = float(at([(0.0, 0.74)])[0][1])
        tilt = 0.12 * (which / 0.65 - 0.5)
        canvas.polygon(
            [
                (-0.02, foot - tilt),
                (1.02, foot + tilt),
                (1.02, foot + tilt + 0.045),
                (-0.02, foot - tilt + 0.06),
            ],
            wood,
        )
        canvas.strokes(
            rng,
            4,
            (0.05, foot - 0.02, 0.95, foot + 0.03),
            (0.06, -0.08),
            ((90, 124, 56), wood),
            0.016,
        )
    else:
        canvas.polygon(at([(-0.3, 0.72), (0.46, 0.72), (0.5, 3.0), (-0.34, 3.0)]), wood)
        top = at([(0.08, 0.74)])[0]
        canvas.ellipse(float(top[0]), float(top[1]), 0.38 * k, 0.09 * k, shade(wood, 1.25))
