"""What classes of ImageNet's folders are called, and which of them images are of."""

from __future__ import annotations

import polars as pl
import pytest

from clipsteer.data.class_words import class_words, curated, labels_of
from clipsteer.errors import ClipsteerError

CRANES = ["n02012849", "n03126707"]


def test_the_first_name_of_the_folders_own_file() -> None:
    given = {"n03126707": "crane, hoist", "n02012849": " crane ", "n01440764": "tench"}
    assert class_words(CRANES, given) == ["crane", "crane"]
    with pytest.raises(ClipsteerError, match=r"no name for 1 of 2 classes in .*Labels\.json"):
        class_words(CRANES, {"n02012849": "crane", "n03126707": ""})


def test_folders_go_by_their_own_names_unless_they_are_wnids() -> None:
    assert class_words(["red_fox", "cat"], {}) == ["red fox", "cat"]
    with pytest.raises(ClipsteerError, match="no name for 2 of 2 classes"):
        class_words(CRANES, {})


def test_the_curated_names_tell_the_cranes_apart_and_are_whole() -> None:
    found = curated()
    assert len(found) == len(set(found.values())) + 2 == 1000  # two pairs of names are alike
    assert list(found) == sorted(found)
    assert class_words(CRANES, None) == ["crane bird", "construction crane"]
    with pytest.raises(ClipsteerError, match="in the curated list of ImageNet-1k: 'fox'"):
        class_words(["fox"], None)


def test_labels_are_numbers_of_classes() -> None:
    rows = pl.DataFrame({"path": ["a", "b", "c"], "class": ["y", "x", "y"]})
    assert labels_of(rows, ["x", "y"]) == [1, 0, 1]
    with pytest.raises(ClipsteerError, match=r"2 validation images of no class .*'a', 'c'"):
        labels_of(rows, ["x", "z"])
    with pytest.raises(ClipsteerError, match="found no validation images"):
        labels_of(rows.clear(), ["x"])
