"""Helpers that the layouts share: reading label files, checking labels, paths and images.

Label files are read as strings and with polars' vectorised reader, so that 200,000 rows take a
fraction of a second, and are converted only after each value has been looked at.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from clipsteer.data.forms import CAPTIONS, DELIMITERS, MISSING_IMAGES, TABLE_FIELDS
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lookalikes import check_content
from clipsteer.store.clutter import in_clutter
from clipsteer.store.trees import FileTree

SPLITS = ("train", "validation", "test")
_SPLIT_FORMS = {
    **dict(zip("012", SPLITS, strict=True)),
    **{name: name for name in SPLITS},
    "val": "validation",
    "valid": "validation",
}
_MOST = 128  # classes, and spurious values
_TRUTH = {"0": 0, "1": 1, "false": 0, "true": 1}
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

# What polars makes of a name that stands in a header again.
_AGAIN = re.compile(r"_duplicated_\d+$")
_ARCHIVE = re.compile(r"(?i)\.(zip|tar|tgz|tbz2?|txz|7z|rar|gz|bz2|xz|zst|(zip|7z|rar)\.\d+|z\d+)$")
IMAGE_ENDING = r"\.(jpe?g|png|webp|bmp|gif|tiff?|avif|ppm)$"
"""Of the files that are read as images, whatever its case."""

# A path that is empty, absolute (POSIX or Windows), has a "", "." or ".." part, a backslash or NUL.
_BAD_PATH = r"^$|^/|/$|//|\\|\x00|^[A-Za-z]:|(^|/)\.\.?(/|$)"


class LeftOut(UserWarning):
    """Images that are listed but not used: how many of each split."""

    def __init__(self, text: str, counts: Mapping[str, int]) -> None:
        super().__init__(text)
        self.counts = dict(counts)


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


def class_list(
    names: Sequence[str], number: int | None = 2, option: str = "class_names"
) -> tuple[str, ...]:
    """The class names of target 0, 1, ...; a ClipsteerError unless they are `number` (None: two or more), unlike."""
    found = () if isinstance(names, str) else tuple(str(name) for name in names)
    right = len(found) >= 2 and number in (None, len(found))
    if not right or not all(found) or len(set(found)) < len(found):
        raise ClipsteerError(
            f"option {option!r}: found {names!r}; expected {'two' if number else 'two or more'} different names, "
            "that of target 0, that of target 1 and so on."
        )
    return found


def listing_of(tree: FileTree) -> list[str]:
    """The tree's paths but for hidden and system files and folders, which are said to be left out.

    So are links that lead to nothing, which are no paths: data that were not fetched, or moved.
    """
    paths = tree.paths()
    kept = [path for path in paths if not in_clutter(path)]
    left_out = [*getattr(tree, "left_out", ()), *filter(in_clutter, paths)]
    if left_out:
        warnings.warn(
            f"hidden and system files and folders are left out ({len(left_out)}): {few(left_out)}",
            stacklevel=3,
        )
    dangling = getattr(tree, "dangling", ())
    if dangling:
        warnings.warn(
            f"{len(dangling)} links lead to nothing and are left out: {few(dangling)}", stacklevel=3
        )
    return kept


def find_file(listing: Iterable[str], names: Sequence[str]) -> str | None:
    """The path with one of these file names: the shallowest, then the earliest name; or None."""
    ranks = {name: rank for rank, name in enumerate(names)}
    found = [path for path in listing if path.rpartition("/")[2] in ranks]
    return min(found, key=lambda p: (p.count("/"), ranks[p.rpartition("/")[2]], p), default=None)


def need_file(listing: Sequence[str], names: Sequence[str], expected: str) -> str:
    """As `find_file`, but a ClipsteerError where there is none; `expected` describes it.

    Where there are several, a warning says which one is read.
    """
    file = find_file(listing, names)
    others = [path for path in listing if path != file and path.rpartition("/")[2] in names]
    if others:
        warnings.warn(f"{file} is read; of the same kind and not read: {few(others)}", stacklevel=3)
    if file is None:
        folded = {fold(name) for name in names}
        near = [path for path in listing if fold(path.rpartition("/")[2]) in folded]
        hint = archive_hint(listing) or (
            f"There is {near[0]!r}: rename it."
            if near
            else "Check that the data set's root points at the folder that holds it."
        )
        raise ClipsteerError(
            f"the data set's folder has no {' or '.join(names)}; expected {expected}. {hint}"
        )
    return file


def archive_hint(listing: Sequence[str]) -> str:
    """What to do where an archive lies in the folder, which nobody has unpacked; else nothing."""
    archives = [path for path in listing if _ARCHIVE.search(path)]
    if not archives:
        return ""
    return f"The folder holds {few(archives)}: unpack the images where the archive lies."


def fold(name: str) -> str:
    """What names that differ only in case or in Unicode's form (macOS writes NFD) have in common."""
    return unicodedata.normalize("NFC", name).casefold()


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


def delimiter(header: str) -> str:
    """What separates the names in a CSV file's header: the commonest of comma, ; tab and |."""
    plain = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=plain.count)


