"""People's own data: a folder of images and a manifest, CSV or Parquet, that lists them.

Columns `path` (relative to the manifest's folder) and `split` (train, validation, test; `val` and
0, 1, 2 are understood); optional `target` and `spurious` (0 or 1), `class` and `text`. Others are
ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from clipsteer.data import labels
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lookalikes import check_content
from clipsteer.store.trees import FileTree
from clipsteer.tables import read_parquet

LABEL_PATTERNS: tuple[str, ...] = ("**/*.csv", "**/*.parquet")
"""Globs, relative to the root, of the files whose content is labels."""

OPTIONS: dict[str, object] = {"manifest": None, "class_names": None, "missing_images": "error"}

_NAMES = ("manifest.csv", "manifest.parquet")
_SPLITS = {
    **labels.SPLIT_NUMBERS,
    **{name: name for name in labels.SPLITS},
    "val": "validation",
    "valid": "validation",
}


def read(
    tree: FileTree,
    *,
    manifest: str | None = None,
    class_names: Sequence[str] | None = None,
    missing_images: str = "error",
) -> pl.DataFrame:
    """Rows (path, split, target, spurious, class, text) in the manifest's order.

    Args:
        manifest: path of the manifest below the root; by default `manifest.csv` or
            `manifest.parquet`.
        class_names: of target 0 and 1, where the manifest has no `class` column.
        missing_images: `error` or `drop`, for images that are listed but not there.

    Raises:
        ClipsteerError: the manifest is missing or malformed, a row's path is absolute or has `..`,
            a label is not 0 or 1, a split is unknown, or an image is absent.
    """
    listing = tree.paths()
    file = _manifest_file(listing, manifest)
    table = _read(tree.read(file), file)
    labels.need_columns(table, ("path", "split"), file)
    images = table["path"].str.strip_prefix("./")
    labels.check_paths(images, file)
    labels.check_unique(images, file)
    split = table["split"].str.to_lowercase()
    columns = {
        "path": labels.folder_of(file) + images,
        "split": labels.map_values(split, _SPLITS, pl.String(), file, images),
    }
    empty = pl.repeat(None, table.height, dtype=pl.String(), eager=True)
    for name in ("target", "spurious"):
        # A column without a single value is no column: a table exported with empty label columns.
        given = name in table.columns and not table[name].is_null().all()
        columns[name] = labels.binary(table[name], file, images) if given else empty.cast(pl.Int8())
    columns["class"] = table["class"] if "class" in table.columns else empty
    if class_names is not None and "class" not in table.columns:
        names = labels.class_pair(class_names)
        columns["class"] = columns["target"].replace_strict(
            dict(enumerate(names)), default=None, return_dtype=pl.String()
        )
    columns["text"] = table["text"] if "text" in table.columns else empty
    rows = pl.DataFrame(columns, schema=labels.ROW_SCHEMA).with_columns(
        pl.col("class").fill_null(""), pl.col("text").fill_null("")
    )
    rows = labels.keep_existing(rows, listing, file, missing_images)
    return labels.fill_text(rows, tree, listing)


def _manifest_file(listing: Sequence[str], manifest: str | None) -> str:
    if manifest is None:
        expected = "a table with the columns path and split"
        return labels.need_file(listing, _NAMES, expected)
    if manifest not in set(listing):
        tables = [path for path in listing if path.endswith((".csv", ".parquet"))]
        raise ClipsteerError(
            f"option 'manifest': found no file {manifest!r} under the data set's root; expected "
            f"the path of a .csv or .parquet file there.{close_match(manifest, tables)}"
        )
    return manifest


def _read(data: bytes, file: str) -> pl.DataFrame:
    """The table with every column that we use as String, blank as null."""
    if not file.endswith(".parquet"):
        return labels.read_table(data, file)
    check_content(data, file)
    try:
        table = read_parquet(data)
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise ClipsteerError(
            f"{file}: not a Parquet file that can be read ({str(fault).splitlines()[0]}); expected "
            "a table with the columns path and split."
        ) from None
    used = [name for name in labels.ROW_SCHEMA if name in table.columns]
    try:
        return table.select(_as_string(table[name]) for name in used)
    except pl.exceptions.PolarsError:
        types = ", ".join(f"{name} {table.schema[name]}" for name in used)
        raise ClipsteerError(
            f"{file}: found the column types {types}; expected text and whole numbers."
        ) from None


def _as_string(column: pl.Series) -> pl.Series:
    """Booleans become 0 and 1; whether a value is a label is left to the checks."""
    if column.dtype == pl.Boolean():
        column = column.cast(pl.Int8())
    return column.cast(pl.String()).str.strip_chars()
