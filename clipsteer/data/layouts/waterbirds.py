"""Waterbirds' layout: `metadata.csv` and class folders of images beside it.

Columns of the official file: img_id, img_filename, y, split, place, place_filename; `y` 1 is a
waterbird, `place` 1 is water, `split` 0, 1, 2 are train, validation and test.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from clipsteer.data import labels
from clipsteer.store.trees import FileTree

LABEL_PATTERNS: tuple[str, ...] = ("**/metadata.csv", labels.CAPTIONS_PATTERN)
"""Globs, relative to the root, of the files whose content is labels."""

OPTIONS: dict[str, object] = {
    "class_names": ("landbird", "waterbird"),
    "missing_images": "error",
}


def read(
    tree: FileTree,
    *,
    class_names: Sequence[str] = ("landbird", "waterbird"),
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
    listing = tree.paths()
    names = labels.class_pair(class_names)
    file = labels.need_file(listing, ("metadata.csv",), "Waterbirds' table beside its images")
    table = labels.read_table(tree.read(file), file)
    labels.need_columns(table, ("img_filename", "y", "split", "place"), file)
    images = table["img_filename"]
    labels.check_paths(images, file)
    labels.check_unique(images, file)
    y = labels.binary(table["y"], file, images)
    rows = pl.DataFrame(
        {
            "path": labels.folder_of(file) + images,
            "split": labels.map_values(
                table["split"], labels.SPLIT_NUMBERS, pl.String(), file, images
            ),
            "target": y,
            "spurious": labels.binary(table["place"], file, images),
            "class": y.replace_strict(dict(enumerate(names)), return_dtype=pl.String()),
            "text": pl.repeat("", len(images), eager=True),
        },
        schema=labels.ROW_SCHEMA,
    )
    rows = labels.keep_existing(rows, listing, file, missing_images)
    return labels.fill_text(rows, tree, listing)
