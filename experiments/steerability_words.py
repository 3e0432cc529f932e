"""Do the words fit? The features that steer most, and whether their own top images have what their word says.

    python experiments/steerability_words.py [--layer L ...]

Reads results/celeba_steerability.csv of a run of the embedded default and prints a table for docs/steerability.md: of
each layer the features of largest S_f whose concept the painter of faces knows and that fire on twelve validation
images or more, the share of their twelve images of largest activation that truly show it, and the share of all
validation images that do (chance).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch

import clipsteer
from clipsteer.front.runs import Run
from clipsteer.report.markdown import grid
from clipsteer.store.trees import StoreTree

FEATURES, TOP = 10, 12
Attributes = Mapping[str, np.ndarray]
# Words of the painter's captions -> which images have it, by CelebA's attributes.
KNOWN: dict[str, Callable[[Attributes], np.ndarray]] = {
    **dict.fromkeys(("man", "guy"), lambda a: a["Male"]),
    **dict.fromkeys(("woman", "lady"), lambda a: ~a["Male"]),
    **dict.fromkeys(("blond", "blonde", "fair"), lambda a: a["Blond_Hair"]),
    **dict.fromkeys(("black", "black-haired"), lambda a: a["Black_Hair"]),
    **dict.fromkeys(("brown", "brown-haired"), lambda a: a["Brown_Hair"]),
    **dict.fromkeys(("dark", "dark-haired"), lambda a: a["Black_Hair"] | a["Brown_Hair"]),
    **dict.fromkeys(("grey", "gray", "grey-haired"), lambda a: a["Gray_Hair"]),
    **dict.fromkeys(("glasses", "sunglasses"), lambda a: a["Eyeglasses"]),
    "hat": lambda a: a["Wearing_Hat"],
    "beard": lambda a: ~a["No_Beard"],
    "smiling": lambda a: a["Smiling"],
}
# They say nothing by themselves: all images are of a face.
EVERY = {"hair", "person", "face", "portrait"}


def attributes(run: Run) -> Attributes:
    """The painted table's attributes of the validation images (N,), in the order of their activations."""
    world = StoreTree(run.store, run._refs.member("celeba/world.json").outputs["world"].digest)
    lines = world.read("list_attr_celeba.txt").decode().splitlines()
    names = lines[1].split()
    rows = {cells[0]: cells[1:] for cells in map(str.split, lines[2:])}
    files = [Path(path).name for _, path, _ in run.images("celeba", "validation")]
    table = np.array([[value == "1" for value in rows[file]] for file in files])
    return dict(zip(names, table.T, strict=True))


def meant(concept: str, known: Attributes) -> np.ndarray | None:
    """Which images show a concept; None where the painter does not say."""
    words = [word for word in concept.split() if word not in EVERY]
    if not words or not all(word in KNOWN for word in words):
        return None
    return np.logical_and.reduce([KNOWN[word](known) for word in words])


def top_images(run: Run, dictionary: str, layer: int, feature: int) -> np.ndarray:
    """The validation images of the feature's largest activation on any token, as far as it fires."""
    placed = run.dictionary(dictionary, layer)
    x = run.activations("celeba", "validation", layer, placed.hook_point).torch()
    with torch.inference_mode():
        code = placed.dictionary.encode_columns(x.flatten(0, 1), torch.tensor([feature]))
    largest = code.reshape(x.shape[:2]).amax(dim=1).numpy()
    order = np.argsort(-largest, kind="stable")[:TOP]
    return order[largest[order] > 0]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--layer", type=int, nargs="*", help="layers (default: all measured)")
    given = parser.parse_args()
    run = clipsteer.open_run()
    known = attributes(run)
    table = run.table("celeba_steerability").filter(kind="features")
    body, hits, chances = [], [], []
    for layer, dictionary in table.select("layer", "dictionary").unique().sort("layer").rows():
        if given.layer is not None and layer not in given.layer:
            continue
        rows = table.filter(pl.col("layer") == layer, pl.col("dictionary") == dictionary)
        shown = silent = 0
        for row in rows.sort("s_paper", descending=True).iter_rows(named=True):
            truth = meant(row["concept"], known)
            if truth is None or shown == FEATURES:
                continue
            images = top_images(run, dictionary, layer, row["feature"])
            if len(images) < TOP:
                silent += 1
                continue
            shown += 1
            share = truth[images].mean()
            hits.append(share)
            chances.append(truth.mean())
            fires = f"{100 * row['frequency']:.0f} %"
            cells = [str(layer), dictionary, str(row["feature"]), f"{row['s_paper']:.2f}"]
            body.append(
                [
                    *cells,
                    row["concept"],
                    fires,
                    f"{100 * share:.0f} %",
                    f"{100 * truth.mean():.0f} %",
                ]
            )
        print(f"layer {layer}: {silent} fire on fewer than {TOP} images and are passed over")
    words = ("word", "fires", "top 12 that show it", "chance")
    head = ["layer", "dictionary", "feature", "S_f", *words]
    print(grid(head, body))
    print(f"\nmean {100 * np.mean(hits):.0f} %, chance {100 * np.mean(chances):.0f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
