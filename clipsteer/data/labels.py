"""Helpers that the layouts share: reading label files, checking labels, paths and images.

Label files are read as strings and with polars' vectorised reader, so that 200,000 rows take a
fraction of a second, and are converted only after each value has been looked at.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lookalikes import check_content
from clipsteer.store.trees import FileTree

SPLITS = ("train", "validation", "test")
SPLIT_NUMBERS = {"0": "train", "1": "validation", "2": "test"}
ROW_SCHEMA = pl.Schema(
    {
        "path": pl.String(),
        "split": pl.String(),
        "target": pl.Int8(),
        "spurious": pl.Int8(),
        "class": pl.String(),
        "text": pl.String(),
    }
)
"""Columns of what a layout's `read` returns."""

CAPTIONS = "captions.csv"
CAPTIONS_PATTERN = f"**/{CAPTIONS}"

# A path that is empty, absolute (POSIX or Windows), has a "", "." or ".." part, a backslash or NUL.
_BAD_PATH = r"^$|^/|/$|//|\\|\x00|^[A-Za-z]:|(^|/)\.\.?(/|$)"


def few(items: Iterable[object], limit: int = 3) -> str:
    """The first items in quotes, and how many more there are."""
    found = [repr(str(item)) for item in items]
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more


def one_of(value: str, known: Sequence[str], option: str) -> str:
    """The value if it is a known one; otherwise a ClipsteerError naming the option."""
    if value not in known:
        raise ClipsteerError(
            f"option {option!r}: found {value!r}; expected one of {', '.join(known)}."
            + close_match(str(value), known)
        )
    return value


def class_pair(names: Sequence[str], option: str = "class_names") -> tuple[str, str]:
    """The class names of target 0 and target 1; a ClipsteerError unless there are two, unlike."""
    if isinstance(names, str) or len(names) != 2 or not all(names) or names[0] == names[1]:
        raise ClipsteerError(
            f"option {option!r}: found {names!r}; expected two different names, "
            "that of target 0 and that of target 1."
        )
    return str(names[0]), str(names[1])


def find_file(listing: Iterable[str], names: Sequence[str]) -> str | None:
    """The path with one of these file names: the shallowest, then the earliest name; or None."""
    ranks = {name: rank for rank, name in enumerate(names)}
    found = [path for path in listing if path.rpartition("/")[2] in ranks]
    return min(found, key=lambda p: (p.count("/"), ranks[p.rpartition("/")[2]], p), default=None)


def need_file(listing: Iterable[str], names: Sequence[str], expected: str) -> str:
    """As `find_file`, but a ClipsteerError where there is none; `expected` describes it."""
    file = find_file(listing, names)
    if file is None:
        raise ClipsteerError(
            f"the data set's folder has no {' or '.join(names)}; expected {expected}. "
            "Check that the data set's root points at the folder that holds it."
        )
    return file


def folder_of(path: str) -> str:
    """The folder part of a relative path, with its slash; "" at the root."""
    head, slash, _ = path.rpartition("/")
    return head + slash


def decode_text(data: bytes, file: str) -> str:
    """UTF-8 text, a byte order mark removed; a ClipsteerError where it is something else."""
    check_content(data, file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise ClipsteerError(
            f"{file}: found bytes that are not UTF-8 (byte {fault.start}); expected a text file. "
            "Save it as UTF-8."
        ) from None


def squeeze_blanks(data: bytes) -> bytes:
    """Runs of blanks, tabs and carriage returns become one blank; none at a line's ends.

    Empty lines go too. Splits on "any white space" without a Python loop over the lines.
    """
    for blank in (b"\t", b"\r", b"\f", b"\v"):
        data = data.replace(blank, b" ")
    for old, new in ((b"  ", b" "), (b" \n", b"\n"), (b"\n ", b"\n"), (b"\n\n", b"\n")):
        while old in data:
            data = data.replace(old, new)
    return data.strip(b" \n")


def read_table(data: bytes, file: str, *, separator: str = ",") -> pl.DataFrame:
    """A table with a header line, all columns String, values and names stripped, "" as null.

    All columns are read although two may be wanted: with a choice of columns polars lets rows with
    too many fields pass, and their values would be taken from the wrong places.

    Raises:
        ClipsteerError: the file is empty, not UTF-8, or a row has more fields than the header.
    """
    body = decode_text(data, file).encode()
    if not body.strip():
        raise ClipsteerError(f"{file}: the file is empty; expected a header line and rows.")
    try:
        frame = pl.read_csv(
            body,
            separator=separator,
            quote_char='"' if separator == "," else None,
            infer_schema=False,
        )
        frame = frame.rename({name: name.strip() for name in frame.columns})
    except (pl.exceptions.PolarsError, ValueError) as fault:
        raise ClipsteerError(
            f"{file}: not a table that can be read ({str(fault).splitlines()[0]}); expected a "
            "header line and rows with as many fields as the header has."
        ) from None
    # An empty trailing line and blank-only values are no labels.
    frame = frame.with_columns(pl.all().str.strip_chars()).with_columns(
        pl.when(pl.all() != "").then(pl.all())
    )
    return frame.filter(~pl.all_horizontal(pl.all().is_null()))


def need_columns(frame: pl.DataFrame, names: Iterable[str], file: str) -> None:
    """Raise a ClipsteerError that names the first missing column."""
    for name in names:
        if name not in frame.columns:
            raise ClipsteerError(
                f"{file}: found no column {name!r} among {', '.join(frame.columns)}."
                + close_match(name, frame.columns)
            )


def map_values(
    values: pl.Series,
    mapping: Mapping[str, object],
    dtype: pl.DataType,
    file: str,
    names: pl.Series,
) -> pl.Series:
    """Each string through `mapping`; a value outside it is a ClipsteerError naming its row."""
    mapped = values.replace_strict(mapping, default=None, return_dtype=dtype)
    bad = mapped.is_null()
    if bad.any():
        where = bad.arg_true()[0]
        raise ClipsteerError(
            f"{file}: column {values.name!r} of {names[where]!r} (row {where + 1}): found "
            f"{values[where]!r}; expected one of {', '.join(mapping)}."
        )
    return mapped


def binary(values: pl.Series, file: str, names: pl.Series) -> pl.Series:
    """Labels 0 and 1 as Int8; `-1`, `nan`, an empty field and the like are a ClipsteerError."""
    forms = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}  # pandas writes the latter after a missing value
    return map_values(values, forms, pl.Int8(), file, names)