def read_table(data: bytes, file: str, *, separator: str | None = None) -> pl.DataFrame:
    """A table with a header line, all columns String, values and names stripped, "" as null.

    `separator`: by default what the header has (`delimiter`).

    All columns are read although two may be wanted: with a choice of columns polars lets rows with
    too many fields pass, and their values would be taken from the wrong places.

    Raises:
        ClipsteerError: the file is empty, not UTF-8, a row has more fields than the header, or the
            rows' fields are separated by something else than the header's.
    """
    body = decode_text(data, file).encode()
    if not body.strip():
        raise ClipsteerError(f"{file}: the file is empty; expected a header line and rows.")
    if b"\r" in body:  # alone it ends the lines of some programs on macOS
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    quote_char = '"' if separator is None else None
    separator = separator or delimiter(body.lstrip().partition(b"\n")[0].decode())
    try:
        frame = pl.read_csv(body, separator=separator, quote_char=quote_char, infer_schema=False)
        frame = frame.rename({name: name.strip() for name in frame.columns})
    except (pl.exceptions.PolarsError, ValueError) as fault:
        raise ClipsteerError(
            f"{file}: not a table that can be read ({str(fault).splitlines()[0]}); expected a "
            f"header line and rows with as many fields as the header has, here between {separator!r}."
        ) from None
    # An empty trailing line and blank-only values are no labels.
    frame = frame.with_columns(pl.all().str.strip_chars()).with_columns(
        pl.when(pl.all() != "").then(pl.all())
    )
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    first, *rest = (frame[name] for name in frame.columns)
    if frame.height and rest and all(column.is_null().all() for column in rest):
        other = delimiter(first[0])
        if other in first[0]:
            raise ClipsteerError(
                f"{file}: found {separator!r} between the names in the header, but {other!r} between the fields "
                f"of the rows (the first is {first[0]!r}); expected the same in all lines."
            )
    return frame


def known_columns(
    frame: pl.DataFrame, names: Iterable[str], file: str, *, needed: Iterable[str]
) -> pl.DataFrame:
    """The frame with the columns of these names called so, whatever their case.

    Raises a ClipsteerError that names the first column of `needed` that is missing, or one that is there
    twice, in one spelling or in two.
    """
    columns = [_AGAIN.sub("", column) for column in frame.columns]
    found = defaultdict(list)
    for column in columns:
        found[column.casefold()].append(column)
    for name in needed:
        if name not in found:
            alone = f" {TABLE_FIELDS}." if len(columns) == 1 else ""
            raise ClipsteerError(
                f"{file}: found no column {name!r} among {', '.join(columns)}.{alone}"
                + close_match(name, columns)
            )
    known = {name: found[name] for name in names if name in found}
    for name, spelt in known.items():
        if len(spelt) > 1:
            raise ClipsteerError(
                f"{file}: found the columns {' and '.join(spelt)}; expected one column {name!r}."
            )
    return frame.rename({spelt[0]: name for name, spelt in known.items()})


def map_values(
    values: pl.Series,
    mapping: Mapping[str, object],
    dtype: pl.DataType,
    file: str,
    names: pl.Series,
) -> pl.Series:
    """Each string through `mapping`; a value outside it is a ClipsteerError naming its row.

    Case does not count, nor the `.0` that pandas writes after a missing value.
    """
    plain = values.str.to_lowercase().str.strip_suffix(".0")
    mapped = plain.replace_strict(mapping, default=None, return_dtype=dtype)
    bad = mapped.is_null()
    if bad.any():
        where = bad.arg_true()[0]
        raise ClipsteerError(
            f"{file}: column {values.name!r} of {names[where]!r} (row {where + 1}): found "
            f"{values[where]!r}; expected one of {', '.join(mapping)}."
        )
    return mapped


def binary(values: pl.Series, file: str, names: pl.Series, *, minus: bool = False) -> pl.Series:
    """Labels 0 and 1, or false and true, as Int8; -1 counts as 0 with `minus`.

    `nan`, an empty field and the like are a ClipsteerError.
    """
    forms = {"-1": 0, **_TRUTH} if minus else _TRUTH
    return map_values(values, forms, pl.Int8(), file, names)


def categories(
    values: pl.Series, file: str, images: pl.Series, known: Sequence[str] = ()
) -> pl.Series:
    """Labels of any number of values as Int8, counted from 0.

    Numbers and false and true stand for themselves. Names are numbered in the order of `known`, where those are
    the only ones, else in alphabetical order. Raises ClipsteerError where a value is missing, or numbers and
    names are mixed.
    """
    plain = values.str.to_lowercase().str.strip_suffix(".0")
    words = {word: str(number) for word, number in _TRUTH.items()}
    numbers = plain.replace_strict(words, default=plain, return_dtype=pl.String())
    forms: dict[str, int] = {str(number): number for number in range(_MOST)}
    expected = f"a whole number from 0 to {_MOST - 1}"
    if not numbers.drop_nulls().str.contains(r"^-?[0-9.]+$|^nan$").any():
        found = values.drop_nulls().unique().to_list()
        order = list(known) if set(found) <= set(known) else sorted(found)
        forms, numbers = {name: number for number, name in enumerate(order)}, values
        expected = f"one of {few(order)}"
        if len(order) > _MOST:
            raise ClipsteerError(
                f"{file}: column {values.name!r}: found {len(order)} different names; expected at most {_MOST}."
            )
    mapped = numbers.replace_strict(forms, default=None, return_dtype=pl.Int8())
    if mapped.is_null().any():
        where = mapped.is_null().arg_true()[0]
        raise ClipsteerError(
            f"{file}: column {values.name!r} of {images[where]!r} (row {where + 1}): found {values[where]!r}; "
            f"expected {expected} on every row."
        )
    return mapped


