"""Paints docs/images/worlds.jpg: some images of each group of the painted worlds, as a finished run left them.

Run from the project's root after a run of the embedded default: python experiments/worlds_sheet.py
"""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
from PIL import Image

from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import read_pointer
from clipsteer.store.trees import StoreTree
from clipsteer.tables import read_parquet

COLUMNS, SIZE, GAP = 10, 64, 2
OUT = Path("docs/images/worlds.jpg")


def output(dataset: str, step: str, name: str = "") -> str:
    """The digest of one output of a step that has a single action; without a name, that called as its pointer."""
    members = read_pointer(f"artifacts/refs/{dataset}/{step}.json").members
    return members["all"].outputs[name or step].digest


def rows(store: ObjectStore) -> list[list[bytes]]:
    """The images of each line: four groups of two worlds, two lines of the general set."""
    lines = []
    for dataset in ("celeba", "waterbirds", "general"):
        manifest = read_parquet(store.get_bytes(output(dataset, "manifest")))
        world, paths = StoreTree(store, output(dataset, "world")), list[list[str]]()
        if dataset == "general":
            sample = manifest.gather_every(manifest.height // (2 * COLUMNS))["path"].to_list()
            paths += [sample[:COLUMNS], sample[COLUMNS : 2 * COLUMNS]]
        else:
            for group in range(4):
                part = manifest.filter((pl.col("split") == "test") & (pl.col("group") == group))
                paths.append(part["path"].head(COLUMNS).to_list())
        lines += [[world.read(path) for path in line] for line in paths]
    return lines


def main() -> None:
    store = ObjectStore(Path("artifacts"))
    lines = rows(store)
    step = SIZE + GAP
    sheet = Image.new("RGB", (COLUMNS * step - GAP, len(lines) * step - GAP), "white")
    for y, line in enumerate(lines):
        for x, image in enumerate(line):
            sheet.paste(Image.open(io.BytesIO(image)), (x * step, y * step))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(OUT, quality=85)


if __name__ == "__main__":
    main()
