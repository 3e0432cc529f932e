"""Drawing one face, head and shoulders, from its traits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipsteer.data.painters.canvas import (
    Canvas,
    Colour,
    bend,
    mix,
    shade,
    smooth,
)
from clipsteer.data.painters.traits import Face


class _Frame:
    """Face coordinates (origin between the eyes, unit = picture side at scale 1) to the canvas."""

    def __init__(self, canvas: Canvas, face: Face) -> None:
        self.canvas, self.k = canvas, face.scale
        self.x, self.y = 0.5 + face.x, 0.48 + face.y
        self._at = np.array([self.x, self.y])

    def points(self, points: list[tuple[float, float]]) -> NDArray[np.float64]:
        placed: NDArray[np.float64] = np.asarray(points, dtype=np.float64) * self.k + self._at
        return placed

    def blob(self, points: list[tuple[float, float]], fill: Colour) -> None:
        self.canvas.blob(self.points(points), fill)

    def polygon(self, points: list[tuple[float, float]], fill: Colour) -> None:
        self.canvas.polygon(self.points(points), fill)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        k = self.k
        self.canvas.ellipse(self.x + k * x, self.y + k * y, k * rx, k * ry, fill)

    def line(self, points: list[tuple[float, float]], fill: Colour, width: float) -> None:
        self.canvas.line(self.points(points), fill, width * self.k)

    def curve(self, points: list[tuple[float, float]], fill: Colour, width: float) -> None:
        """An open line, bent smoothly through three points."""
        self.canvas.line(bend(self.points(points)), fill, width * self.k)


def _mirror(right: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A closed outline from its right half, listed top to bottom."""
    return right + [(-x, y) for x, y in reversed(right) if x > 1e-6]


def _outline(face: Face) -> list[tuple[float, float]]:
    w, j = face.width, face.jaw
    return _mirror(
        [
            (0.0, -0.245),
            (0.13, -0.215),
            (w * 0.97, -0.08),
            (w, 0.03),
            (w * (0.84 + 0.12 * j), 0.14),
            (w * (0.52 + 0.26 * j), 0.235),
            (w * (0.2 + 0.18 * j), 0.288),
            (0.0, 0.3),
        ]
    )


def draw_face(canvas: Canvas, rng: np.random.Generator, face: Face) -> None:
    """Head and shoulders, over whatever the canvas holds."""
    frame = _Frame(canvas, face)
    dark, lit = shade(face.hair_colour, 0.72), shade(face.hair_colour, 1.16)
    _back_hair(frame, face, dark)
    _body(frame, face)
    skin_dark = shade(face.skin, 0.84)
    for side in (-1, 1):
        frame.ellipse(side * (face.width + 0.004), 0.035, 0.026, 0.05, skin_dark)
        if face.earrings:
            frame.ellipse(side * (face.width + 0.008), 0.1, 0.012, 0.016, (230, 200, 90))
    outline = _outline(face)
    frame.blob(outline, face.skin)
    # Light from one side: the other half of the face a shade darker.
    if abs(face.light) > 0.25:
        away = -1.0 if face.light > 0 else 1.0
        far = [(x if x * away > 0 else away * 0.1, y * 0.98) for x, y in outline]
        frame.polygon(smooth(far).tolist(), shade(face.skin, 1 - 0.1 * abs(face.light)))
    _beard(frame, face)
    _eyes(frame, face)
    frame.curve([(0.008, 0.01), (0.03, 0.08), (0.0, 0.098)], skin_dark, 0.012)
    frame.curve([(-0.03, 0.098), (0.0, 0.112), (0.03, 0.098)], shade(face.skin, 0.74), 0.01)
    _mouth(frame, face)
    _front_hair(frame, rng, face, dark, lit)
    _glasses(frame, face)
    _hat(frame, face)


def _back_hair(frame: _Frame, face: Face, dark: Colour) -> None:
    """What hangs behind the neck: nothing for cropped hair, a curtain for long hair."""
    if face.length < 0.3:
        return
    out = face.width + 0.03 + 0.05 * face.volume
    down = 0.1 + 0.5 * (face.length - 0.3)
    wave = 0.025 if face.wavy else 0.0
    frame.blob(
        _mirror(
            [
                (0.0, -0.27),
                (out * 0.8, -0.2),
                (out, 0.0),
                (out + wave, down * 0.5),
                (out + 0.01 - wave, down),
                (out * 0.78 + wave, down + 0.06),
                (0.0, down + 0.02),
            ]
        ),
        dark,
    )


