"""What is said of a data set's options and names before anything is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.data.forms import (
    FORMS,
    attribute_names,
    label_files,
    name_faults,
    option_faults,
    papers_attributes,
    unconcerned,
)
from tests.data import small_trees
from tests.data.small_trees import write

OWN = {
    "class_names": ["woman", "man"],
    "group_names": ["not blond woman", "blond woman", "not blond man", "blond man"],
}


def faults(layout: str, root: Path | None = None, **options: object) -> list[str]:
    return list(option_faults("datasets.x", {"layout": layout, "options": options}, root))


@pytest.mark.parametrize(
    ("layout", "options", "expected"),
    [
        ("folder", {"manifst": "m.csv"}, "options.manifst: unknown.*Did you mean manifest"),
        ("waterbirds", {"missing_image": "drop"}, "Did you mean missing_images"),
        ("imagenet", {"val_label": "x.txt"}, "Did you mean val_labels"),
        ("folder", {"target": "Male"}, "options.target: unknown.*layout celeba.*name of its own"),
        ("imagenet", {"missing_images": "drop"}, "celeba and waterbirds and folder"),
        ("celeba", {"missing_images": "dropp"}, "found 'dropp', expected error or drop.*drop"),
        ("waterbirds", {"missing_images": True}, "found True, expected error or drop"),
        ("folder", {"manifest": 3}, "found 3, expected a file's path"),
        ("folder", {"manifest": "/data/m.csv"}, "found '/data/m.csv', expected a file's path"),
        ("imagenet", {"val_labels": "../val.txt"}, "expected a file's path below the root"),
        (
            "folder",
            {"manifest": "./m.csv"},
            "found './m.csv', expected a file's path below the root",
        ),
        ("folder", {"manifest": "lists\\m.csv"}, "expected a file's path below the root, such as"),
        ("imagenet", {"held_out": 1}, "held_out: found 1, expected a whole number from 2"),
        ("rta100", {"compatibility": "theirs"}, "found 'theirs', expected published"),
        ("scam", {"attack": "both"}, "found 'both', expected real or synthetic"),
        ("celeba", {"target": 1}, "options.target: found 1, expected an attribute's name"),
        ("celeba", {"spurious": "Male"}, "found Male as target and as spurious"),
        ("celeba", {"class_names": "woman"}, "options.class_names: unknown"),
    ],
)
def test_faults_of_options(layout: str, options: dict[str, object], expected: str) -> None:
    (fault,) = faults(layout, **options)
    assert fault.startswith("datasets.x.options")
    assert re.search(expected, fault), fault


def test_sound_options() -> None:
    assert faults("celeba") == faults("celeba", target="Smiling", missing_images="drop") == []
    assert faults("folder", manifest="below/m.csv", missing_images="error") == []
    assert faults("imagenet", val_labels="val.txt") == faults("waterbirds") == []
    assert {option for form in FORMS.values() for option in form.options} == {
        *("target", "spurious", "missing_images", "val_labels", "manifest"),
        *("held_out", "compatibility", "attack"),
    }
    assert faults("imagenet", held_out=10) == faults("rta100", compatibility="published") == []
    assert faults("scam", attack="synthetic") == []


def test_files_that_options_name_are_there(tmp_path: Path) -> None:
    write(tmp_path / "below/mine.csv", "path,split\n")
    write(tmp_path / ".hidden/mine.csv", "path,split\n")
    for manifest in ("below/mine.csv", ".hidden/mine.csv"):
        assert faults("folder", tmp_path, manifest=manifest) == []
    (fault,) = faults("folder", tmp_path, manifest="below/mime.csv")
    assert "options.manifest: found no file 'below/mime.csv'" in fault
    assert "Did you mean below/mine.csv?" in fault
    (fault,) = faults("imagenet", tmp_path, val_labels="nowhere/val.txt")
    assert "found no file 'nowhere/val.txt'" in fault


@pytest.mark.parametrize("form", ["txt", "csv"])
@pytest.mark.parametrize("deep", [False, True])
def test_attributes_are_looked_up_in_the_tables_header(
    tmp_path: Path, form: str, deep: bool
) -> None:
    small_trees.celeba(tmp_path / "below" if deep else tmp_path, form=form)
    assert faults("celeba", tmp_path, target="Wavy_Hair", spurious="Young") == []
    (fault,) = faults("celeba", tmp_path, spurious="Blonde_Hair")
    assert f"list_attr_celeba.{form}: found no attribute 'Blonde_Hair'" in fault
    assert "'spurious'" in fault
    assert "Did you mean Blond_Hair?" in fault


def test_a_table_that_cannot_be_looked_up_is_left_to_the_reader(tmp_path: Path) -> None:
    assert faults("celeba", tmp_path, target="Mael") == []
    (tmp_path / "list_attr_celeba.txt").write_bytes(b"\xff\xfe\xff")
    assert faults("celeba", tmp_path, target="Mael") == []


def test_attributes_of_painted_faces_are_looked_up_before_they_are_painted() -> None:
    dataset = {"layout": "celeba", "options": {"target": "Eyeglases"}}
    (fault,) = option_faults("datasets.faces", dataset, None)
    assert fault.startswith("the painted list_attr_celeba.txt: found no attribute 'Eyeglases'")
    assert "Eyeglasses" in fault
    dataset["options"] = {"target": "Eyeglasses"}
    assert list(option_faults("datasets.faces", dataset, None)) == []


def test_attribute_names() -> None:
    assert attribute_names("3\r\nA B_C  D \r\n", blanks=True) == ["A", "B_C", "D"]
    assert attribute_names("\ufeffimage_id A B\n", blanks=True) == ["A", "B"]
    assert attribute_names(',"A",B\n', blanks=False) == ["A", "B"]
    assert attribute_names("image_id;A;B\n", blanks=False) == ["A", "B"]
    assert attribute_names("", blanks=True) == []


def named(options: dict[str, Any], **names: list[str]) -> list[str]:
    return list(name_faults("datasets.x", {"layout": "celeba", "options": options, **OWN, **names}))


def test_names_belong_to_their_attributes() -> None:
    blond = {"target": "Blond_Hair", "spurious": "Male"}
    classes, groups = named(blond)
    assert "datasets.x.class_names: found woman, man" in classes
    assert "datasets.x.group_names" in groups
    assert "target Blond_Hair and spurious Male" in groups
    (groups,) = named({"spurious": "Smiling"})
    assert "group_names" in groups
    (groups,) = named(blond, class_names=["dark hair", "blond hair"])
    assert "group_names" in groups
    assert "2 * target + spurious" in groups
    (classes,) = named(blond, class_names=["Man", "Woman"], group_names=list("abcd"))
    assert "class_names" in classes


def test_names_belong_to_their_layout() -> None:
    birds = {"layout": "waterbirds", "options": {}, **OWN}
    classes, groups = name_faults("datasets.x", birds)
    assert "found woman, man, the names for target Male" in classes
    assert "but the data set is waterbirds" in groups
    (classes,) = named({}, class_names=["landbird", "waterbird"])
    assert "the names for waterbirds, but the data set is target Male and" in classes


def test_a_layouts_own_names_in_another_order() -> None:
    (classes,) = named({}, class_names=["Man", "Woman"])
    assert (
        "class_names: found Man, Woman, expected woman, man: the order is target 0, target 1."
        in classes
    )
    (classes,) = named(
        {"spurious": "Smiling"}, class_names=["man", "woman"], group_names=list("abcd")
    )
    assert "expected woman, man" in classes
    turned = ["not blond woman", "not blond man", "blond woman", "blond man"]
    (groups,) = named({}, group_names=turned)
    assert "expected not blond woman, blond woman, not blond man, blond man" in groups
    birds = {"layout": "waterbirds", "class_names": ["waterbird", "landbird"]}
    (classes,) = name_faults("datasets.x", birds)
    assert "found waterbird, landbird, expected landbird, waterbird" in classes


def test_names_that_fit_are_taken() -> None:
    assert named({}) == named({"target": "Male", "spurious": "Blond_Hair"}) == []
    turned = ["not blond woman", "not blond man", "blond woman", "blond man"]
    blond = {"target": "Blond_Hair", "spurious": "Male"}
    assert named(blond, class_names=["dark", "blond"], group_names=turned) == []
    waterbirds = {"layout": "waterbirds", "class_names": ["landbird", "waterbird"]}
    assert list(name_faults("datasets.x", waterbirds)) == []
    other = {"layout": "folder", "options": {}, **OWN}
    assert list(name_faults("datasets.x", other)) == []


def test_the_papers_numbers_belong_to_its_attributes() -> None:
    assert papers_attributes({"layout": "celeba"})
    assert papers_attributes({"layout": "waterbirds", "options": {}})
    assert not papers_attributes({"layout": "celeba", "options": {"spurious": "Young"}})
    assert not papers_attributes({"layout": "folder"})


def test_label_files() -> None:
    options = {"manifest": "a/m.csv", "missing_images": "drop"}
    assert label_files({"layout": "folder", "options": options}) == ["a/m.csv"]
    assert label_files({"layout": "imagenet", "options": {"val_labels": "v"}}) == ["v"]
    assert label_files({"layout": "celeba"}) == []


@pytest.mark.parametrize(
    ("layout", "named", "expected"),
    [
        ("waterbirds", {"Gull": ["a", "b"]}, "unconcerned: found Gull, but the layout waterbirds"),
        ("celeba", {"Smilling": ["a", "b"]}, r"'Smilling' \(option 'unconcerned'\).*Smiling"),
        ("folder", {f"c{i}": ["a", "b"] for i in range(21)}, "found 21 attributes.*at most 20"),
    ],
)
def test_faults_of_other_attributes(layout: str, named: Any, expected: str) -> None:
    dataset = {"layout": layout, "options": {}, "unconcerned": named}
    (fault,) = option_faults("datasets.x", dataset, None)
    assert re.search(expected, fault), fault


def test_other_attributes_are_no_target_and_may_be_switched_off() -> None:
    named = {"Smiling": ["a", "b"], "Young": ["c", "d"], "Bald": None, "Blond_Hair": ["e", "f"]}
    dataset = {"layout": "celeba", "options": {"target": "Smiling"}, "unconcerned": named}
    assert unconcerned(dataset) == {"Young": ["c", "d"]}
    assert list(option_faults("datasets.x", dataset, None)) == []
    assert unconcerned({"layout": "imagenet"}) == {}


def test_a_table_of_two_attributes_needs_no_others_until_they_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "list_attr_celeba.txt", "1\nMale Blond_Hair \n000001.jpg -1  1\n")
    shipped = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())["datasets"][
        "celeba"
    ]
    assert shipped["unconcerned"]
    assert list(option_faults("datasets.x", shipped, tmp_path)) == []
    shipped["unconcerned"]["Young"] = ["a", "b"]  # somebody's own word
    (fault,) = option_faults("datasets.x", shipped, tmp_path)
    assert "no attribute 'Young'" in fault
