"""`clipsteer export-dictionary`: a dictionary that a run has made, for other programs."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from clipsteer.cli.common import add_store, store_root
from clipsteer.cli.places import add_chosen
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.front.refs import Refs
from clipsteer.store.peek import PeekObjects
from clipsteer.store.trees import StoreTree


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
    add_chosen(export)
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

    objects, refs, name = PeekObjects(store_root(arguments)), Refs(Path()), arguments.name
    found = refs.layers(name, arguments.dataset)
    if not found:
        known = sorted({one for one, *_ in refs.dictionaries()})
        raise ClipsteerError(
            f"{refs.root}: found no dictionary {name}, expected one of {', '.join(known) or 'none'}. Run its training "
            f"first, or correct the name.{close_match(name, known)}"
        )
    for layer in found if arguments.layer is None else [arguments.layer]:
        if layer not in found:
            raise ClipsteerError(
                f"--layer {layer}: found no such layer of {name}, expected one of {', '.join(map(str, found))}. Name "
                "one of these."
            )
        member = refs.dictionary(name, layer, arguments.dataset)
        tree = StoreTree(objects, member.outputs["dictionary"].digest)
        target = arguments.folder / f"layer_{layer:02d}"
        with tempfile.TemporaryDirectory() as place:
            for path in tree.paths():
                (Path(place) / path).symlink_to(tree.local_path(path).resolve())
            names = export(Path(place), target, arguments.format, arguments.model)
        print(f"{target}: {', '.join(names)}")
    return 0
