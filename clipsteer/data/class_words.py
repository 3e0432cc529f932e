"""What the classes of ImageNet's folders are called in prompts."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence

import polars as pl

from clipsteer.data.forms import CURATED_WORDS, NAME_FILES
from clipsteer.data.labels import few
from clipsteer.errors import ClipsteerError


def class_words(classes: Sequence[str], given: Mapping[str, str] | None) -> list[str]:
    """One name for each class, in their order.

    Args:
        classes: the names of the folders, wnids in ImageNet's manner.
        given: wnid -> "name, synonym, ..." of the data set's own file, of which the first name is taken; empty where
            there is no such file, and folders that are no wnids are called by their own names; None: the curated list.

    Raises:
        ClipsteerError: a class has no name.
    """
    source = f"the data set's {' or '.join(NAME_FILES)}"
    if given is None:
        source, given = "the curated list of ImageNet-1k", curated()
    elif not given and not any(_is_wnid(name) for name in classes):
        return [name.replace("_", " ") for name in classes]
    lacking = [name for name in classes if not given.get(name, "").strip()]
    if lacking:
        raise ClipsteerError(
            f"class_words: found no name for {len(lacking)} of {len(classes)} classes in {source}: {few(lacking)}; "
            "expected one for each. Complete the file, or set class_words to the other of `files`, `open_clip`."
        )
    # a comma within a curated name is no list of synonyms
    whole = source.startswith("the curated")
    return [given[name] if whole else given[name].partition(",")[0].strip() for name in classes]


def curated() -> dict[str, str]:
    """wnid -> the name that open_clip uses."""
    with CURATED_WORDS.open(encoding="utf-8", newline="") as file:
        return {row["wnid"]: row["name"] for row in csv.DictReader(file)}


def labels_of(rows: pl.DataFrame, classes: Sequence[str]) -> list[int]:
    """The number of each row's class among `classes`.

    Raises:
        ClipsteerError: there are no rows, or an image has no class, or one that no training image has.
    """
    if not rows.height:
        raise ClipsteerError(
            "found no validation images (val/), expected some: what dictionaries are worth is measured on them."
        )
    numbers = {name: number for number, name in enumerate(classes)}
    strange = rows.filter(~pl.col("class").is_in(list(classes)))
    if strange.height:
        raise ClipsteerError(
            f"found {strange.height} validation images of no class that has training images: "
            f"{few(strange['path'])}; expected classes of train/. A flat val/ needs a label file."
        )
    return [numbers[name] for name in rows["class"].to_list()]


def _is_wnid(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()
