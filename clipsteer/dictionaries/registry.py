"""Architectures by name. A module is imported only when its name is asked for."""

from __future__ import annotations

import importlib

from clipsteer.dictionaries.base import Dictionary
from clipsteer.errors import ClipsteerError, close_match

TRAINED = ("vanilla", "topk", "batchtopk", "matryoshka")
MADE = (
    "scaled_topk",
    "jumprelu",
    "gated",
)  # what an import or a training makes, by no name of the config
ARCHITECTURES = (*TRAINED, *MADE, "neurons")


def architecture(name: str, where: str = "architecture") -> type[Dictionary]:
    """The class of an architecture; `where` is the file or config key to blame.

    Raises:
        ClipsteerError: the name is not one of `ARCHITECTURES`.
    """
    if name not in ARCHITECTURES:
        raise ClipsteerError(
            f"{where}: found {name!r}, expected one of {', '.join(ARCHITECTURES)}."
            + close_match(str(name), ARCHITECTURES)
        )
    module = importlib.import_module(f"clipsteer.dictionaries.{name}")
    found: type[Dictionary] = module.DICTIONARY
    return found
