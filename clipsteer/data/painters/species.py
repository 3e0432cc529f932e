"""The twenty species that the birds' painter knows: plumage and build.

Names and numbers are those of the CUB-200 folders in which Waterbirds keeps its pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

from clipsteer.data.painters.canvas import (
    Colour,
)


@dataclass(frozen=True)
class Species:
    """Plumage and build. Lengths in units of the body's half-length."""

    folder: str
    water: bool
    back: Colour
    belly: Colour
    head: Colour
    bill: Colour
    neck: float
    bill_length: float
    bill_width: float
    crest: bool = False

    @property
    def words(self) -> str:
        """The last word of the name, as people say it: `albatross`, `sparrow`."""
        return self.folder.partition(".")[2].replace("_", " ").split()[-1].lower()


_W, _G, _K, _B = (238, 238, 234), (140, 144, 150), (34, 34, 40), (110, 82, 58)


SPECIES: tuple[Species, ...] = (
    Species(
        "001.Black_footed_Albatross",
        True,
        (84, 72, 66),
        (120, 108, 100),
        (100, 88, 80),
        (60, 56, 58),
        0.45,
        0.62,
        0.2,
    ),
    Species("002.Laysan_Albatross", True, (76, 74, 78), _W, _W, (226, 170, 120), 0.45, 0.62, 0.2),
    Species("023.Brandt_Cormorant", True, _K, (50, 48, 54), _K, (90, 90, 96), 1.0, 0.5, 0.11),
    Species(
        "052.Pied_billed_Grebe",
        True,
        (112, 92, 70),
        (150, 132, 108),
        (98, 80, 62),
        (190, 184, 170),
        0.6,
        0.34,
        0.15,
    ),
    Species("059.California_Gull", True, _G, _W, _W, (232, 190, 60), 0.35, 0.46, 0.15),
    Species("086.Pacific_Loon", True, _K, _W, (120, 122, 128), (40, 40, 44), 0.7, 0.55, 0.12),
    Species(
        "087.Mallard",
        True,
        (136, 120, 104),
        (190, 184, 176),
        (24, 104, 66),
        (226, 190, 50),
        0.55,
        0.48,
        0.2,
    ),
    Species(
        "100.Brown_Pelican",
        True,
        (126, 108, 92),
        (98, 84, 74),
        (232, 216, 160),
        (170, 140, 110),
        1.0,
        1.0,
        0.24,
    ),
    Species("101.White_Pelican", True, _W, _W, _W, (240, 160, 70), 1.0, 1.0, 0.24),
    Species("106.Horned_Puffin", True, _K, _W, _W, (236, 130, 40), 0.3, 0.42, 0.36),
    Species("010.Red_winged_Blackbird", False, _K, (46, 42, 44), _K, (50, 50, 52), 0.1, 0.28, 0.15),
    Species(
        "014.Indigo_Bunting",
        False,
        (46, 84, 180),
        (70, 110, 200),
        (40, 70, 170),
        (120, 120, 120),
        0.1,
        0.2,
        0.17,
    ),
    Species(
        "017.Cardinal",
        False,
        (190, 40, 40),
        (210, 60, 54),
        (200, 40, 40),
        (232, 120, 60),
        0.1,
        0.2,
        0.2,
        True,
    ),
    Species("029.American_Crow", False, _K, _K, _K, (30, 30, 34), 0.15, 0.36, 0.17),
    Species(
        "047.American_Goldfinch",
        False,
        (226, 190, 40),
        (240, 210, 70),
        (236, 204, 60),
        (230, 140, 70),
        0.1,
        0.2,
        0.18,
    ),
    Species(
        "073.Blue_Jay",
        False,
        (80, 120, 190),
        (222, 226, 232),
        (90, 130, 200),
        (40, 40, 44),
        0.12,
        0.28,
        0.15,
        True,
    ),
    Species("095.Baltimore_Oriole", False, _K, (238, 140, 40), _K, (110, 116, 124), 0.1, 0.3, 0.13),
    Species(
        "118.House_Sparrow",
        False,
        _B,
        (196, 180, 160),
        (130, 96, 70),
        (70, 62, 56),
        0.08,
        0.2,
        0.18,
    ),
    Species(
        "188.Pileated_Woodpecker",
        False,
        _K,
        (70, 70, 72),
        (190, 40, 44),
        (90, 90, 94),
        0.25,
        0.42,
        0.12,
        True,
    ),
    Species(
        "199.Winter_Wren",
        False,
        (120, 86, 58),
        (150, 116, 84),
        (112, 80, 54),
        (80, 66, 54),
        0.08,
        0.24,
        0.1,
    ),
)
