"""The classes that a data set's images are told apart by, and the word on each image (Section 7.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from clipsteer.data.words import draw_word
from clipsteer.errors import ClipsteerError

NO_WORD = -1


class Named(NamedTuple):
    """`names` of the classes; of each row, in the order given, `target` and `word`, numbers among them.

    `word` is NO_WORD where there is none, and `printed` the text of it, "" then.
    """

    names: list[str]
    rows: pl.DataFrame


def photographed(rows: pl.DataFrame, told: Mapping[str, str]) -> Named:
    """Of photographs with words in them: classes are all objects and words, sorted, or those that are `told`.

    `rows`: columns `class` and `text`, the word or "". Raises ClipsteerError for an object or a word that is not among
    those told, and where some objects have a clean photograph and others have none.
    """
    clean = rows.filter(pl.col("text") == "")["class"]
    bare = sorted({*rows["class"]} - {*clean})
    if len(clean) and bare:
        raise ClipsteerError(
            f"classes: found no photograph of {bare[0]!r} without a word, as other objects have; expected one of each. "
            f"Add one, or take out those of {bare[0]!r}."
        )
    said = sorted({*rows["class"], *rows["text"]} - {""})
    names = sorted(set(told.values())) or said
    strange = [name for name in said if name not in names]
    if strange:
        raise ClipsteerError(
            f"classes.json: found no {strange[0]!r}, which is on an image; expected all objects and words. Add it, or "
            "take the file away."
        )
    return _numbered(rows, names, rows["text"].to_list())


def to_be_attacked(rows: pl.DataFrame, told: Mapping[str, str], seed: int) -> Named:
    """Of clean images, each with a word of another class drawn for it: classes are those of the images.

    `rows`: columns `class`, `split` and `digest`. `told`: "name, synonym, ..." by class, of which the first is taken; a
    class without is its own name. Raises ClipsteerError where classes have one name, or one is not in each split that
    has images.
    """
    keys = sorted(set(rows["class"]))
    if "" in keys:
        raise ClipsteerError(
            "classes: found images without a class; expected a class folder, or a column `class`, for each."
        )
    for (split,), own in rows.group_by("split", maintain_order=True):
        lacking = sorted({*keys} - {*own["class"]})
        if lacking:
            raise ClipsteerError(
                f"classes: found no {split} image of {lacking[0]} ({len(lacking)} of {len(keys)} classes have none); "
                "expected images of each class in each split, as defences are trained and chosen on them. Add some, or "
                "take the class out; where `options.held_out` makes the validation split, set it lower."
            )
    names = [told.get(key, key.replace("_", " ")).partition(",")[0].strip() for key in keys]
    for number, name in enumerate(names):
        if name in names[:number]:
            other = keys[names.index(name)]
            raise ClipsteerError(
                f"classes: found the name {name!r} for {other} and {keys[number]}; expected names that differ. Give "
                "one of them another first name in Labels.json."
            )
    of = dict(zip(keys, names, strict=True))
    named = rows.with_columns(pl.col("class").replace_strict(of, return_dtype=pl.String()))
    words = [
        draw_word(names, own, seed, digest)
        for own, digest in named.select("class", "digest").iter_rows()
    ]
    return _numbered(named, names, words)


def _numbered(rows: pl.DataFrame, names: Sequence[str], words: Sequence[str]) -> Named:
    number = {name: n for n, name in enumerate(names)}
    frame = pl.DataFrame(
        {
            "target": [number[name] for name in rows["class"]],
            "word": [number.get(word, NO_WORD) for word in words],
            "printed": list(words),
        },
        schema={"target": pl.Int32, "word": pl.Int32, "printed": pl.String},
    )
    return Named(list(names), frame)
