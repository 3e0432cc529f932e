"""The page of features at the paper's size: its bytes, the pass behind it, and how soon a browser can use it.

    python -m benchmarks.explorer [--quick] [--json FILE]

The page has 12 layers, 5 dictionaries, 120 features of each, 24 images of each feature with 7 x 7 patches, out of
5,000 pictures of 112 pixels, and 24 images with a view of their own and 16 features in it at every place. All of it is
made up; pictures are smooth scenes with grain, in bytes like photographs. Interactive: from the navigation's start to
the end of the page's load event, when list and feature stand there, in Debian's Chromium from the disk, the median of
some loads in contexts of their own; beside it the processor time of the page's own thread, which other work on the
machine hardly changes. Memory: of a pass over shards of activations (50 tokens of 768) through a Top-K
dictionary, m = 6,144, the highest resident size above that before, the dictionary (38 MB) included, each in a process
of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image

from benchmarks.growth import reader_of, spent, store_values
from benchmarks.lines import CPU, Line, answer, new_file, show, write_json
from clipsteer.dictionaries.topk import TopK
from clipsteer.report.explorer import Images, Place, feature_page
from clipsteer.report.thumbnails import thumbnail
from clipsteer.steering.directions_beside import SCHEMA
from clipsteer.steering.image_views import PER_TOKEN
from clipsteer.steering.top_images import Numbers, top_images
from tests.report.pages import ABOUT, CLASSES, place, view

LAYERS, DICTIONARIES, FEATURES = 12, 5, 120
GRID, TOKENS, WIDTH = (7, 7), 50, 768
NUMBERS = Numbers(top=12, quantiles=3, per_quantile=2, random=6)
VIEWED, IN_A_VIEW = 24, 16  # explorer.views.features, and as many of those selected
MANY, DISTINCT = 5000, 500  # features and pictures; how many of these differ
M, K = 6144, 64
ABOUT_ALL = ABOUT._replace(grid=GRID, numbers=NUMBERS, class_names=CLASSES)


def pictures() -> dict[int, bytes]:
    """Thumbnails (112 pixels) of smooth random scenes with grain, each of them several times."""
    rng, made = np.random.default_rng(0), list[bytes]()
    for _ in range(DISTINCT):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        scene = np.asarray(coarse.resize((112, 112), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 13, scene.shape, dtype=np.int16)
        made.append(thumbnail(np.clip(scene + grain, 0, 255).astype(np.uint8), 112))
    return {number: made[number % DISTINCT] for number in range(MANY)}


def views(at: int) -> list[dict[str, Any]]:
    """Of each image that has a view of its own, at one place."""
    rng = np.random.default_rng([1, at])
    strongest = rng.exponential(3.0, (VIEWED, TOKENS, PER_TOKEN)).tolist()
    return [
        view(VIEWED * at + n, True, grid=GRID, more=range(1000, 998 + IN_A_VIEW))
        | {"tokens": [[(1000 + j, x) for j, x in enumerate(token)] for token in strongest[n]]}
        for n in range(VIEWED)
    ]


def beside(features: Sequence[int], others: Sequence[str]) -> pl.DataFrame:
    """Of each feature the nearest directions in each other dictionary of the layer."""
    rows = [(j, other, [7, 8, 9], [0.512, 0.256, 0.128]) for j in features for other in others]
    schema = {name: kind for name, kind in SCHEMA.items() if name != "dictionary"}
    return pl.DataFrame(rows, schema=schema, orient="row")


def places(dictionaries: int, features: int, layers: int) -> list[Place]:
    """Made-up places; the last of a place's features, beyond those counted, never fires."""
    names = [f"dictionary_{number}" for number in range(dictionaries)]
    found = list[Place]()
    for layer in range(layers):
        for number, name in enumerate(names):
            numbered = list(range(features + 1))
            made = place(name, layer, numbered, number, numbers=NUMBERS, grid=GRID, n_images=MANY)
            near = beside(numbered, [other for other in names if other != name])
            found.append(made._replace(views=views(len(found)), beside=near))
    return found


def images(made: dict[int, bytes]) -> Images:
    """The split, with a pair of each image that has a view."""
    return Images(
        split="validation",
        painted=False,
        files=[f"faces/{number:06d}.jpg" for number in range(MANY)],
        groups=[number % 4 for number in range(MANY)],
        pictures=made,
        targets=[number % 2 for number in range(MANY)],
        viewed=range(VIEWED),
        pairs={number: made[MANY - 1 - number] for number in range(VIEWED)},
    )


# --- in the browser -------------------------------------------------------------------------------


