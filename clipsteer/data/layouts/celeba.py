"""CelebA's layout: an attribute table, a partition table and one folder of images.

`img_align_celeba/000001.jpg` (also nested once more), `list_attr_celeba.txt` and
`list_eval_partition.txt`, or the same two as CSV. The text form is split on any white space: its
header ends in a blank, its values are padded to width two, and some copies have CRLF.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.data import files, labels
from clipsteer.data.forms import (
    NAMES,
    SPURIOUS,
    TARGET,
    attribute_fault,
    attribute_names,
)
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FileTree

_IMAGES = "img_align_celeba"


def read(
    tree: FileTree,
    *,
    target: str = TARGET,
    spurious: str = SPURIOUS,
    class_names: Sequence[str] | None = None,
    missing_images: str = "error",
) -> pl.DataFrame:
    """Rows (path, split, target, spurious, class, text) in the order of the partition file.

    Args:
        target: the attribute to be classified.
        spurious: the attribute that goes with it by chance.
        class_names: of target 0 and 1; by default `woman` and `man` for `Male`, otherwise
            `not <attribute>` and `<attribute>` in words.
        missing_images: `error` or `drop`, for images that are listed but not there.

    Partial copies: a count line that disagrees with the rows, and images that only one of the two
    tables lists, give a warning; images in both tables count.

    Raises:
        ClipsteerError: a file is missing or malformed, an attribute is unknown, a value is neither
            -1, 0 nor 1, or an image is absent.
    """
    listing = files.listing_of(tree)
    if target == spurious:
        raise ClipsteerError(
            f"options 'target' and 'spurious': found {target!r} for both; expected two attributes."
        )
    names = labels.class_list(_default_names(target) if class_names is None else class_names)
    wanted = {"target": target, "spurious": spurious}
    rows = _rows(tree, listing, wanted, missing_images).select(
        "path",
        "split",
        "target",
        "spurious",
        pl.when(pl.col("target") == 1)
        .then(pl.lit(names[1]))
        .otherwise(pl.lit(names[0]))
        .alias("class"),
        pl.lit("").alias("text"),
    )
    return files.fill_text(rows, tree, listing)


def attributes(
    tree: FileTree, names: Sequence[str], *, missing_images: str = "error", **other_options: object
) -> pl.DataFrame:
    """Columns path, as `read` has it, and an Int8 column of 0 and 1 for each of these attributes.

    Raises ClipsteerError as `read` does.
    """
    listing = files.listing_of(tree)
    return _rows(tree, listing, {name: name for name in names}, missing_images).drop("split")


def _rows(
    tree: FileTree, listing: Sequence[str], wanted: Mapping[str, str], missing_images: str
) -> pl.DataFrame:
    """Columns path, split, and for each column that is wanted its attribute."""
    attributes_file = _label_file(listing, "list_attr_celeba")
    partition_file = _label_file(listing, "list_eval_partition")
    found = _read_attributes(tree.read(attributes_file), attributes_file, wanted)
    partition = _read_partition(tree.read(partition_file), partition_file)
    rows = _join(partition, found, partition_file, attributes_file)
    folder = _image_folder(listing, files.folder_of(attributes_file))
    rows = rows.select((pl.lit(folder) + pl.col("image")).alias("path"), "split", *wanted)
    files.check_paths(rows["path"], partition_file)
    return files.keep_existing(rows, listing, partition_file, missing_images)


def canonical(paths: pl.Series, listing: Sequence[str], options: Mapping[str, Any]) -> pl.Series:
    """The paths from `img_align_celeba/` on, however deep it lies."""
    return paths.str.replace(rf"(?i)^.*/({_IMAGES}/)", "$1")


def _default_names(target: str) -> tuple[str, ...]:
    if target == TARGET:
        return NAMES["celeba"]["class_names"]
    words = target.replace("_", " ").lower()
    return f"not {words}", words


def _label_file(listing: Sequence[str], stem: str) -> str:
    expected = "CelebA's tables beside its images"
    return files.need_file(listing, (f"{stem}.txt", f"{stem}.csv"), expected)


def _text_table(data: bytes, file: str) -> tuple[int | None, bytes]:
    """Count line (None without one) and the table with a full header, one blank between fields."""
    body = labels.squeeze_blanks(labels.decode_text(data, file).encode())
    first, _, rest = body.partition(b"\n")
    count = None
    if first.isdigit():
        count, body = int(first), rest
    header, _, rest = body.partition(b"\n")
    # The official header names the attributes only; without the check a row that lacks one value
    # throughout would be read one column off.
    if not header.lower().startswith(b"image_id "):
        header = b"image_id " + header
    return count, header + b"\n" + rest + b"\n"


def _read_attributes(data: bytes, file: str, wanted: Mapping[str, str]) -> pl.DataFrame:
    """Columns image (String), and for each wanted name an Int8 column of 0 and 1."""
    count: int | None = None
    separator = None
    if file.endswith(".txt"):
        separator = " "
        count, data = _text_table(data, file)
    text = labels.decode_text(data.lstrip().partition(b"\n")[0], file)
    known = attribute_names(text, blanks=separator is not None)
    for column, name in wanted.items():
        option = "unconcerned" if column == name else column
        if fault := attribute_fault(file, option, name, known):
            raise ClipsteerError(fault)
    table = labels.read_table(data, file, separator=separator)
    images = table.to_series(0).alias("image")
    # Fields that a row lacks are null; the last one tells.
    short = images.is_null() | table.to_series(-1).is_null()
    if short.any():
        where = short.arg_true()[0]
        raise ClipsteerError(
            f"{file}: the row of {images[where]!r} (row {where + 1}) has too few values; expected "
            f"{len(known)}. The file may have been cut off: fetch it again or take the row out."
        )
    if count is not None and count != table.height:
        warnings.warn(
            f"{file}: the first line promises {count} rows, {table.height} are there", stacklevel=3
        )
    labels.check_unique(images, file)
    columns = [
        labels.binary(
            table.to_series(1 + known.index(name)).alias(name), file, images, minus=True
        ).alias(column)
        for column, name in wanted.items()
    ]
    return pl.DataFrame([images, *columns])


def _read_partition(data: bytes, file: str) -> pl.DataFrame:
    """Columns image and split, in the file's order."""
    if file.endswith(".txt"):
        body = labels.squeeze_blanks(labels.decode_text(data, file).encode())
        table = labels.read_table(b"image_id partition\n" + body + b"\n", file, separator=" ")
    else:
        table = labels.read_table(data, file)
    if table.width != 2:
        raise ClipsteerError(
            f"{file}: found {table.width} columns; expected two, the image and its partition."
        )
    images = table.to_series(0).alias("image")
    if images.is_null().any():
        raise ClipsteerError(
            f"{file}: row {images.is_null().arg_true()[0] + 1} names no image; expected "
            "'000001.jpg 0'."
        )
    labels.check_unique(images, file)
    split = labels.splits(table.to_series(1), file, images).alias("split")
    return pl.DataFrame([images, split])


