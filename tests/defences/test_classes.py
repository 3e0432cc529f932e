"""Which classes images are told apart by, and which word is on which."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest

from clipsteer.data.words import draw_word
from clipsteer.defences.classes import NO_WORD, photographed, to_be_attacked
from clipsteer.errors import ClipsteerError


def photographs(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, ["class", "text"], orient="row")


def test_photographs_are_told_apart_by_all_objects_and_words() -> None:
    named = photographed(photographs(("cup", "fox"), ("cup", "bag"), ("cup", "")), {})
    assert named.names == ["bag", "cup", "fox"]
    assert named.rows.rows() == [(1, 2, "fox"), (1, 0, "bag"), (1, NO_WORD, "")]
    assert photographed(photographs(("cup", "fox"), ("fox", "cup")), {}).names == ["cup", "fox"]


def test_or_by_those_that_are_told() -> None:
    told = {name: name for name in ("fox", "zebra", "cup")}
    assert photographed(photographs(("cup", "fox")), told).names == ["cup", "fox", "zebra"]
    with pytest.raises(
        ClipsteerError, match=r"classes\.json: found no 'bag', which is on an image"
    ):
        photographed(photographs(("bag", "fox")), told)


def test_an_object_without_a_clean_photograph_where_others_have_one() -> None:
    rows = [("cup", "fox"), ("cup", ""), ("bag", "cup")]
    with pytest.raises(ClipsteerError, match="found no photograph of 'bag' without a word"):
        photographed(photographs(*rows), {})
    photographed(photographs(*rows, ("bag", "")), {})


def clean(*classes: str, splits: Sequence[str] = ()) -> pl.DataFrame:
    digests = [f"blake3:{number:015x}" + "0" * 49 for number in range(len(classes))]
    own = splits or ["train"] * len(classes)
    return pl.DataFrame({"class": classes, "split": own, "digest": digests})


def test_clean_images_have_a_word_of_another_class_each() -> None:
    """Names as Labels.json has them, the first of several; folders without are their own."""
    rows = clean("n2", "sea_lion", "n1", "n2")
    named = to_be_attacked(rows, {"n1": "crane, bird", "n2": "anemone"}, seed=5)
    assert named.names == ["crane", "anemone", "sea lion"]
    assert named.rows["target"].to_list() == [1, 2, 0, 1]
    for target, word, printed, digest in zip(*named.rows, rows["digest"], strict=True):
        assert named.names[word] == printed
        assert word != target
        assert printed == draw_word(named.names, named.names[target], 5, digest)


def test_two_classes_of_one_name() -> None:
    told = {"n1": "crane, bird", "n2": "crane, machine"}
    with pytest.raises(ClipsteerError, match="found the name 'crane' for n1 and n2"):
        to_be_attacked(clean("n1", "n2"), told, seed=0)


def test_a_class_without_a_clean_image_in_a_split() -> None:
    splits = ["train", "train", "validation", "validation"]
    to_be_attacked(clean("cat", "fox", "fox", "cat", splits=splits), {}, seed=0)
    for classes, told in (
        (("cat", "cat", "cat", "fox"), r"no train image of fox \(1 of 2 classes have none\)"),
        (("cat", "fox", "fox", "fox"), r"no validation image of cat \(1 of 2 classes have none\)"),
    ):
        with pytest.raises(ClipsteerError, match=told):
            to_be_attacked(clean(*classes, splits=splits), {}, seed=0)


def test_an_image_without_a_class() -> None:
    with pytest.raises(ClipsteerError, match="found images without a class"):
        to_be_attacked(clean("cat", ""), {}, seed=0)
