"""Helpers that the layouts share: reading label files and checking labels (for paths and images see `files`).

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

from clipsteer.data.forms import DELIMITERS, TABLE_FIELDS
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lookalikes import check_content

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


class Note(UserWarning):
    """What a layout has decided about labels that are in order: said, but no fault."""


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


def class_list(names: Sequence[str], number: int | None = 2) -> tuple[str, ...]:
    """The class names of target 0, 1, ...; a ClipsteerError unless they are `number` (None: two or more), unlike."""
    found = () if isinstance(names, str) else tuple(str(name) for name in names)
    right = len(found) >= 2 and number in (None, len(found))
    if not right or not all(found) or len(set(found)) < len(found):
        raise ClipsteerError(
            f"option 'class_names': found {names!r}; expected {'two' if number else 'two or more'} different names, "
            "that of target 0, that of target 1 and so on."
        )
    return found


def fold(name: str) -> str:
    """What names that differ only in case or in Unicode's form (macOS writes NFD) have in common."""
    return unicodedata.normalize("NFC", name).casefold()


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

    Numbers and false and true stand for themselves. Names are numbered in the order of `known`, which have them
    all, case aside; where there are none, in alphabetical order, with a `Note` of it. Raises ClipsteerError where a
    value is missing, numbers and names are mixed, a name is not known, or two that nobody knows differ in case alone.
    """
    plain = values.str.to_lowercase().str.strip_suffix(".0")
    words = {word: str(number) for word, number in _TRUTH.items()}
    numbers = plain.replace_strict(words, default=plain, return_dtype=pl.String())
    forms: dict[str, int] = {str(number): number for number in range(_MOST)}
    expected = f"a whole number from 0 to {_MOST - 1}"
    if not numbers.drop_nulls().str.contains(r"^-?[0-9.]+$|^nan$").any():
        found = values.drop_nulls().unique().sort().to_list()
        forms, numbers = _numbered(found, known, f"{file}: column {values.name!r}"), values
        expected = f"one of {few(known or found)}"
    mapped = numbers.replace_strict(forms, default=None, return_dtype=pl.Int8())
    if mapped.is_null().any():
        where = mapped.is_null().arg_true()[0]
        raise ClipsteerError(
            f"{file}: column {values.name!r} of {images[where]!r} (row {where + 1}): found {values[where]!r}; "
            f"expected {expected} on every row."
        )
    return mapped


def _numbered(found: Sequence[str], known: Sequence[str], where: str) -> dict[str, int]:
    """Names that were found, sorted, by number: see `categories`."""
    if len(found) > _MOST:
        raise ClipsteerError(
            f"{where}: found {len(found)} different names; expected at most {_MOST}."
        )
    if not known:
        alike = defaultdict(list)
        for name in found:
            alike[fold(name)].append(name)
        if twice := next((names for names in alike.values() if len(names) > 1), None):
            raise ClipsteerError(
                f"{where}: found {few(twice)}; expected one spelling of a name. Write them alike."
            )
        said = ", ".join(f"{name!r} is {number}" for number, name in enumerate(found))
        warnings.warn(Note(f"{where}: names are numbered by the alphabet: {said}"), stacklevel=3)
        return {name: number for number, name in enumerate(found)}
    folded = [fold(name) for name in known]
    exact = {name: number for number, name in enumerate(known)}
    alone = {one: number for number, one in enumerate(folded) if folded.count(one) == 1}
    forms = {name: exact.get(name, alone.get(fold(name))) for name in found}
    if strange := [name for name, number in forms.items() if number is None]:
        raise ClipsteerError(
            f"{where}: found {few(strange)}; expected the names of class_names, {few(known, len(known))}. Write them "
            "alike (what prompts say around a name goes into templates), or number the targets from 0 in the order of "
            "class_names."
        )
    return {name: number for name, number in forms.items() if number is not None}


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
