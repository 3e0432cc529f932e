"""The files that pages of features are made of, for those who only need to know what is in them."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "explorer"
_SHARED = ("common.js", "image.js")
_STYLE = "page.css"


def files(page: str = "page") -> list[Path]:
    """Template, style and programs of a page; a step that uses them has their digests in its recipe."""
    return [_FOLDER / name for name in (f"{page}.html", _STYLE, *_SHARED, f"{page}.js")]


def texts(page: str = "page") -> tuple[str, str, str]:
    """Template, style, and the programs one after the other."""
    template, style, *programs = (path.read_text(encoding="utf-8") for path in files(page))
    return template, style, "".join(programs)