def _join(
    partition: pl.DataFrame, attributes: pl.DataFrame, partition_file: str, attributes_file: str
) -> pl.DataFrame:
    rows = partition.join(attributes, on="image", how="inner", maintain_order="left")
    if rows.is_empty():
        raise ClipsteerError(
            f"{partition_file} and {attributes_file} have no image in common (the first is "
            f"{partition['image'].first()!r} in one and {attributes['image'].first()!r} in the "
            "other); expected the same file names in both."
        )
    for have, want, file in (
        (partition, attributes, attributes_file),
        (attributes, partition, partition_file),
    ):
        only = have.join(want, on="image", how="anti", maintain_order="left")["image"]
        if len(only):
            warnings.warn(
                f"{file}: {len(only)} images of the other table are not listed here and are left "
                f"out: {labels.few(only)}",
                stacklevel=3,
            )
    return rows


def _image_folder(listing: Sequence[str], beside: str) -> str:
    """The folder (with its slash) that holds the images; the fullest where several are called so.

    Without one, the folder of the attribute file, so that the message on missing images names it.
    """
    folders = Counter(files.folder_of(path) for path in listing)
    named = [f for f in folders if f"/{f}".lower().endswith(f"/{_IMAGES}/")]
    if not named:
        return f"{beside}{_IMAGES}/"
    return min(named, key=lambda folder: (-folders[folder], len(folder), folder))