def _body(frame: _Frame, face: Face) -> None:
    broad = 0.04 if face.male else 0.0
    neck = 0.085 + 0.02 * face.jaw
    frame.polygon(
        [(-neck, 0.18), (neck, 0.18), (neck + 0.02, 0.42), (-neck - 0.02, 0.42)],
        shade(face.skin, 0.82),
    )
    top = 0.37
    frame.blob(
        [
            (-0.36 - broad, 0.8),
            (-0.33 - broad, 0.46),
            (-0.15, top),
            (0.15, top),
            (0.33 + broad, 0.46),
            (0.36 + broad, 0.8),
        ],
        face.clothes,
    )
    if face.tie:
        frame.polygon([(-0.09, 0.355), (0.09, 0.355), (0.0, 0.6)], (238, 238, 240))
        frame.polygon([(-0.025, 0.4), (0.025, 0.4), (0.03, 0.6), (-0.03, 0.6)], face.hat_colour)
    else:
        drop = 0.44 if face.male else 0.49
        frame.blob(
            [(-0.1, 0.34), (0.1, 0.34), (0.06, drop - 0.02), (0.0, drop), (-0.06, drop - 0.02)],
            shade(face.skin, 0.93),
        )


def _beard(frame: _Frame, face: Face) -> None:
    if not face.beard:
        return
    w = face.width
    hair = mix(shade(face.hair_colour, 0.82), face.skin, 0.12)
    if face.beard in ("stubble", "beard"):
        colour = (
            mix(face.skin, mix(hair, (70, 66, 66), 0.4), 0.34) if face.beard == "stubble" else hair
        )
        frame.blob(
            _mirror(
                [
                    (0.0, 0.125),
                    (0.09, 0.125),
                    (w * 0.93, 0.06),
                    (w * 0.95, 0.13),
                    (w * (0.56 + 0.26 * face.jaw), 0.24),
                    (w * (0.24 + 0.18 * face.jaw), 0.298),
                    (0.0, 0.31),
                ]
            ),
            colour,
        )
    if face.beard == "goatee":
        frame.blob(_mirror([(0.0, 0.12), (0.08, 0.14), (0.075, 0.26), (0.0, 0.31)]), hair)
    if face.beard == "moustache":
        frame.blob(_mirror([(0.0, 0.12), (0.06, 0.128), (0.085, 0.162), (0.0, 0.15)]), hair)


def _eyes(frame: _Frame, face: Face) -> None:
    brow = mix(shade(face.hair_colour, 0.7), (60, 45, 38), 0.5)
    for side in (-1, 1):
        x = side * 0.088
        frame.ellipse(x, 0.0, 0.041, 0.021, (246, 244, 240))
        frame.ellipse(x + 0.004, 0.0, 0.019, 0.02, face.eye)
        frame.ellipse(x + 0.004, 0.0, 0.009, 0.01, (14, 12, 12))
        frame.curve(
            [(x - 0.045, -0.006), (x, -0.032), (x + 0.045, -0.006)],
            mix(shade(face.skin, 0.6), (20, 16, 18), face.lashes),
            0.009 + 0.012 * face.lashes,
        )
        lift = 0.02 * (1 - face.brow)
        frame.curve(
            [(x - side * 0.04, -0.055), (x, -0.075 - lift), (x + side * 0.052, -0.05 - lift / 2)],
            brow,
            0.011 + 0.017 * face.brow,
        )


def _mouth(frame: _Frame, face: Face) -> None:
    y, w, up = 0.185, 0.068 + 0.012 * face.smile, 0.03 * face.smile
    full = 0.011 + 0.017 * face.lips
    if face.teeth and face.smile > 0.2:
        frame.blob(
            [
                (-w, y - up),
                (0, y - 0.008),
                (w, y - up),
                (w * 0.5, y + 0.024),
                (0, y + 0.034),
                (-w * 0.5, y + 0.024),
            ],
            face.lip_colour,
        )
        frame.blob(
            [(-w * 0.8, y - up * 0.7), (0, y), (w * 0.8, y - up * 0.7), (0, y + 0.02)],
            (250, 248, 244),
        )
        return
    frame.blob(
        [
            (-w, y - up),
            (-0.02, y - full * 0.8),
            (0, y - full * 0.5),
            (0.02, y - full * 0.8),
            (w, y - up),
            (w * 0.45, y + full),
            (0, y + full * 1.25),
            (-w * 0.45, y + full),
        ],
        face.lip_colour,
    )
    frame.curve([(-w, y - up), (0, y + up * 0.9), (w, y - up)], shade(face.lip_colour, 0.62), 0.008)


