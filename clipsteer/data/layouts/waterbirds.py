"""Waterbirds' layout: `metadata.csv` and class folders of images beside it.

Columns of the official file: img_id, img_filename, y, split, place, place_filename; `y` 1 is a
waterbird, `place` 1 is water, `split` 0, 1, 2 are train, validation and test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.data import files, labels
from clipsteer.data.forms import NAMES
from clipsteer.store.trees import FileTree

_COLUMNS = ("img_filename", "y", "split", "place")


def read(
    tree: FileTree,
    *,
    class_names: Sequence[str] = NAMES["waterbirds"]["class_names"],
    missing_images: str = "error",
) -> pl.DataFrame:
    """Rows (path, split, target = y, spurious = place, class, text) in the order of metadata.csv.

    Args:
        tree: the folder that holds metadata.csv, or one above it.
        class_names: of y = 0 and y = 1.
        missing_images: `error` or `drop`, for images that are listed but not there.

    Raises:
        ClipsteerError: metadata.csv is missing or malformed, a path leaves its folder, a value is
            unknown, or an image is absent.
    """
    listing = files.listing_of(tree)
    names = labels.class_list(class_names)
    file = _table(listing)
    table = labels.read_table(tree.read(file), file)
    table = labels.known_columns(table, _COLUMNS, file, needed=_COLUMNS)
    images = table["img_filename"]
    files.check_paths(images, file)
    labels.check_unique(images, file)
    y = labels.binary(table["y"], file, images)
    rows = pl.DataFrame(
        {
            "path": files.folder_of(file) + images,
            "split": labels.splits(table["split"], file, images),
            "target": y,
            "spurious": labels.binary(table["place"], file, images),
            "class": y.replace_strict(dict(enumerate(names)), return_dtype=pl.String()),
            "text": pl.repeat("", len(images), eager=True),
        },
        schema=labels.ROW_SCHEMA,
    )
    rows = files.keep_existing(rows, listing, file, missing_images)
    return files.fill_text(rows, tree, listing)


def canonical(paths: pl.Series, listing: Sequence[str], options: Mapping[str, Any]) -> pl.Series:
    """The paths from the folder of metadata.csv on."""
    return paths.str.strip_prefix(files.folder_of(_table(listing)))


def _table(listing: Sequence[str]) -> str:
    return files.need_file(listing, ("metadata.csv",), "Waterbirds' table beside its images")
