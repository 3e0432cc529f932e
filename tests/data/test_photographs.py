"""Photographs with words in them: what names and annotations say, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.data.layouts import materzynska, rta100
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree


def test_names_of_every_odd_kind() -> None:
    assert rta100.parts("label=alarm clock_text=Pizza.jpg") == ("alarm clock", "Pizza")
    assert rta100.parts("label=Tea  Cup _text= ipod .JPEG") == ("Tea  Cup", "ipod")
    assert rta100.parts("label=cup_text=cup.png") == ("cup", "cup")
    assert rta100.parts("label=t-shirt_text=no. 5.jpeg") == ("t-shirt", "no. 5")
    assert rta100.parts("label=a_b_text=c_d.jpg") == ("a_b", "c_d")
    assert rta100.parts("label=cafétière_text=crème.jpg") == ("cafétière", "crème")
    for strange in ("cup.jpg", "label=cup.jpg", "label=_text=a.jpg", "label=a_text=.jpg"):
        assert rta100.parts(strange) is None
    assert rta100.parts("label=a_text=b_text=c.jpg") is None
    assert rta100.parts("Label=a_text=b.jpg") is None


def test_others_loaders_cut_four_letters() -> None:
    assert rta100.parts("label=cup_text=fox.jpeg", "published") == ("cup", "fox.")
    assert rta100.parts("label=cup_text=fox.jpg", "published") == ("cup", "fox")


PART = st.text(st.characters(categories=("L", "N"), include_characters=" -'."), min_size=1).filter(
    lambda text: text.strip() == text and text.strip(".")
)


@given(label=PART, word=PART, ending=st.sampled_from([".jpg", ".JPEG", ".png", ".PnG"]))
def test_names_give_back_what_they_were_made_of(label: str, word: str, ending: str) -> None:
    assert rta100.parts(f"label={label}_text={word}{ending}") == (label, word)


def test_a_folder_of_photographs(tmp_path: Path) -> None:
    for name in ("label=cup_text=fox.jpeg", "label=alarm clock_text=cup.PNG"):
        (tmp_path / name).write_bytes(b"x")
    rows = rta100.read(FolderTree(tmp_path))
    assert rows.select("path", "split", "class", "text").rows() == [
        ("label=alarm clock_text=cup.PNG", "test", "alarm clock", "cup"),
        ("label=cup_text=fox.jpeg", "test", "cup", "fox"),
    ]
    assert rows["target"].is_null().all()
    (tmp_path / "a cup.jpg").write_bytes(b"x")
    with pytest.raises(
        ClipsteerError, match=r"'a cup.jpg': found 1 of 3 images whose names do not"
    ):
        rta100.read(FolderTree(tmp_path))


def test_an_empty_folder_of_photographs(tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError, match="found no image; expected files such as label="):
        rta100.read(FolderTree(tmp_path))


def annotated(folder: Path, **annotations: object) -> FolderTree:
    (folder / "annotations.json").write_text(json.dumps(annotations))
    return FolderTree(folder)


def test_annotated_photographs(tmp_path: Path) -> None:
    """Beside annotations.json or in a folder of their own; "" is a clean one."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/B.JPG").write_bytes(b"x")
    (tmp_path / "A.JPG").write_bytes(b"x")
    said = {
        "B.JPG": {"true object": "cup", "typographic attack label": "good"},
        "A.JPG": {"true object": "cup", "typographic attack label": ""},
    }
    rows = materzynska.read(annotated(tmp_path, **said))
    assert rows.select("path", "class", "text").rows() == [
        ("A.JPG", "cup", ""),
        ("images/B.JPG", "cup", "good"),
    ]
    assert materzynska.class_names(FolderTree(tmp_path)) == {}
    for classes in (["cup", "good"], {"0": "cup", "1": "good"}, {"cup": 0, "good": 1}):
        (tmp_path / "classes.json").write_text(json.dumps(classes))
        found = materzynska.class_names(FolderTree(tmp_path))
        assert found == {"cup": "cup", "good": "good"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"A.JPG": {"true object": "cup"}}, "found other JSON; expected an entry an image"),
        (
            {"C.JPG": {"true object": "cup", "typographic attack label": ""}},
            "found no image 'C.JPG', which it names",
        ),
        ({}, "found other JSON"),
    ],
)
def test_annotations_that_do_not_fit(said: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError, match=told):
        materzynska.read(annotated(tmp_path, **said))
