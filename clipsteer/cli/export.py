"""`clipsteer export-dictionary`: a dictionary that a run has made, for other programs."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clipsteer.cli.common import add_store, store_root
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.store.peek import PeekObjects
from clipsteer.store.pointers import read_pointer
from clipsteer.store.roots import REFS
from clipsteer.store.trees import StoreTree

_PLACE = Path(REFS, "dictionaries")


def add(subparsers: Any) -> None:
    """The command of this file."""
    export = subparsers.add_parser(
        "export-dictionary",
        help="write a trained dictionary in the layout of SAELens or ViT-Prisma",
        description="Writes the layers of a dictionary that runs here have made, each into a folder layer_NN.",
    )
    export.add_argument("name", metavar="NAME", help="of the config: dictionaries.NAME")
    export.add_argument("folder", type=Path, metavar="DIR", help="where to")
    export.add_argument("--format", choices=("saelens", "prisma"), required=True)
    export.add_argument(
        "--layer", type=int, metavar="N", help="only this one; default: all that there are"
    )
    export.add_argument(
        "--model",
        metavar="NAME",
        help="what the CLIP is called on the hub, for whoever reads the files",
    )
    add_store(export)
    export.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace) -> int:
    """Write the files; their folders are named."""
    from clipsteer.dictionaries.export import export  # loads torch

    objects = PeekObjects(store_root(arguments))
    found = dict(_layers(arguments.name))
    wanted = sorted(found) if arguments.layer is None else [arguments.layer]
    for layer in wanted:
        if layer not in found:
            there = ", ".join(map(str, sorted(found)))
            raise ClipsteerError(
                f"--layer {layer}: found no such layer of {arguments.name}, expected one of {there}. Name one of these."
            )
        tree = StoreTree(objects, found[layer])
        target = arguments.folder / f"layer_{layer:02d}"
        with tempfile.TemporaryDirectory() as place:
            for path in tree.paths():
                (Path(place) / path).symlink_to(tree.local_path(path).resolve())
            names = export(Path(place), target, arguments.format, arguments.model)
        print(f"{target}: {', '.join(names)}")
    return 0


def _layers(name: str) -> Iterator[tuple[int, str]]:
    """The layers of a dictionary that there are pointers of, each with the digest of its tree.

    Raises ClipsteerError where there are none.
    """
    pointers = sorted((_PLACE / name).glob("*.json"))
    if not pointers:
        known = [path.name for path in _PLACE.glob("*") if path.is_dir()]
        raise ClipsteerError(
            f"{_PLACE / name}: found no dictionary of that name, expected one of {', '.join(sorted(known)) or 'none'}. "
            f"Run its training first, or correct the name.{close_match(name, known)}"
        )
    for path in pointers:
        for member, made in read_pointer(path).members.items():
            yield int(member.rpartition("_")[2]), made.outputs["dictionary"].digest
