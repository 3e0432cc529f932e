"""`clipsteer steer`: what a model sees in images, before and after a feature is set to a strength."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsteer.cli.common import add_store, store_root
from clipsteer.cli.places import add_chosen, add_images, add_model, only_model, place_of, writable
from clipsteer.errors import ClipsteerError
from clipsteer.store.durable import write_atomic

if TYPE_CHECKING:
    import polars as pl


def add(subparsers: Any) -> None:
    """The command of this file."""
    steer = subparsers.add_parser(
        "steer",
        help="the most probable words of images, before and after a feature is set to a strength",
        description="Sets a feature of a dictionary that runs here have made to a strength, on all tokens, and shows "
        "the most probable words of the vocabulary before and after.",
    )
    add_images(steer)
    steer.add_argument(
        "--place",
        required=True,
        metavar="DICTIONARY/LAYER",
        help="where to steer: topk/2, or neurons/2 for the neuron basis",
    )
    steer.add_argument("--feature", required=True, type=int, metavar="J", help="its number")
    steer.add_argument("--strength", required=True, type=float, metavar="S")
    steer.add_argument(
        "--words", type=int, default=5, metavar="K", help="words of each list (default: 5)"
    )
    add_chosen(steer)
    add_model(steer)
    steer.add_argument("--out", type=Path, metavar="PNG", help="also draw them, with the images")
    add_store(steer)
    steer.set_defaults(run=run_steer)


def run_steer(arguments: argparse.Namespace) -> int:
    """Show the words, image by image."""
    dictionary, layer = place_of(arguments.place)
    if arguments.words < 1:
        raise ClipsteerError(f"--words: found {arguments.words}, expected at least 1.")
    out = writable(arguments.out, ".png") if arguments.out else None
    # they load torch
    from clipsteer.front.passes import top_words
    from clipsteer.front.placed import Edit, checked_features
    from clipsteer.front.runs import Run

    run = Run(Path(), store_root(arguments))
    name = arguments.model or only_model(dictionary)
    # the model last: it takes seconds, and what was asked for wrongly is to be said before
    vocabulary = run.vocabulary(name)
    placed = run.dictionary(dictionary, layer, dataset=arguments.dataset, model=name)
    features = checked_features(placed, [arguments.feature])
    model = run.model(name, crop=arguments.crop)
    edit = Edit(placed, features, arguments.strength)
    every = len(vocabulary.words)
    lists = [
        top_words(model, arguments.images, vocabulary, change, every, "all")
        for change in (None, edit)
    ]
    what = f"feature {arguments.feature} of {arguments.place} set to {arguments.strength:g}"
    print(what)
    shown = []
    for number, path in enumerate(arguments.images):
        before, after = (_shares(words, number) for words in lists)
        print(
            f"{path}\n  before  {_line(before, arguments.words)}\n  after   {_line(after, arguments.words)}"
        )
        words = dict.fromkeys([*list(before)[: arguments.words], *list(after)[: arguments.words]])
        shown.append([(word, before[word], after[word]) for word in words])
    if out:
        _draw(arguments.images, shown, out, what)
    return 0


def _shares(words: pl.DataFrame, image: int) -> dict[str, float]:
    """Word -> probability of one image, by falling probability."""
    return dict(words.filter(image=image).select("word", "probability").iter_rows())


def _line(shares: dict[str, float], count: int) -> str:
    return ", ".join(f"{word} {100 * share:.1f} %" for word, share in list(shares.items())[:count])


def _draw(
    paths: Sequence[Path],
    words: Sequence[list[tuple[str, float, float]]],
    out: Path,
    title: str,
) -> None:
    from clipsteer.front.given import picture
    from clipsteer.report.steered_figure import Steered, steered_figure

    found = [
        Steered(path.name, picture(path), listed) for path, listed in zip(paths, words, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder, "steered.png")
        steered_figure(found, drawn, title)
        write_atomic(out, drawn.read_bytes())
    print(out)