def splits(values: pl.Series, file: str, names: pl.Series) -> pl.Series:
    """train, validation and test, or 0, 1 and 2, as the names of splits; else a ClipsteerError."""
    return map_values(values, _SPLIT_FORMS, pl.String(), file, names)


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
    """The rows whose image is in the listing, with the paths as they are written there.

    A path that differs from one file's in case or Unicode form alone is that file's, with a warning.

    Args:
        listing: the tree's paths (one directory listing rather than a stat per row).
        missing_images: `error` raises where one is absent, `drop` leaves the rows out (`LeftOut`).

    Raises:
        ClipsteerError: an image is absent (with `error`), or all are; it names the cause where that
            can be seen.
    """
    one_of(missing_images, MISSING_IMAGES, "missing_images")
    files = pl.Series("path", listing, dtype=pl.String).implode()
    there = rows["path"].is_in(files)
    if there.all():
        return rows
    rows = _respelt(rows, rows.filter(~there)["path"], listing, source)
    there = rows["path"].is_in(files)
    if there.all():
        return rows
    absent = rows.filter(~there)
    found = (
        f"{source}: {absent.height} of {rows.height} listed images are missing: "
        f"{few(absent['path'])}"
    )
    if missing_images == "error" or not there.any():
        cause = _cause(absent["path"], listing, every=not there.any())
        advice = "Add them, or take their rows out"
        if not there.any():
            advice = "Check where the images lie: their paths start at the data set's root"
        elif missing_images == "error":
            advice += ", or set the option 'missing_images' to 'drop' where it is a partial copy"
        raise ClipsteerError(
            f"{found}; expected each listed image under the data set's root. {cause or advice + '.'}"
        )
    counts = dict(absent.group_by("split").len().sort("split").iter_rows())
    warnings.warn(LeftOut(f"{found}; their rows are left out", counts), stacklevel=3)
    return rows.filter(there)


def _respelt(
    rows: pl.DataFrame, absent: pl.Series, listing: Sequence[str], source: str
) -> pl.DataFrame:
    """The rows with each absent path that differs from one file's in spelling alone put right."""
    wanted = defaultdict(list)
    for path in absent:
        wanted[fold(path)].append(path)
    taken = set(rows["path"])
    there = defaultdict(list)
    for path in listing:
        if path not in taken and (folded := fold(path)) in wanted:
            there[folded].append(path)
    pairs = {
        paths[0]: there[folded][0]
        for folded, paths in wanted.items()
        if len(paths) == len(there[folded]) == 1
    }
    if not pairs:
        return rows
    first = next(iter(pairs.items()))
    warnings.warn(
        f"{source}: {len(pairs)} images are written otherwise on disk, in case or Unicode form: "
        f"{first[1]!r} for {first[0]!r}; they are taken",
        stacklevel=4,
    )
    return rows.with_columns(pl.col("path").replace(pairs))


def _cause(absent: pl.Series, listing: Sequence[str], *, every: bool) -> str:
    """Why images are missing and what to do, as far as the listing shows it; else nothing.

    `every`: none of the listed images is there, so that the cause is a common one.
    """
    path = absent[0]
    folder, name = folder_of(path), fold(path.rpartition("/")[2])
    stem = name.rpartition(".")[0]
    images = [other for other in listing if re.search(IMAGE_ENDING, other, re.IGNORECASE)]
    spelt = [other for other in images if fold(other) == fold(path)]
    if spelt:
        return f"{few(spelt)} differ from {path!r} in case or Unicode form alone: rename one."
    names = [(other, fold(other.rpartition("/")[2])) for other in images]
    ending = [o for o, n in names if n.rpartition(".")[0] == stem and folder_of(o) == folder]
    if ending:
        return f"There is {ending[0]!r}, with another ending: correct the list or the files."
    if not every:
        return ""
    elsewhere = [o for o, n in names if n == name]
    if elsewhere:
        return f"There is {elsewhere[0]!r}: move the images, or correct the paths in the list."
    return archive_hint(listing)


def fill_text(rows: pl.DataFrame, tree: FileTree, listing: Sequence[str]) -> pl.DataFrame:
    """Fill `text` from `captions.csv` (columns path, text; paths relative to its own folder).

    Images without a caption keep what they have. A captions file that fits no image at all is a
    ClipsteerError, since then its paths are written in another way than the data set's.
    """
    file = find_file(listing, (CAPTIONS,))
    if file is None:
        return rows
    columns = ("path", "text")
    table = known_columns(read_table(tree.read(file), file), columns, file, needed=columns)
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
