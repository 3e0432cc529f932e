"""What commands have in common that look at images at a place of a run's dictionaries."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from clipsteer.config.used import FIRST
from clipsteer.errors import ClipsteerError
from clipsteer.store.roots import REFS

_PLACE = re.compile(r"([a-z][a-z0-9_]*)/(?:layer_)?(\d+)")


def add_images(parser: argparse.ArgumentParser) -> None:
    """The images that are looked at."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")


def add_model(parser: argparse.ArgumentParser) -> None:
    """The options --model and --crop."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the run's model that the dictionary is for; to be said where there are several",
    )
    parser.add_argument(
        "--crop",
        choices=("transformers", "openai"),
        default="transformers",
        help="as model.crop of the run (default: transformers); the model computes in float32",
    )


def add_chosen(parser: argparse.ArgumentParser) -> None:
    """The option --dataset, of a dictionary."""
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="by whose quality the dictionary was chosen; to be said where data sets have chosen different ones",
    )


def writable(out: Path, ending: str) -> Path:
    """The file that --out names. Raises ClipsteerError, before anything is computed, where it cannot be one."""
    if out.suffix.lower() != ending or out.is_dir():
        raise ClipsteerError(f"--out: found {out}, expected a file that ends in {ending}.")
    if not out.parent.is_dir():
        raise ClipsteerError(
            f"--out: found no folder {out.parent}; make it, or name another place."
        )
    return out


def place_of(word: str) -> tuple[str, int]:
    """Dictionary and layer of `topk/2`. Raises ClipsteerError for another word."""
    place = _PLACE.fullmatch(word)
    if place is None:
        raise ClipsteerError(
            f"--place: found {word!r}, expected a dictionary and a layer, such as topk/2."
        )
    return place[1], int(place[2])


def only_model(dictionary: str) -> str:
    """The run's model. Raises ClipsteerError where there are several: a dictionary's files do not say which is its."""
    there = sorted(path.stem for path in Path(REFS, "model").glob("*.json"))
    if len(there) > 1:
        raise ClipsteerError(
            f"--model: found none, expected the model that {dictionary} is for: {' or '.join(there)}."
        )
    return there[0] if there else FIRST
