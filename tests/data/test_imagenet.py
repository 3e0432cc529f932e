from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from clipsteer.data.layouts import imagenet
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree
from tests.data.small_trees import jpeg, write

CRANES = ("n02012849", "n03126707")
TRAIN = [(wnid, f"{wnid}_{n}.JPEG") for wnid in CRANES for n in (1, 10, 2)]


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        write(root / path, jpeg())
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return touch(tmp_path, *(f"train/{wnid}/{name}" for wnid, name in TRAIN))


def seen(rows: pl.DataFrame) -> list[tuple[str, str, str]]:
    return list(rows.select("path", "split", "class").iter_rows())


def test_training_folders_alone(root: Path) -> None:
    touch(root, "train/readme.jpg", "train/n02012849/._hidden.JPEG", "other/n02012849/1.JPEG")
    write(root / "train/n02012849/notes.txt", "x")
    rows = imagenet.read(FolderTree(root))
    assert seen(rows) == [(f"train/{w}/{name}", "train", w) for w, name in sorted(TRAIN)]
    assert rows.select("target", "spurious").null_count().row(0) == (6, 6)
    assert rows.schema["target"] == pl.Int8()
    assert imagenet.class_names(FolderTree(root)) == {}


def test_imagenet_100_has_the_order_of_its_merged_form(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parts = tmp_path_factory.mktemp("parts")
    for part, (wnid, name) in zip([4, 3, 1, 2, 1, 4], TRAIN, strict=True):
        touch(parts, f"train.X{part}/{wnid}/{name}")
    for home, val in ((parts, "val.X"), (root, "val")):
        touch(home, f"{val}/{CRANES[1]}/v1.JPEG", f"{val}/{CRANES[0]}/v2.JPEG")
        write(home / "Labels.json", '{"n02012849": "crane", "n03126707": "crane, hoist"}')
    split, merged = (imagenet.read(FolderTree(home)) for home in (parts, root))
    assert split.drop("path").equals(merged.drop("path"))
    assert [Path(p).name for p in split["path"]] == [Path(p).name for p in merged["path"]]
    assert merged["split"].to_list() == ["train"] * 6 + ["validation"] * 2
    assert merged["class"].to_list()[-2:] == list(CRANES)
    names = imagenet.class_names(FolderTree(parts))
    assert names == {"n02012849": "crane", "n03126707": "crane, hoist"}


def test_every_so_manieth_training_image_is_held_out(root: Path) -> None:
    """Of each class by itself; what lies in val is the test split then, and nothing is in two."""
    touch(root, f"val/{CRANES[0]}/v1.JPEG", f"train/{CRANES[0]}/z.JPEG")
    rows = imagenet.read(FolderTree(root), held_out=3)
    by_split = {
        split: [Path(p).name for p in rows.filter(pl.col("split") == split)["path"]]
        for split in ("train", "validation", "test")
    }
    names = {wnid: sorted(n for w, n in TRAIN if w == wnid) for wnid in CRANES}
    names[CRANES[0]] = [*names[CRANES[0]], "z.JPEG"]
    assert by_split["validation"] == [found[2] for found in names.values()]
    assert by_split["train"] == [
        name for found in names.values() for n, name in enumerate(found) if n != 2
    ]
    assert by_split["test"] == ["v1.JPEG"]
    with pytest.raises(ClipsteerError, match="held_out': found 9, but no class has as many"):
        imagenet.read(FolderTree(root), held_out=9)


def test_files_of_class_folders_that_are_not_read_are_said(root: Path) -> None:
    write(root / "train/n02012849/n02012849_3.heic", b"?")
    write(root / "train/n03126707.tar", b"?")
    write(root / "val/n03126707/all.tar", b"?")
    write(root / "train/n02012849/n02012849_boxes.txt", "x")
    with pytest.warns(
        UserWarning, match=r"2 files of class folders .*'train/n02012849/n02012849_3.heic', 'val"
    ):
        rows = imagenet.read(FolderTree(root))
    assert rows.height == len(TRAIN)


def test_cls_loc_with_a_flat_validation_folder(tmp_path: Path) -> None:
    deep = "ILSVRC/Data/CLS-LOC"
    touch(tmp_path, *(f"{deep}/train/{wnid}/{name}" for wnid, name in TRAIN))
    touch(tmp_path, *(f"{deep}/val/ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2)))
    touch(tmp_path, f"{deep}/test/ILSVRC2012_test_00000001.JPEG")
    write(tmp_path / "LOC_synset_mapping.txt", "n02012849 crane\nn03126707 crane, hoist\n")
    write(
        tmp_path / "LOC_val_solution.csv",
        "ImageId,PredictionString\nILSVRC2012_val_00000002,n03126707 85 1 499 272 \n"
        "ILSVRC2012_val_00000001,n02012849 1 1 2 2 n02012849 3 3 4 4 \n"
        "ILSVRC2012_val_00000003,n02012849 1 1 2 2 \n",
    )
    rows = imagenet.read(FolderTree(tmp_path))
    assert seen(rows)[6:] == [
        (f"{deep}/val/ILSVRC2012_val_00000001.JPEG", "validation", "n02012849"),
        (f"{deep}/val/ILSVRC2012_val_00000002.JPEG", "validation", "n03126707"),
    ]
    assert imagenet.class_names(FolderTree(tmp_path))["n03126707"] == "crane, hoist"


def test_flat_validation_with_two_columns_of_text(root: Path) -> None:
    touch(root, "val/a.JPEG", "val/b.JPEG")
    tree = FolderTree(root)
    with pytest.warns(UserWarning, match="2 images lie flat in val/ and no label file"):
        assert imagenet.read(tree)["class"].to_list()[-2:] == ["", ""]
    write(root / "mine.txt", "a.JPEG  n02012849\r\nb.JPEG\tn03126707\r\n")
    assert imagenet.read(tree, val_labels="mine.txt")["class"].to_list()[-2:] == list(CRANES)
    write(root / "val/val_annotations.txt", "b.JPEG n02012849 0 1 2 3\na.JPEG n03126707 0 1 2 3\n")
    assert [(path, wnid) for path, _, wnid in seen(imagenet.read(tree))[-2:]] == [
        ("val/b.JPEG", CRANES[0]),
        ("val/a.JPEG", CRANES[1]),
    ]
    write(root / "mine.txt", "a.JPEG n02012849\n")
    with pytest.raises(
        ClipsteerError, match=r"mine\.txt: found no class for 1 of 2.*'val/b\.JPEG'"
    ):
        imagenet.read(tree, val_labels="mine.txt")
    write(root / "mine.txt", "a.JPEG 0\nb.JPEG 1\n")
    with pytest.raises(ClipsteerError, match=r"mine\.txt: found class numbers"):
        imagenet.read(tree, val_labels="mine.txt")
    write(root / "mine.txt", "a.JPEG\nb.JPEG\n")
    with pytest.raises(ClipsteerError, match=r"mine\.txt: found one column"):
        imagenet.read(tree, val_labels="mine.txt")
    with pytest.raises(ClipsteerError, match=r"option 'val_labels': found no file 'yours\.txt'"):
        imagenet.read(tree, val_labels="yours.txt")


def test_val_labels_without_a_flat_folder_is_an_option_without_effect(root: Path) -> None:
    write(root / "mine.txt", "a.JPEG n02012849\n")
    with pytest.raises(ClipsteerError, match="no flat folder"):
        imagenet.read(FolderTree(root), val_labels="mine.txt")


def test_no_training_image(tmp_path: Path) -> None:
    touch(tmp_path, "val/n02012849/1.JPEG")
    with pytest.raises(ClipsteerError, match="no image under train/<class>/ among 1 files"):
        imagenet.read(FolderTree(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", '{"n1": 3}'])
def test_broken_labels(root: Path, text: str) -> None:
    write(root / "Labels.json", text)
    with pytest.raises(ClipsteerError, match=r"Labels\.json"):
        imagenet.class_names(FolderTree(root))


def test_captions(root: Path) -> None:
    write(root / "captions.csv", "path,text\ntrain/n02012849/n02012849_2.JPEG,a crane\n")
    rows = imagenet.read(FolderTree(root))
    assert rows.filter(pl.col("text") == "a crane")["path"].to_list() == [
        "train/n02012849/n02012849_2.JPEG"
    ]


def tiny_imagenet(root: Path) -> Path:
    for wnid in CRANES:
        touch(root, *(f"train/{wnid}/images/{wnid}_{n}.JPEG" for n in range(3)))
        write(root / f"train/{wnid}/{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t0\t9\t9\n")
    touch(root, *(f"val/images/val_{n}.JPEG" for n in range(4)))
    touch(root, *(f"test/images/test_{n}.JPEG" for n in range(2)))
    lines = (f"val_{n}.JPEG\t{CRANES[n % 2]}\t0\t32\t44\t62\n" for n in range(4))
    write(root / "val/val_annotations.txt", "".join(lines))
    return root


@pytest.mark.parametrize("above", ["", "tiny-imagenet-200/"])
def test_tiny_imagenet_has_the_wnids_of_its_label_file(tmp_path: Path, above: str) -> None:
    tiny_imagenet(tmp_path / above)
    with pytest.warns(UserWarning, match="images") as caught:
        rows = imagenet.read(FolderTree(tmp_path))
    said = [str(w.message) for w in caught]
    assert (
        f"{above}val/images/: the classes of 4 images are those of {above}val/val_annotations.txt"
        in said
    )
    assert any("2 images of test have no class and are left out" in text for text in said)
    assert rows["split"].to_list() == ["train"] * 6 + ["validation"] * 4
    assert [(path, wnid) for path, _, wnid in seen(rows)[6:]] == [
        (f"{above}val/images/val_{n}.JPEG", CRANES[n % 2]) for n in (0, 2, 1, 3)
    ]
    assert set(rows["class"]) == set(CRANES)
    names = imagenet.canonical(rows["path"], [], {})
    assert names.to_list() == [path.removeprefix(above) for path in rows["path"]]


def test_tiny_imagenet_without_its_label_file(tmp_path: Path) -> None:
    (tiny_imagenet(tmp_path) / "val/val_annotations.txt").unlink()
    with pytest.warns(UserWarning, match=r"lie flat in val/images/ and no label file"):
        rows = imagenet.read(FolderTree(tmp_path))
    assert rows["class"].to_list()[6:] == [""] * 4


def test_class_folders_of_val_are_kept_though_they_are_not_of_train(root: Path) -> None:
    touch(root, "val/n01440764/1.JPEG", "test/gull/1.JPEG", "test/tern/2.JPEG")
    rows = imagenet.read(FolderTree(root))
    assert [row[1:] for row in seen(rows)[6:]] == [
        ("validation", "n01440764"),
        ("test", "gull"),
        ("test", "tern"),
    ]


@pytest.mark.parametrize(
    "above", ["", "train/", "ILSVRC/Data/CLS-LOC/", "a/train/", "data/imagenet/train/train/"]
)
def test_train_nested_once_more(tmp_path: Path, above: str) -> None:
    touch(tmp_path, *(f"{above}train/{wnid}/{name}" for wnid, name in TRAIN))
    rows = imagenet.read(FolderTree(tmp_path))
    assert seen(rows) == [(f"{above}train/{w}/{name}", "train", w) for w, name in sorted(TRAIN)]
    names = imagenet.canonical(rows["path"], [], {})
    assert names.to_list() == [f"train/{w}/{name}" for w, name in sorted(TRAIN)]


def test_a_folder_between_train_and_its_classes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"Train/ILSVRC2012_img_train/{wnid}/{name}" for wnid, name in TRAIN))
    rows = imagenet.read(FolderTree(tmp_path))
    assert [row[1:] for row in seen(rows)] == [("train", wnid) for wnid, _ in sorted(TRAIN)]


def test_a_class_called_test(tmp_path: Path) -> None:
    touch(tmp_path, "train/test/1.JPEG", "train/other/1.JPEG")
    assert [row[2] for row in seen(imagenet.read(FolderTree(tmp_path)))] == ["other", "test"]


def test_wnids_in_the_order_of_the_images(root: Path) -> None:
    touch(root, *(f"val/ILSVRC2012_val_0000000{n}.JPEG" for n in (1, 2, 3)))
    wnids = [CRANES[1], CRANES[0], CRANES[1]]
    write(root / "imagenet_2012_validation_synset_labels.txt", "\n".join(wnids) + "\n")
    rows = imagenet.read(FolderTree(root))
    assert {path[-6]: wnid for path, _, wnid in seen(rows)[6:]} == dict(
        zip("123", wnids, strict=True)
    )
    touch(root, "val/ILSVRC2012_val_00000004.JPEG")
    with pytest.raises(ClipsteerError, match="found one column"):
        imagenet.read(FolderTree(root))


def test_the_devkits_numbers_are_no_classes(root: Path) -> None:
    touch(root, "val/ILSVRC2012_val_00000001.JPEG")
    write(root / "data/ILSVRC2012_validation_ground_truth.txt", "490\n")
    with pytest.warns(
        UserWarning, match=r"data/ILSVRC2012_validation_ground_truth\.txt has numbers"
    ):
        assert seen(imagenet.read(FolderTree(root)))[-1][2] == ""


def test_what_lies_in_no_class_folder_and_links_to_nothing_are_said(root: Path) -> None:
    touch(root, "train/loose.jpg", "other/picture.png")
    (root / "train" / CRANES[0] / "gone.JPEG").symlink_to(root / "not_fetched.JPEG")
    with pytest.warns(UserWarning, match="left out") as said:
        rows = imagenet.read(FolderTree(root))
    assert rows.height == len(TRAIN)
    assert {str(warning.message) for warning in said} == {
        "2 images lie in no class folder of train, val, validation or test and are left out: "
        "'other/picture.png', 'train/loose.jpg'",
        f"1 links lead to nothing and are left out: 'train/{CRANES[0]}/gone.JPEG'",
    }
