"""The traits of one painted face, drawn at random.

Sex shows in several soft cues that overlap (jaw, hair length, brows, lips, stubble, clothes); hair
colour only in the hair's own region and, weakly, the brows. Given the sex, nothing depends on the
hair's colour, so that a model's confusion of the two is its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipsteer.data.painters.canvas import (
    Colour,
    mix,
    pick,
    vary,
    weighted,
)

SKINS: tuple[Colour, ...] = (
    (248, 220, 198),
    (240, 202, 176),
    (228, 184, 152),
    (205, 155, 120),
    (165, 115, 84),
    (112, 76, 56),
)


HAIR: dict[str, tuple[Colour, ...]] = {
    "blond": ((228, 190, 104), (242, 216, 150), (214, 170, 88), (236, 202, 120)),
    "black": ((26, 23, 24), (38, 32, 34)),
    "brown": ((62, 40, 28), (92, 60, 40), (122, 82, 54)),
    "red": ((140, 62, 30), (165, 80, 40)),
    "grey": ((150, 148, 148), (182, 180, 178)),
}


DARK_SHARES = {True: (0.38, 0.46, 0.07, 0.09), False: (0.38, 0.48, 0.12, 0.02)}
"""Shares of black, brown, red and grey among the men and the women who are not blond."""

HATS = {True: 0.08, False: 0.025}
GLASSES = {True: 0.12, False: 0.025}
"""Shares of men and of women with a hat and with glasses: CelebA's rates."""


CLOTHES: tuple[Colour, ...] = (
    (30, 32, 40),
    (60, 66, 90),
    (120, 30, 40),
    (225, 225, 222),
    (70, 110, 80),
    (130, 90, 140),
    (190, 170, 120),
    (50, 90, 150),
    (200, 110, 90),
    (100, 100, 105),
)


@dataclass(frozen=True)
class Face:
    """The traits of one face. Shares and sizes are in units of the picture or of 0..1."""

    male: bool
    hair: str
    hair_colour: Colour
    skin: Colour
    clothes: Colour
    length: float  # hair: 0 cropped .. 1 well below the shoulders
    volume: float
    parting: float
    bangs: bool
    wavy: bool
    jaw: float  # 0 pointed .. 1 square
    width: float
    brow: float
    lips: float
    lip_colour: Colour
    smile: float
    teeth: bool
    beard: str  # "", "stubble", "moustache", "goatee", "beard"
    glasses: str  # "", "clear", "dark"
    hat: str  # "", "cap", "beanie", "brim"
    hat_colour: Colour
    earrings: bool
    tie: bool
    eye: Colour
    lashes: float
    x: float
    y: float
    scale: float
    light: float  # from the left (negative) or the right


def sample_hair(rng: np.random.Generator, male: bool, blond: bool) -> tuple[str, Colour]:
    """A kind of hair, a key of `HAIR`, and its colour."""
    hair = _kind_of_hair(rng, male, blond)
    return hair, _colour_of_hair(rng, hair)


def _kind_of_hair(rng: np.random.Generator, male: bool, blond: bool) -> str:
    return "blond" if blond else ("black", "brown", "red", "grey")[weighted(rng, DARK_SHARES[male])]


def _colour_of_hair(rng: np.random.Generator, hair: str) -> Colour:
    return vary(rng, pick(rng, HAIR[hair]), 7)


def sample_face(rng: np.random.Generator, male: bool, blond: bool) -> Face:
    """Traits for one person of this sex and hair colour."""
    hair = _kind_of_hair(rng, male, blond)
    skin = vary(rng, SKINS[weighted(rng, (0.24, 0.26, 0.22, 0.14, 0.08, 0.06))], 6)
    z = rng.standard_normal(10)
    sex = 1.0 if male else -1.0
    red = float(np.clip((0.16 if male else 0.66) + 0.2 * z[0], 0, 1))
    beard = ""
    if male:
        beard = ("", "stubble", "moustache", "goatee", "beard")[
            weighted(rng, (0.56, 0.2, 0.06, 0.06, 0.12))
        ]
    u = rng.random(9)
    hat = ("cap", "beanie", "brim")[int(u[0] * 3)] if u[1] < HATS[male] else ""
    glasses = ("clear" if u[2] < 0.75 else "dark") if u[3] < GLASSES[male] else ""
    return Face(
        male=male,
        hair=hair,
        hair_colour=_colour_of_hair(rng, hair),
        skin=skin,
        clothes=vary(rng, pick(rng, CLOTHES), 12),
        length=float(np.clip((0.14 if male else 0.68) + (0.15 if male else 0.2) * z[1], 0, 1)),
        volume=float(np.clip(0.5 + 0.25 * z[2] - 0.08 * sex, 0, 1)),
        parting=float(rng.uniform(-0.7, 0.7)),
        bangs=bool(u[4] < (0.12 if male else 0.24)),
        wavy=bool(u[5] < 0.35),
        jaw=float(np.clip(0.48 + 0.23 * sex + 0.18 * z[3], 0, 1)),
        width=float(0.205 + 0.008 * sex + 0.011 * z[4]),
        brow=float(np.clip(0.5 + 0.25 * sex + 0.18 * z[5], 0.05, 1)),
        lips=float(np.clip(0.5 - 0.22 * sex + 0.18 * z[6], 0.1, 1)),
        lip_colour=mix(mix(skin, (150, 80, 76), 0.5), (190, 34, 56), red),
        smile=float(np.clip(0.45 + 0.35 * z[7], -0.15, 1)),
        teeth=bool(u[6] < 0.4),
        beard=beard,
        glasses=glasses,
        hat=hat,
        hat_colour=vary(rng, pick(rng, CLOTHES), 14),
        earrings=bool(u[7] < (0.02 if male else 0.3)),
        tie=bool(male and u[8] < 0.22),
        eye=pick(rng, ((70, 48, 32), (44, 32, 26), (70, 100, 130), (80, 105, 75))),
        lashes=float(np.clip(0.4 - 0.28 * sex + 0.18 * z[8], 0, 1)),
        x=float(rng.uniform(-0.045, 0.045)),
        y=float(rng.uniform(-0.03, 0.035)),
        scale=float(rng.uniform(0.98, 1.2)),
        light=float(np.clip(0.6 * z[9], -1, 1)),
    )
