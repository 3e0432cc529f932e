"""The files that pages of features are made of, for those who only need to know what is in them."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "explorer"
_NAMES = ("page.html", "page.css", "page.js")


def files() -> list[Path]:
    """Template, style and program; a step that uses them has their digests in its recipe."""
    return [_FOLDER / name for name in _NAMES]


def texts() -> tuple[str, ...]:
    """What is in them, in the same order."""
    return tuple(path.read_text(encoding="utf-8") for path in files())
