"""Fonts that words are printed in: Pillow's own, those that matplotlib ships, or files of the user's.

Light: the rules import this, as a font counts by its content.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from clipsteer.errors import ClipsteerError, close_match
from clipsteer.store.digest import digest_file

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

PILLOW = "pillow"
"""The font that Pillow itself has, a subset of Aileron (CC0)."""


def font_file(name: str, folder: Path | None = None) -> Path | None:
    """The file of a font: one that matplotlib ships by its name, or a path of its own; None for Pillow's.

    `folder`: where relative paths start. Raises ClipsteerError where there is none of that name.
    """
    if name == PILLOW:
        return None
    shipped = _shipped()
    path = Path(name).expanduser()
    for file in (shipped.get(name), (folder or Path()) / path):
        if file is not None and file.is_file():
            return file
    raise ClipsteerError(
        f"found no font {name!r}; expected {PILLOW}, one that matplotlib ships (DejaVuSans, DejaVuSerif-Bold, "
        "STIXGeneral ...), or the path of a font file." + close_match(name, [PILLOW, *shipped])
    )


@cache
def _shipped() -> dict[str, Path]:
    """The fonts that matplotlib ships, free to hand on, by the names of their files; matplotlib is not loaded."""
    found = find_spec("matplotlib")
    where = Path(found.origin).parent if found and found.origin else Path()
    return {path.stem: path for path in sorted((where / "mpl-data/fonts/ttf").glob("*.ttf"))}


def fonts_known(names: Sequence[str], folder: Path | None = None) -> list[list[str]]:
    """(file, digest) of each font, which count by their content; Pillow's counts with Pillow."""
    files = [font_file(name, folder) for name in names]
    return [["", ""] if file is None else [str(file), digest_file(file)] for file in files]


@cache
def _loaded(file: str, digest: str, size: float) -> FreeTypeFont:
    from PIL import ImageFont

    if not file:
        own = ImageFont.load_default(size)
        assert isinstance(own, ImageFont.FreeTypeFont)
        return own
    if digest_file(Path(file)) != digest:
        raise ClipsteerError(
            f"{file}: this font is another than when the run began; restore it, or run the same command again."
        )
    return ImageFont.truetype(file, size)


def font(known: Sequence[str], size: float) -> FreeTypeFont:
    """A font as `fonts_known` gives it, (file, digest), of so many pixels."""
    return _loaded(known[0], known[1], size)