def loads(address: str, rounds: int) -> list[tuple[float, float]]:
    """(seconds until the page can be used, processor seconds of its thread by then), each in a context of its own.

    One load comes before those that count. Raises LookupError where there is no browser, or nothing that drives it.
    """
    path = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        raise LookupError("no chromium and playwright here (make test-browser installs them)")
    found = []
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(rounds + 1):
            context = browser.new_context()
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.goto(address)
            metrics = session.send("Performance.getMetrics")["metrics"]
            if (
                not page.locator("#rows a").count()
                or not page.locator("#detail-title").inner_text()
            ):
                raise RuntimeError(f"{address}: the page shows neither a list nor a feature")
            spent = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
            thread = next(one["value"] for one in metrics if one["name"] == "ThreadTime")
            found.append((spent / 1000, thread))
            context.close()
        browser.close()
    return found[1:]


# --- the pass ------------------------------------------------------------------------------------


def dictionary() -> TopK:
    """Random unit rows."""
    made = torch.randn(M, WIDTH, generator=torch.Generator().manual_seed(0))
    rows = torch.nn.functional.normalize(made, dim=1)
    return TopK(rows.t().contiguous(), torch.zeros(M), rows, torch.zeros(WIDTH), k=K)


def store(folder: Path, count: int) -> None:
    """Made-up activations of so many images, in a process of its own."""
    torch.set_num_threads(1)
    store_values(folder, count, TOKENS, WIDTH)


def passed(folder: Path, count: int, features: int) -> tuple[float, float]:
    """Processor seconds and MiB of the pass over so many images for so many features."""

    def work() -> None:
        groups, reader = np.arange(count) % 4, reader_of(folder, count)
        top_images(dictionary(), reader, np.arange(features), groups, 4, numbers=NUMBERS, seed=0)

    return spent(work)


def memory(pool: Pool, count: int) -> dict[str, tuple[float, float]]:
    """`passed` at 1 x, and at 4 x the images and the features."""
    found = {}
    for name, images, features in (
        ("1 x", count, FEATURES),
        ("images", 4 * count, FEATURES),
        ("features", count, 4 * FEATURES),
    ):
        with tempfile.TemporaryDirectory() as folder:
            pool.apply(store, (Path(folder), images))
            found[name] = pool.apply(passed, (Path(folder), images, features))
    return found


def large(seconds: float, beside: str) -> Line:
    """How soon the page of all places can be used, for which there is no target."""
    return Line("the page of all places", seconds, beside, None, "s")


def lines_of(found: dict[str, Any]) -> list[Line]:
    """One line a claim, and one for the page of all places."""
    once = found["memory"]["1 x"]
    words = f"the larger of {{}}; {once[1]:.0f} MiB at 1 x, {once[0]:.1f} s of processor"
    more = {name: found["memory"][name][1] / once[1] for name in ("images", "features")}
    ratios = " and ".join(f"{ratio:.2f} x by {name}" for name, ratio in more.items())
    size, written = found["bytes"] / 1e6, found["seconds"]
    lines = [
        answer(
            "explorer/size",
            size,
            f"{LAYERS * DICTIONARIES * FEATURES:,} features; {written:.1f} s of processor",
        ),
        answer("explorer/memory", max(more.values()), words.format(ratios)),
    ]
    if loaded := found["loads"]:
        for name, line in (("many", partial(answer, "explorer/interactive")), ("large", large)):
            seconds, processor = zip(*loaded[name], strict=True)
            spread = f"{min(seconds):.2f} to {max(seconds):.2f} s"
            beside = f"{spread}; {statistics.median(processor):.2f} s of its thread"
            lines.append(line(statistics.median(seconds), beside))
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and loads")
    parser.add_argument(
        "--json", type=new_file, metavar="FILE", help="also write the numbers there"
    )
    given = parser.parse_args(arguments)
    count, rounds = (128, 1) if given.quick else (512, 5)
    found: dict[str, Any] = {}
    failures: dict[str, str] = {}
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        found["memory"] = memory(pool, count)
    made = images(pictures())
    with tempfile.TemporaryDirectory() as scratch:
        pages = {name: Path(scratch) / f"{name}.html" for name in ("many", "large")}
        shown = places(DICTIONARIES, FEATURES, LAYERS)
        begin = CPU()
        pages["large"].write_text(feature_page(shown, made, ABOUT_ALL, 1000), encoding="utf-8")
        found |= {"seconds": CPU() - begin, "bytes": pages["large"].stat().st_size}
        shown = places(1, MANY // LAYERS + 1, LAYERS)
        pages["many"].write_text(feature_page(shown, made, ABOUT_ALL, 1000), encoding="utf-8")
        try:
            found["loads"] = {name: loads(page.as_uri(), rounds) for name, page in pages.items()}
        except LookupError as error:
            found["loads"] = {}
            failures["explorer/interactive"] = str(error)
    lines = lines_of(found)
    show(lines)
    write_json(given.json, lines, failures, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
