"""Images that are listed and not there: the cause is named where the folder shows it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import polars as pl
import pytest

from clipsteer.data import files
from clipsteer.data.files import LeftOut, keep_existing
from clipsteer.data.layouts import celeba, folder, imagenet, waterbirds
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree
from tests.data import small_trees
from tests.data.small_trees import jpeg, write


def rows(*paths: str) -> pl.DataFrame:
    splits = ["train", "test", "test"]
    return pl.DataFrame(
        [(p, splits[i % 3]) for i, p in enumerate(paths)], ["path", "split"], orient="row"
    )


def refused(listing: list[str], *paths: str, drop: bool = False) -> str:
    with pytest.raises(ClipsteerError) as caught:
        keep_existing(rows(*paths), listing, "list.csv", "drop" if drop else "error")
    return str(caught.value)


@pytest.mark.parametrize(
    "archive",
    *[
        ["images.zip", "a/images.tar.gz", "images.tgz", "x.7z.001", "x.rar", "IMAGES.ZIP", "x.tar"],
    ],
)
@pytest.mark.parametrize("drop", [False, True])
def test_an_archive_that_nobody_has_unpacked(archive: str, drop: bool) -> None:
    text = refused(["list.csv", archive], "images/1.jpg", "images/2.jpg", drop=drop)
    assert "2 of 2 listed images are missing: 'images/1.jpg', 'images/2.jpg'" in text
    assert f"The folder holds {archive!r}: unpack" in text
    assert "drop" not in text


def test_no_advice_that_cannot_help() -> None:
    text = refused(["list.csv"], "images/1.jpg")
    assert "drop" not in text
    assert "Check where the images lie" in text
    text = refused(["images/1.jpg", "images.zip"], "images/1.jpg", "images/2.jpg")
    assert "'missing_images' to 'drop'" in text
    assert "zip" not in text, "some are there: the archive is not the cause"


def test_names_that_differ_in_case_or_unicode_form_are_matched() -> None:
    nfc, nfd = (unicodedata.normalize(form, "möwe/é.jpg") for form in ("NFC", "NFD"))
    listing = ["IMG/1.JPG", nfd, "img/3.jpg"]
    with pytest.warns(
        UserWarning, match="2 images are written otherwise.*'IMG/1.JPG' for 'img/1.jpg'"
    ):
        kept = keep_existing(rows("img/1.jpg", nfc, "img/3.jpg"), listing, "list.csv", "error")
    assert kept["path"].to_list() == listing
    with pytest.warns(UserWarning, match="1 images are written otherwise"):
        kept = keep_existing(rows(nfd), [nfc], "list.csv", "error")
    assert kept["path"].to_list() == [nfc]


def test_spellings_that_are_not_clear_are_named() -> None:
    text = refused(["a.JPG", "A.jpg", "b.jpg"], "a.jpg", "b.jpg")
    assert "'a.JPG', 'A.jpg' differ from 'a.jpg' in case or Unicode form alone" in text
    # one file cannot be two images
    assert "2 of 2" in refused(["a.JPG"], "a.jpg", "A.jpg")
    assert "1 of 2" in refused(["a.jpg"], "a.jpg", "A.jpg")


def test_another_ending_and_another_folder() -> None:
    assert "There is 'img/1.png', with another ending" in refused(["img/1.png"], "img/1.jpg")
    assert "There is 'x/img/1.jpg': move" in refused(["x/img/1.jpg"], "img/1.jpg", drop=True)
    partly = refused(["img/1.jpg", "other/2.jpg"], "img/1.jpg", "img/2.jpg")
    assert "other/2.jpg" not in partly


def test_dropped_rows_are_counted_by_split() -> None:
    with pytest.warns(LeftOut, match="3 of 4 listed images are missing") as caught:
        kept = keep_existing(rows("0", "1", "2", "3"), ["1"], "list.csv", "drop")
    assert kept["path"].to_list() == ["1"]
    (warning,) = (w.message for w in caught)
    assert isinstance(warning, LeftOut)
    assert warning.counts == {"train": 2, "test": 1}


def test_every_layout_names_the_archive(tmp_path: Path) -> None:
    small_trees.celeba(tmp_path / "celeba")
    small_trees.waterbirds(tmp_path / "waterbirds")
    write(tmp_path / "folder/manifest.csv", "path,split\nimages/1.jpg,train\n")
    write(tmp_path / "imagenet/ILSVRC2012_img_val.tar", "")
    for name, layout in (
        *(("celeba", celeba), ("waterbirds", waterbirds)),
        *(("folder", folder), ("imagenet", imagenet)),
    ):
        root = tmp_path / name
        for image in [*root.rglob("*.jpg")]:
            image.unlink()
        write(root / "images.zip", "PK")
        with pytest.raises(ClipsteerError, match=r"images\.zip'.*unpack"):
            layout.read(FolderTree(root))
        for file in [*root.glob("*.csv"), *root.glob("*.txt")]:
            file.unlink()
        with pytest.raises(ClipsteerError, match=r"images\.zip'.*unpack"):
            layout.read(FolderTree(root))


def test_celeba_in_capitals(tmp_path: Path) -> None:
    root = small_trees.celeba(tmp_path)
    for image in [*root.rglob("*.jpg")]:
        image.rename(image.with_suffix(".JPG"))
    (root / "img_align_celeba").rename(root / "IMG_ALIGN_CELEBA")
    with pytest.warns(UserWarning, match="24 images are written otherwise"):
        found = celeba.read(FolderTree(root))
    assert found["path"][0] == "IMG_ALIGN_CELEBA/000001.JPG"


def test_waterbirds_with_names_from_macos(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFC", "Möwe.jpg")
    write(tmp_path / "metadata.csv", f"img_filename,y,split,place\n1/{name},0,0,1\n")
    write(tmp_path / "1" / unicodedata.normalize("NFD", name), jpeg())
    with pytest.warns(UserWarning, match="written otherwise"):
        assert waterbirds.read(FolderTree(tmp_path)).height == 1


def test_a_label_file_in_capitals_is_named() -> None:
    with pytest.raises(ClipsteerError, match=r"no metadata\.csv.*There is 'Metadata\.CSV': rename"):
        files.need_file(["Metadata.CSV"], ("metadata.csv",), "a table")
