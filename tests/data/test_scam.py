"""SCAM's triplets, made up: the lines of metadata.jsonl and the images beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsteer.data.layouts import scam
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree

TYPES = ("SCAM", "NoSCAM", "SynthSCAM")


def lines(*objects: tuple[str, str], types: tuple[str, ...] = TYPES) -> list[dict[str, Any]]:
    """A line for each object with its word and each type."""
    return [
        {
            **{"file_name": f"{kind}/{number} {label}.jpg", "id": f"{kind}_{number}", "type": kind},
            **{"object_label": label, "attack_word": word, "postit_area_pct": 3.5},
        }
        for number, (label, word) in enumerate(objects)
        for kind in types
    ]


def laid(folder: Path, said: list[dict[str, Any]], end: str = "\n") -> FolderTree:
    """The images and their list."""
    for line in said:
        place = folder / line["file_name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    text = end.join(json.dumps(line, ensure_ascii=False) for line in said)
    (folder / "metadata.jsonl").write_bytes((text + end).encode())
    return FolderTree(folder)


def rows(tree: FolderTree, **options: str) -> list[tuple[Any, ...]]:
    return scam.read(tree, **options).select("path", "split", "class", "text").rows()


def test_clean_and_attacked_of_each_triplet(tmp_path: Path) -> None:
    """Blanks, capitals, dots, underscores and letters of other scripts in names; an object with two words."""
    objects = [("Alarm clock", "T-Shirt"), ("mug", "naïve"), ("mug", "no. 5"), ("a_b", "SCAM")]
    tree = laid(tmp_path / "images/train", lines(*objects), end="\r\n")
    for options, kind in (({}, "SCAM"), ({"attack": "synthetic"}, "SynthSCAM")):
        expected = [
            (f"{of}/{number} {label}.jpg", "test", label, word if of == kind else "")
            for number, (label, word) in enumerate(objects)
            for of in (kind, "NoSCAM")
        ]
        assert rows(tree, **options) == sorted(expected)
    assert scam.read(tree)["target"].is_null().all()


def test_a_folder_above_moves_no_path(tmp_path: Path) -> None:
    laid(tmp_path / "images/train", lines(("cup", "fox")))
    tree = FolderTree(tmp_path)
    found = scam.read(tree)
    assert found["path"].to_list() == [
        "images/train/NoSCAM/0 cup.jpg",
        "images/train/SCAM/0 cup.jpg",
    ]
    canonical = scam.canonical(found["path"], tree.paths(), {})
    assert canonical.to_list() == ["NoSCAM/0 cup.jpg", "SCAM/0 cup.jpg"]


PART = st.text(
    st.characters(categories=("L", "N", "P", "S"), include_characters=" \u2028"), min_size=1
)


@given(st.lists(st.tuples(PART, PART).filter(lambda both: all(map(str.strip, both))), min_size=1))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_come_as_they_are_written_but_for_blanks(
    tmp_path: Path, objects: list[tuple[str, str]]
) -> None:
    said = lines(*objects)
    for number, line in enumerate(said):
        line["file_name"] = f"{number:05d}.png"
    found = scam.read(laid(tmp_path, said))
    expected = {
        (line["file_name"], line["object_label"].strip(), word.strip())
        for line in said
        for word in [line["attack_word"] if line["type"] == "SCAM" else ""]
        if line["type"] != "SynthSCAM"
    }
    assert {*found.select("path", "class", "text").iter_rows()} == expected


def changed(**line: Any) -> list[dict[str, Any]]:
    """The lines of one object, the attacked photograph's changed."""
    said = lines(("cup", "fox"))
    said[0] |= line
    return said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            changed(type="scam"),
            "line 1: found \"type\": 'scam'; expected SCAM, SynthSCAM or NoSCAM",
        ),
        (
            changed(attack_word=""),
            "line 1: found no text under 'attack_word'; expected file_name, id",
        ),
        (changed(object_label=3), "line 1: found no text under 'object_label'"),
        (changed(id="0"), "found the id '0' of SCAM; expected one that begins with its type"),
        (changed(id="SCAM_1"), "found 'SCAM_1' and no 'NoSCAM_1'; expected a clean image for each"),
        (changed(object_label="mug"), "found 'mug' with 'fox' for 'SCAM_0', but 'cup' with 'fox'"),
        (lines(("cup", "fox"), types=TYPES[:1]), 'found no image of "type": "NoSCAM" among 1'),
        (lines(("cup", "fox"), types=TYPES[1:]), 'found no image of "type": "SCAM" among 2'),
        (2 * lines(("cup", "fox")), "found 'SCAM_0' more than once; expected each id on one line"),
        ([], 'found no image of "type": "SCAM" among 0'),
    ],
)
def test_lines_that_do_not_fit(said: list[dict[str, Any]], told: str, tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError) as fault:
        scam.read(laid(tmp_path, said))
    assert told in str(fault.value)


def test_what_is_no_list_of_images(tmp_path: Path) -> None:
    def fault() -> str:
        with pytest.raises(ClipsteerError) as found:
            scam.read(FolderTree(tmp_path))
        return str(found.value)

    assert "no metadata.jsonl" in fault()
    (tmp_path / "train-00000-of-00002.parquet").write_bytes(b"x")
    assert (
        "Images within Parquet are not read: download SCAM's images.zip and unpack it." in fault()
    )
    for text, told in (
        ("{", "metadata.jsonl, line 1: not JSON"),
        ("\n[1]", "metadata.jsonl, line 2: found no text under 'file_name'"),
    ):
        (tmp_path / "metadata.jsonl").write_text(text)
        assert told in fault()
    tree = laid(tmp_path, lines(("cup", "fox")))
    (tmp_path / "SCAM/0 cup.jpg").unlink()
    assert "found no image 'SCAM/0 cup.jpg', which it names" in fault()
    assert rows(tree, attack="synthetic")[1][3] == "fox"
