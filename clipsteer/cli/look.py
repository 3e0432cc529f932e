"""`clipsteer look`: a page for the browser of what features do in images of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clipsteer.cli.common import add_store, store_root
from clipsteer.cli.places import add_images, add_model, only_model, place_of, writable
from clipsteer.errors import ClipsteerError
from clipsteer.store.durable import write_atomic
from clipsteer.store.roots import REFS


def add(subparsers: Any) -> None:
    """The command of this file."""
    look = subparsers.add_parser(
        "look",
        help="a page for the browser: an image's features, patch by patch, and what ablating each one changes",
        description="Writes a page for the browser, one file without a network: of each image the features of a "
        "dictionary that runs here have made, where they are active, and the class probabilities without each of them "
        "and without the sets that were selected.",
    )
    add_images(look)
    look.add_argument(
        "--place",
        required=True,
        action="append",
        metavar="DICTIONARY/LAYER",
        help="where to look: topk/2, or neurons/2 for the neuron basis; may be given several times",
    )
    look.add_argument(
        "--dataset",
        metavar="NAME",
        help="whose classes, chosen dictionaries and selected sets are meant; to be said where there are several",
    )
    look.add_argument(
        "--features",
        type=int,
        default=8,
        metavar="K",
        help="features of an image: the most active ones, and as many of the selected ones (default: 8)",
    )
    add_model(look)
    look.add_argument(
        "--out", type=Path, default=Path("look.html"), metavar="HTML", help="default: look.html"
    )
    add_store(look)
    look.set_defaults(run=run_look)


def run_look(arguments: argparse.Namespace) -> int:
    """Write the page, and say where it is."""
    places = [place_of(word) for word in dict.fromkeys(arguments.place)]
    if arguments.features < 1:
        raise ClipsteerError(f"--features: found {arguments.features}, expected at least 1.")
    out = writable(arguments.out, ".html")
    dataset = arguments.dataset or _only_dataset()
    # they load torch
    from clipsteer.front.looked import Asked, looked_page
    from clipsteer.front.runs import Run

    run = Run(Path(), store_root(arguments))
    model = arguments.model or only_model(places[0][0])
    asked = Asked(dataset, model, arguments.crop, arguments.features)
    page = looked_page(run, arguments.images, places, asked)
    write_atomic(out, page.encode())
    print(out)
    return 0


def _only_dataset() -> str:
    """The data set whose zero-shot head a run here has made. Raises ClipsteerError where that is not one."""
    there = sorted(path.parent.name for path in Path(REFS).glob("*/head.json"))
    if len(there) != 1:
        names = (
            " or ".join(there)
            or "one with a table: run `snakemake results/<dataset>_table.csv` first"
        )
        raise ClipsteerError(f"--dataset: found none, expected {names}.")
    return there[0]