def check_unique(names: pl.Series, file: str) -> None:
    """Raise a ClipsteerError naming the values that occur more than once."""
    if names.is_duplicated().any():
        doubles = names.filter(names.is_duplicated()).unique(maintain_order=True)
        raise ClipsteerError(
            f"{file}: found {few(doubles)} more than once; expected each image on one row."
        )


def check_paths(paths: pl.Series, source: str) -> None:
    """Raise a ClipsteerError naming the first row whose path could leave the data set's root."""
    bad = paths.str.contains(_BAD_PATH).fill_null(True)
    if bad.any():
        where = bad.arg_true()[0]
        raise ClipsteerError(
            f"{source}: row {where + 1}: found the path {paths[where]!r}; expected a path relative "
            "to the data set's root, with forward slashes and without '..'."
        )


def keep_existing(
    rows: pl.DataFrame, listing: Sequence[str], source: str, missing_images: str
) -> pl.DataFrame:
    """The rows whose image is in the listing.

    Args:
        listing: the tree's paths (one directory listing rather than a stat per row).
        missing_images: `error` raises where one is absent, `drop` warns and leaves the rows out.

    Raises:
        ClipsteerError: an image is absent (with `error`), or all are.
    """
    one_of(missing_images, ("error", "drop"), "missing_images")
    there = rows["path"].is_in(pl.Series("path", listing, dtype=pl.String).implode())
    if there.all():
        return rows
    absent = rows.filter(~there)["path"]
    found = f"{source}: {len(absent)} of {rows.height} listed images are missing: {few(absent)}"
    if missing_images == "error" or not there.any():
        raise ClipsteerError(
            f"{found}; expected each listed image under the data set's root. Add them, take their "
            "rows out, or set the option 'missing_images' to 'drop' where it is a partial copy."
        )
    warnings.warn(f"{found}; their rows are left out", stacklevel=3)
    return rows.filter(there)


def fill_text(rows: pl.DataFrame, tree: FileTree, listing: Sequence[str]) -> pl.DataFrame:
    """Fill `text` from `captions.csv` (columns path, text; paths relative to its own folder).

    Images without a caption keep what they have. A captions file that fits no image at all is a
    ClipsteerError, since then its paths are written in another way than the data set's.
    """
    file = find_file(listing, (CAPTIONS,))
    if file is None:
        return rows
    table = read_table(tree.read(file), file)
    need_columns(table, ("path", "text"), file)
    captions = table.select(
        (pl.lit(folder_of(file)) + pl.col("path")).alias("path"),
        pl.col("text").fill_null("").alias("caption"),
    )
    check_unique(captions["path"], file)
    joined = rows.join(captions, on="path", how="left", maintain_order="left")
    if rows.height and joined["caption"].is_null().all():
        raise ClipsteerError(
            f"{file}: found no caption for any image (its first path is {captions['path'][0]!r}, "
            f"the data set's {rows['path'][0]!r}); expected paths relative to the file's folder."
        )
    return joined.with_columns(pl.coalesce("caption", "text").alias("text")).drop("caption")
