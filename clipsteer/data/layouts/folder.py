"""People's own data: a folder of images and a manifest, CSV, TSV or Parquet, that lists them.

Columns `path` (relative to the manifest's folder) and `split` (train, validation, test; `val` and
0, 1, 2 are understood); optional `target` and `spurious` (numbers from 0 on, false and true, or names), `class`,
`text` and `pair` (the path of another row, whose image differs in the spurious attribute alone). Names of `target` are
those of `class_names`, case aside, and numbered in that order; without `class_names`, and for `spurious`, by the
alphabet. Other columns are ignored, but for attributes that `unconcerned` names, and so is the case of names. A CSV's
fields may be separated by , ; tab or |.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from clipsteer.data import files, labels
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lookalikes import check_content
from clipsteer.store.clutter import in_clutter
from clipsteer.store.trees import FileTree, FolderTree
from clipsteer.tables import read_parquet

_NAMES = ("manifest.csv", "manifest.parquet")
_TABLES = (".csv", ".tsv", ".parquet")


def read(
    tree: FileTree,
    *,
    manifest: str | None = None,
    class_names: Sequence[str] | None = None,
    missing_images: str = "error",
) -> pl.DataFrame:
    """Rows (path, split, target, spurious, class, text; pair, where the manifest has any) in the manifest's order.

    The pair of an image that is left out is none.

    Args:
        manifest: path of the manifest below the root; by default `manifest.csv` or
            `manifest.parquet`.
        class_names: of target 0, 1, ..., where the manifest has no `class` column; where it has one,
            they may not be in another order.
        missing_images: `error` or `drop`, for images that are listed but not there.

    Raises:
        ClipsteerError: the manifest is missing or malformed, a row's path is absolute or has `..`,
            a label is neither a number nor a name, a split is unknown, or an image is absent.
    """
    listing = files.listing_of(tree)
    file = _manifest_file(tree, listing, manifest)
    table, images = _read(tree, file)
    columns = {
        "path": files.folder_of(file) + images,
        "split": labels.splits(table["split"], file, images),
    }
    empty = pl.repeat(None, table.height, dtype=pl.String(), eager=True)
    names = () if class_names is None else labels.class_list(class_names, None)
    for name, known in (("target", names), ("spurious", ())):
        # A column without a single value is no column: a table exported with empty label columns.
        given = name in table.columns and not table[name].is_null().all()
        columns[name] = (
            labels.categories(table[name], file, images, known) if given else empty.cast(pl.Int8())
        )
    highest = columns["target"].max()
    if names and isinstance(highest, int) and highest >= len(names):
        raise ClipsteerError(
            f"{file}: found the target {highest}, but class_names has {len(names)} names; expected one for each "
            "target from 0 on."
        )
    columns["class"] = table["class"] if "class" in table.columns else empty
    if names and "class" not in table.columns:
        columns["class"] = columns["target"].replace_strict(
            dict(enumerate(names)), default=None, return_dtype=pl.String()
        )
    elif names:
        _check_names(columns["target"], columns["class"], names, file)
    columns["text"] = table["text"] if "text" in table.columns else empty
    rows = pl.DataFrame(columns, schema=labels.ROW_SCHEMA).with_columns(
        pl.col("class").fill_null(""), pl.col("text").fill_null("")
    )
    # What the manifest names in hidden folders is taken at its word.
    hidden = [path for path in rows["path"] if in_clutter(path) and tree.exists(path)]
    has_pairs = "pair" in table.columns and not table["pair"].is_null().all()
    if has_pairs:
        rows = rows.with_columns(_paired(table["pair"], images, file)).with_row_index("row")
    rows = files.keep_existing(rows, [*listing, *hidden], file, missing_images)
    if has_pairs:  # by the paths that the images have, which may be spelt otherwise
        there = dict(rows.select("row", "path").iter_rows())
        pair = pl.Series("pair", [there.get(row) for row in rows["pair"]], pl.String())
        rows = rows.drop("row").with_columns(pair)
    return files.fill_text(rows, tree, listing)


def _paired(pair: pl.Series, images: pl.Series, file: str) -> pl.Series:
    """The row of each image's pair, null where it has none. Raises ClipsteerError for a path that no row has."""
    rows = {path: row for row, path in enumerate(images)}
    found = []
    for row, path in enumerate(pair.str.strip_prefix("./")):
        if path is not None and path not in rows:
            raise ClipsteerError(
                f"{file}: 'pair' of {images[row]!r} (row {row + 1}): found {path!r}; expected the path of another "
                f"row, or nothing.{close_match(path, list(rows))}"
            )
        found.append(rows.get(path))
    return pl.Series("pair", found, pl.Int64())


