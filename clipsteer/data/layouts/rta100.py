"""RTA-100 and PAINT: photographs with a word in them, all in one folder, whose names say what is on them.

`label=<object>_text=<word>.<ending>`, such as `label=alarm clock_text=pizza.jpg` (Azuma and Matsui 2023; Ilharco et
al. 2022). Blanks and capitals occur in both parts, a second `_text=` does not. All images are of the split test.

`compatibility: published` cuts names where others' loaders do, four letters from the end: a word before `.jpeg` then
keeps a dot and counts as another one (PAINT: 162 classes instead of 159).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.data import files, labels
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FileTree

_NAME = re.compile(r"label=(?P<label>.+?)_text=(?P<text>.+)", re.DOTALL)
_IMAGE = re.compile(rf"(?i){files.IMAGE_ENDING}")


def read(tree: FileTree, *, compatibility: str | None = None) -> pl.DataFrame:
    """Rows (path, split, target and spurious null, class = object, text = word) in the order of the names.

    Raises ClipsteerError for an image whose name is of another form, and where there is none.
    """
    images = [path for path in files.listing_of(tree) if _IMAGE.search(path)]
    if not images:
        raise ClipsteerError(
            "found no image; expected files such as label=alarm clock_text=pizza.jpg. "
            + (
                files.archive_hint(tree.paths())
                or "Check that the data set's root points at the folder that holds them."
            )
        )
    found = [parts(path.rpartition("/")[2], compatibility) for path in images]
    strange = [path for path, said in zip(images, found, strict=True) if said is None]
    if strange:
        raise ClipsteerError(
            f"{labels.few(strange)}: found {len(strange)} of {len(images)} images whose names do not fit; expected "
            "label=<object>_text=<word>.jpg, such as label=alarm clock_text=pizza.jpg. Rename or remove them."
        )
    said = [both for both in found if both is not None]
    return pl.DataFrame(
        {
            "path": images,
            "split": ["test"] * len(images),
            "target": None,
            "spurious": None,
            "class": [label for label, _ in said],
            "text": [text for _, text in said],
        },
        schema=labels.ROW_SCHEMA,
    )


def parts(file: str, compatibility: str | None = None) -> tuple[str, str] | None:
    """Object and word that a file's name says; None where it is of another form."""
    stem = file[:-4] if compatibility else _IMAGE.sub("", file)
    found = _NAME.fullmatch(stem)
    if not found:
        return None
    label, text = found["label"].strip(), found["text"].strip()
    return (label, text) if label and text and "_text=" not in text else None


def canonical(paths: pl.Series, listing: Sequence[str], options: Mapping[str, Any]) -> pl.Series:
    """The names alone, however deep they lie."""
    return paths.str.replace(r"^.*/", "")
