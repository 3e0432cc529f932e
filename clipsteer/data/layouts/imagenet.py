"""Class folders in ImageNet's manner, for general-purpose training.

- `train/<wnid>/*.JPEG`, and `val/<wnid>/*.JPEG` (`validation`, `test` alike) where there is one;
- ImageNet-100 as published: `train.X1` .. `train.X4`, `val.X` and `Labels.json`;
- a flat `val/*.JPEG` with a label file: CLS-LOC's `LOC_val_solution.csv` (ImageId,PredictionString),
  a text file of two columns, image and wnid, or one of wnids in the order of the images' names;
- tiny-imagenet: `train/<wnid>/images/*.JPEG`, `val/images/*.JPEG` and `val/val_annotations.txt`.

Any of them may lie deeper (`ILSVRC/Data/CLS-LOC/train/...`). Only training images are required.
The class key is the wnid, since ImageNet's names are not unique ("crane"); `class_names`
translates.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.data import files, labels
from clipsteer.data.forms import NAME_FILES, VAL_FILES
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FileTree

_IMAGE = rf"(?i)(^|/)[^./][^/]*{files.IMAGE_ENDING}"
_TABLE = r"(?i)\.(txt|csv|tsv|json|xml|md|mat|npy|parquet)$"
_WNID = r"^n\d{8}$"
_FOLDER = r"train(?:\.X\d+)?|val(?:\.X\d*)?|validation|test"
# From the last of several folders called so on (train/train/...); what lies above is no part of a name.
_CLASSED = (
    rf"(?i)^(?:.*?/)??(?:(?:{_FOLDER})/)*"
    rf"(?P<name>(?P<folder>{_FOLDER})/(?P<class>[^/]+)/(?P<inner>(?:.*/)?)(?P<file>[^/]+))$"
)
_FLAT = r"(?i)^(?:.*/)?(?P<name>(?:val|validation)/(?P<stem>[^/]+)\.[^./]+)$"
# Numbers of a numbering of its own, one a line.
_NUMBERS = "ILSVRC2012_validation_ground_truth.txt"


def read(
    tree: FileTree, *, val_labels: str | None = None, held_out: int | None = None
) -> pl.DataFrame:
    """Rows (path, split, target and spurious null, class = wnid, text).

    Order: train, validation, test; in each by wnid, then by file name, so that four merged train
    folders give the order of the published ones. (A class folder has no order of its own: an image
    that is added to one comes in the middle of its split.)

    Args:
        val_labels: path of the label file of a flat `val` folder, where it has another name than
            those of `VAL_FILES`.
        held_out: every so manieth image of each class of train is of validation, and what lies in val is of
            test: for data that choices are made on, such as ImageNet-100.

    A folder of val or test that is alone there and no class of train (`val/images` of
    tiny-imagenet) is flat as well. Flat images of val without a label file have the class "", with
    a warning; those of test are left out.

    Raises:
        ClipsteerError: there is no training image, none is left for validation, or a label file is malformed or lacks
            an image.
    """
    listing = files.listing_of(tree)
    images = pl.DataFrame({"path": listing}, schema={"path": pl.String()}).filter(
        pl.col("path").str.contains(_IMAGE)
    )
    classed = _classed(images)
    _warn_of_others(listing)
    if not (classed["split"] == "train").any():
        raise ClipsteerError(
            f"found no image under train/<class>/ among {len(listing)} files; expected class "
            "folders such as train/n01440764/ (or train.X1/n01440764/). "
            + (
                files.archive_hint(listing)
                or "Check that the data set's root points at the folder that holds train."
            )
        )
    nameless = _nameless(classed)
    classed = classed.join(nameless, on="path", how="anti", maintain_order="left")
    flat = pl.concat(
        [
            images.join(classed, on="path", how="anti", maintain_order="left")
            .select("path", pl.col("path").str.extract_groups(_FLAT).struct["stem"].alias("file"))
            .filter(pl.col("file").is_not_null()),
            nameless.filter(pl.col("split") == "validation").select(
                "path", pl.col("file").str.replace(r"\.[^.]+$", "")
            ),
        ]
    )
    untold = nameless.filter(pl.col("split") == "test")["path"]
    taken = pl.concat([classed["path"], flat["path"], untold])
    outside = images["path"].filter(~images["path"].is_in(taken.implode()))
    if len(outside):
        warnings.warn(
            f"{len(outside)} images lie in no class folder of train, val, validation or test and "
            f"are left out: {labels.few(outside)}",
            stacklevel=2,
        )
    if len(untold):
        warnings.warn(
            f"{files.folder_of(untold[0])}: {len(untold)} images of test have no class and are left "
            "out",
            stacklevel=2,
        )
    if flat.height:
        classed = pl.concat(
            [
                classed.select("path", "split", "class", "file"),
                _flat_rows(flat, tree, listing, val_labels),
            ]
        )
    elif val_labels is not None:
        raise ClipsteerError(
            f"option 'val_labels': found {val_labels!r}, but the data set has no flat folder val/ "
            "that it could label. Take the option out."
        )
    order = pl.col("split").replace_strict(
        {split: rank for rank, split in enumerate(labels.SPLITS)}, return_dtype=pl.Int8()
    )
    rows = classed.sort(order, "class", "file", "path").select(
        "path",
        "split",
        pl.lit(None, dtype=pl.Int8()).alias("target"),
        pl.lit(None, dtype=pl.Int8()).alias("spurious"),
        "class",
        pl.lit("").alias("text"),
    )
    if held_out is not None:
        rows = _holding_out(rows, held_out)
    return files.fill_text(rows, tree, listing)


def _holding_out(rows: pl.DataFrame, every: int) -> pl.DataFrame:
    """Validation from the training images, and the test split from what was validation."""
    taken = (pl.int_range(pl.len()).over("split", "class") % every) == every - 1
    if rows.filter(taken & (pl.col("split") == "train")).is_empty():
        raise ClipsteerError(
            f"option 'held_out': found {every}, but no class has as many training images, so none would be of "
            "validation. Set it lower."
        )
    split = (
        pl.when(pl.col("split") == "validation")
        .then(pl.lit("test"))
        .when((pl.col("split") == "train") & taken)
        .then(pl.lit("validation"))
        .otherwise(pl.col("split"))
    )
    return rows.with_columns(split.alias("split"))


def _warn_of_others(listing: Sequence[str]) -> None:
    """Say which files of class folders are no images that are read, tables and notes aside."""
    others = pl.Series(listing, dtype=pl.String)
    others = others.filter(~(others.str.contains(_IMAGE) | others.str.contains(_TABLE)))
    others = others.filter(others.str.contains(_CLASSED))
    if len(others):
        warnings.warn(
            f"{files.folder_of(others[0])}: {len(others)} files of class folders are not read as images and "
            f"are left out: {labels.few(others)}; expected .jpg, .png, .webp, .bmp, .gif, .tif, .avif or .ppm",
            stacklevel=3,
        )


def canonical(paths: pl.Series, listing: Sequence[str], options: Mapping[str, Any]) -> pl.Series:
    """The paths from train, val or test on, however deep they lie."""
    classed, flat = (
        paths.str.extract_groups(pattern).struct.field("name") for pattern in (_CLASSED, _FLAT)
    )
    return classed.fill_null(flat)


def _classed(images: pl.DataFrame) -> pl.DataFrame:
    """Columns path, split, class, file of the images that lie in class folders."""
    parts = (
        images.select("path", pl.col("path").str.extract_groups(_CLASSED).alias("parts"))
        .unnest("parts")
        .filter(pl.col("folder").is_not_null())
        .with_columns(
            pl.when(pl.col("folder").str.contains("(?i)^train"))
            .then(pl.lit("train"))
            .when(pl.col("folder").str.to_lowercase() == "test")
            .then(pl.lit("test"))
            .otherwise(pl.lit("validation"))
            .alias("split"),
            pl.col("inner").str.extract(r"^([^/]+)/").alias("below"),
        )
    )
    # A single folder that holds the class folders (train/ILSVRC2012_img_train/n01440764/) is no class.
    alone = (pl.col("class").n_unique() == 1) & ~pl.col("class").first().str.contains(_WNID)
    holds = (pl.col("below").n_unique() > 1) & pl.col("below").is_not_null().all()
    return parts.select(
        "path",
        "split",
        pl.when((alone & holds).over("split"))
        .then(pl.col("below"))
        .otherwise(pl.col("class"))
        .alias("class"),
        "file",
    )


def _nameless(classed: pl.DataFrame) -> pl.DataFrame:
    """The rows of val and of test whose only folder is no class of train, but a name for all."""
    train = classed.filter(pl.col("split") == "train")["class"].unique()
    strange = ~pl.col("class").is_in(train.implode()) & ~pl.col("class").str.contains(_WNID)
    alone = (pl.col("class").n_unique() == 1).over("split")
    return classed.filter((pl.col("split") != "train") & strange & alone)


def class_names(tree: FileTree) -> dict[str, str]:
    """wnid -> "name, synonym, ..." from Labels.json or LOC_synset_mapping.txt; empty without one.

    Names are not unique. Raises ClipsteerError where the file is malformed.
    """
    file = files.find_file(tree.paths(), NAME_FILES)
    if file is None:
        return {}
    text = labels.decode_text(tree.read(file), file)
    if file.endswith(".json"):
        try:
            names = json.loads(text)
        except ValueError as fault:
            raise ClipsteerError(f"{file}: not JSON ({fault}); expected {{wnid: name}}.") from None
        if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
            raise ClipsteerError(f"{file}: expected a JSON object of the form {{wnid: name}}.")
        return names
    lines = (line.strip().partition(" ") for line in text.splitlines())
    return {wnid: name.strip() for wnid, _, name in lines if wnid}


def _flat_rows(
    flat: pl.DataFrame, tree: FileTree, listing: Sequence[str], val_labels: str | None
) -> pl.DataFrame:
    """Columns path, split, class, file for the images of a flat val folder."""
    if val_labels is not None and val_labels not in set(listing):
        raise ClipsteerError(
            f"option 'val_labels': found no file {val_labels!r} under the data set's root; "
            "expected the path of a label file there."
        )
    label_file = val_labels or files.find_file(listing, VAL_FILES)
    folder = files.folder_of(flat["path"][0])
    if label_file is None:
        numbers = files.find_file(listing, (_NUMBERS,))
        warnings.warn(
            f"{flat['path'][0]}: {flat.height} images lie flat in "
            f"{folder[folder.lower().find('val') :]} and no label file is there "
            f"({', '.join(VAL_FILES)}); they have no class"
            + (f" ({numbers} has numbers, not wnids)" if numbers else ""),
            stacklevel=3,
        )
        known = flat.select("path", "file", pl.lit("").alias("class"))
    else:
        table = _read_flat_labels(tree.read(label_file), label_file, flat["file"])
        warnings.warn(
            f"{folder}: the classes of {flat.height} images are those of {label_file}",
            stacklevel=3,
        )
        known = flat.join(table, on="file", how="left", maintain_order="left")
        lacking = known.filter(pl.col("class").is_null())["path"]
        if len(lacking):
            raise ClipsteerError(
                f"{label_file}: found no class for {len(lacking)} of {flat.height} images: "
                f"{labels.few(lacking)}; expected a row for each image of the flat val folder."
            )
    return known.select("path", pl.lit("validation").alias("split"), "class", "file")


def _read_flat_labels(data: bytes, file: str, stems: pl.Series) -> pl.DataFrame:
    """Columns file (the image's name without its ending) and class.

    `stems`: the images there, for a list of wnids alone, in the order of the names.
    """
    if file.endswith(".csv"):
        table = labels.read_table(data, file)
    else:
        # Only the first two words count: val_annotations.txt goes on with a bounding box.
        body = labels.squeeze_blanks(labels.decode_text(data, file).encode())
        words = len(body.partition(b"\n")[0].split(b" "))
        header = " ".join(f"column{i}" for i in range(words)).encode()
        table = labels.read_table(header + b"\n" + body + b"\n", file, separator=" ")
    only = table.to_series(0)
    if table.width == 1 and len(only) == len(stems) and only.str.contains(_WNID).all():
        return pl.DataFrame({"file": stems.sort(), "class": only})
    if table.width < 2:
        raise ClipsteerError(
            f"{file}: found one column; expected two, the image and its wnid "
            "(ImageId,PredictionString in CLS-LOC's form)."
        )
    first, second = table.columns[:2]
    result = table.select(
        pl.col(first).str.replace(r"^.*/", "").str.replace(r"\.[A-Za-z]+$", "").alias("file"),
        # A CLS-LOC prediction string goes on with the bounding box.
        pl.col(second).str.extract(r"^(\S+)", 1).alias("class"),
    )
    if result["class"].str.contains(r"^\d+$").any():
        raise ClipsteerError(
            f"{file}: found class numbers; expected wnids such as n01440764, since several "
            "numberings of ImageNet's classes are in use. Translate the numbers to wnids."
        )
    labels.check_unique(result["file"], file)
    return result