def attributes(
    tree: FileTree,
    names: Sequence[str],
    *,
    manifest: str | None = None,
    missing_images: str = "error",
    **other_options: object,
) -> pl.DataFrame:
    """Columns path, as `read` has it, and an Int8 column of 0 and 1 for each of these columns of the manifest.

    Raises ClipsteerError as `read` does.
    """
    listing = files.listing_of(tree)
    file = _manifest_file(tree, listing, manifest)
    table, images = _read(tree, file, names)
    rows = pl.DataFrame(
        {
            "path": files.folder_of(file) + images,
            "split": labels.splits(table["split"], file, images),
            **{name: labels.binary(table[name.casefold()], file, images) for name in names},
        }
    )
    hidden = [path for path in rows["path"] if in_clutter(path) and tree.exists(path)]
    return files.keep_existing(rows, [*listing, *hidden], file, missing_images).drop("split")


def canonical(paths: pl.Series, listing: Sequence[str], options: Mapping[str, Any]) -> pl.Series:
    """The paths as the manifest has them, relative to its own folder."""
    folder = files.folder_of(options.get("manifest") or files.find_file(listing, _NAMES) or "")
    # In a hidden folder nobody would look for them.
    return paths if in_clutter(folder) else paths.str.strip_prefix(folder)


def hidden_images(root: Path, manifest: str | None) -> list[str]:
    """Paths in hidden or system folders that the manifest of a user's folder names."""
    tree = FolderTree(root, whole=False)
    file = _manifest_file(tree, tree.paths(), manifest)
    paths = files.folder_of(file) + _read(tree, file)[1]
    return [path for path in paths if in_clutter(path)]


def _manifest_file(tree: FileTree, listing: Sequence[str], manifest: str | None) -> str:
    tables = [path for path in listing if path.lower().endswith(_TABLES)]
    if manifest is None:
        expected = "a table with the columns path and split, or its path in the option 'manifest'"
        if tables and files.find_file(listing, _NAMES) is None:
            expected += f" (there are {labels.few(tables)})"
        return files.need_file(listing, _NAMES, expected)
    if not tree.exists(manifest):
        raise ClipsteerError(
            f"option 'manifest': found no file {manifest!r} under the data set's root; expected "
            f"the path of a .csv, .tsv or .parquet file there.{close_match(manifest, tables)}"
        )
    return manifest


def _check_names(target: pl.Series, found: pl.Series, names: Sequence[str], file: str) -> None:
    """Refuse class names that the manifest has in another order; warn where it has none of them."""
    words = [
        found.filter(target == value).drop_nulls().unique().sort().to_list()
        for value in range(len(names))
    ]
    for value, mine in enumerate(words):
        for place, other in enumerate(names):
            if place != value and other in mine and other not in words[place]:
                raise ClipsteerError(
                    f"{file}: found the class {other!r} on rows of target {value}, but class_names gives "
                    f"{names[value]!r} for it; expected the name of target 0, then that of target 1."
                )
    every = [word for mine in words for word in mine]
    if all(len(mine) == 1 for mine in words) and not {*every} & {*names}:
        numbers = " and ".join(map(str, range(len(names))))
        warnings.warn(
            f"{file}: the classes of target {numbers} are {labels.few(every, len(every))}, but "
            f"class_names are {', '.join(names)}; prompts say the latter",
            stacklevel=3,
        )


def _read(tree: FileTree, file: str, more: Sequence[str] = ()) -> tuple[pl.DataFrame, pl.Series]:
    """The table with every column that we use as String, blank as null; and its paths, checked.

    `more`: columns that must be there besides; they are called so in lower case.
    """
    data = tree.read(file)
    needed = [name.casefold() for name in more]
    used = [*labels.ROW_SCHEMA, "pair", *needed]
    table = (
        _parquet(data, file, used)
        if file.lower().endswith(".parquet")
        else labels.read_table(data, file)
    )
    table = labels.known_columns(table, used, file, needed=("path", "split", *needed))
    images = table["path"].str.strip_prefix("./")
    files.check_paths(images, file)
    labels.check_unique(images, file)
    return table, images


def _parquet(data: bytes, file: str, wanted: Sequence[str]) -> pl.DataFrame:
    check_content(data, file)
    try:
        table = read_parquet(data)
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise ClipsteerError(
            f"{file}: not a Parquet file that can be read ({str(fault).splitlines()[0]}); expected "
            "a table with the columns path and split."
        ) from None
    table = table.rename({name: name.strip() for name in table.columns})
    used = [name for name in table.columns if name.lower() in wanted]
    try:
        return table.select(_as_string(table[name]) for name in used)
    except pl.exceptions.PolarsError:
        types = ", ".join(f"{name} {table.schema[name]}" for name in used)
        raise ClipsteerError(
            f"{file}: found the column types {types}; expected text and whole numbers."
        ) from None


def _as_string(column: pl.Series) -> pl.Series:
    """Blank as null; whether a value is a label is left to the checks."""
    return column.cast(pl.String()).str.strip_chars().replace("", None)