def _front_hair(
    frame: _Frame, rng: np.random.Generator, face: Face, dark: Colour, lit: Colour
) -> None:
    """The cap of hair over the skull, the hairline, and the strands beside the face."""
    w, puff = face.width, 0.02 + 0.05 * face.volume
    p = 0.09 * face.parting
    line = -0.15 if not face.bangs else -0.085
    end = 0.02 if face.length < 0.3 else 0.06
    inner = w * (0.9 if face.length < 0.3 else 0.86)
    frame.blob(
        [
            (0.0, -0.255 - puff),
            (0.13, -0.235 - puff),
            (w + puff * 0.8, -0.1),
            (w + 0.012 + puff * 0.5, end),
            (inner, end - 0.01),
            (inner * 0.93, -0.09),
            (0.1, line - 0.012),
            (p, line - 0.045 * (not face.bangs)),
            (-0.1, line - 0.012),
            (-inner * 0.93, -0.09),
            (-inner, end - 0.01),
            (-w - 0.012 - puff * 0.5, end),
            (-w - puff * 0.8, -0.1),
            (-0.13, -0.235 - puff),
        ],
        face.hair_colour,
    )
    if face.length >= 0.3:
        out, down = w + 0.03 + 0.05 * face.volume, 0.1 + 0.5 * (face.length - 0.3)
        wave = 0.022 if face.wavy else 0.0
        for side in (-1.0, 1.0):
            frame.blob(
                [
                    (side * w * 0.88, -0.1),
                    (side * out, -0.06),
                    (side * (out + wave), down * 0.55),
                    (side * (out - wave * 0.5), down + 0.02),
                    (side * w * 0.86, down),
                    (side * (w * 0.93 + wave * 0.6), down * 0.5),
                ],
                face.hair_colour,
            )
    _strands(frame, rng, face, dark, lit, line)


def _strands(
    frame: _Frame, rng: np.random.Generator, face: Face, dark: Colour, lit: Colour, line: float
) -> None:
    """Lines from the parting: lighter and darker locks, so that hair is not one flat patch."""
    w, p = face.width, 0.09 * face.parting
    at = rng.random((7, 3))
    for i, (a, b, c) in enumerate(at.tolist()):
        side = 1.0 if i % 2 else -1.0
        x = side * (0.05 + (w - 0.03) * a)
        frame.curve(
            [(p, -0.25 - 0.03 * face.volume), (x, -0.26 + 0.04 * b), (x * 1.08, line - 0.03 * c)],
            lit if b > 0.45 else dark,
            0.01 + 0.008 * c,
        )
    if face.length >= 0.3:
        down = 0.1 + 0.5 * (face.length - 0.3)
        for side in (-1.0, 1.0):
            x = side * (w + 0.02 + 0.03 * face.volume)
            frame.curve(
                [(x, -0.06), (x + 0.015 * side, down * 0.5), (x - 0.01 * side, down * 0.95)],
                dark,
                0.012,
            )


def _glasses(frame: _Frame, face: Face) -> None:
    if not face.glasses:
        return
    rim = (28, 26, 28)
    for side in (-1, 1):
        x = side * 0.09
        if face.glasses == "dark":
            frame.ellipse(x, 0.004, 0.072, 0.05, rim)
        else:
            k = frame.k
            frame.canvas.arc(
                frame.x + k * x, frame.y + k * 0.004, k * 0.066, k * 0.05, 0, 360, rim, 0.014
            )
        frame.line([(side * 0.155, -0.005), (side * (face.width + 0.005), 0.0)], rim, 0.012)
    frame.line([(-0.025, -0.005), (0.025, -0.005)], rim, 0.014)


def _hat(frame: _Frame, face: Face) -> None:
    if not face.hat:
        return
    w, colour = face.width + 0.045, face.hat_colour
    frame.blob(
        [
            (-w, -0.12),
            (-w * 0.93, -0.26),
            (-0.1, -0.345),
            (0.1, -0.345),
            (w * 0.93, -0.26),
            (w, -0.12),
            (0.0, -0.135),
        ],
        colour,
    )
    if face.hat == "cap":
        frame.blob(
            [
                (-w, -0.13),
                (0.0, -0.15),
                (w, -0.13),
                (w * 0.9, -0.085),
                (0.0, -0.07),
                (-w * 0.9, -0.085),
            ],
            shade(colour, 0.75),
        )
    elif face.hat == "beanie":
        frame.blob(
            [(-w, -0.16), (0.0, -0.18), (w, -0.16), (w, -0.1), (0.0, -0.115), (-w, -0.1)],
            shade(colour, 1.2),
        )
    else:
        frame.ellipse(0.0, -0.12, w + 0.13, 0.04, shade(colour, 0.85))
