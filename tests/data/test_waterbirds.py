from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from clipsteer.data.layouts import waterbirds
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree
from tests.data import small_trees
from tests.data.small_trees import BIRDS, write

SPLITS = ("train", "validation", "test")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_trees.waterbirds(tmp_path / "waterbird_complete95_forest2water2")


def test_reads_the_official_table_in_its_order(root: Path) -> None:
    rows = waterbirds.read(FolderTree(root))
    assert rows.rows() == [
        (name, SPLITS[split], y, place, ("landbird", "waterbird")[y], "")
        for _, name, y, split, place in BIRDS
    ]
    assert rows.schema["target"] == rows.schema["spurious"] == pl.Int8()


def test_the_folder_above_serves_as_well(root: Path) -> None:
    below = waterbirds.read(FolderTree(root))
    above = waterbirds.read(FolderTree(root.parent))
    assert above["path"].to_list() == [f"{root.name}/{path}" for path in below["path"]]
    assert above.drop("path").equals(below.drop("path"))


def test_crlf_quotes_and_another_column_order(root: Path) -> None:
    plain = waterbirds.read(FolderTree(root))
    table = pl.read_csv(root / "metadata.csv")
    shuffled = table.select("place", "split", "img_filename", "y", "img_id")
    text = shuffled.write_csv(quote_style="always", line_terminator="\r\n")
    write(root / "metadata.csv", text)
    assert waterbirds.read(FolderTree(root)).equals(plain)


def test_class_names(root: Path) -> None:
    rows = waterbirds.read(FolderTree(root), class_names=["land", "sea"])
    assert rows["class"].to_list() == [("land", "sea")[t] for t in rows["target"]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("000.Wren/0003.jpg,0,2", "000.Wren/0003.jpg,-1,2", "'y' of '000.Wren/0003.jpg'.*'-1'"),
        ("000.Wren/0003.jpg,0,2", "000.Wren/0003.jpg,nan,2", "'y'.*'nan'"),
        ("000.Wren/0003.jpg,0,2", "000.Wren/0003.jpg,,2", "'y'.*None"),
        ("000.Wren/0003.jpg,0,2", "000.Wren/0003.jpg,0,7", "'split'.*row 4.*'7'"),
        ("000.Wren/0003.jpg", "../0003.jpg", r"row 4: found the path '../0003.jpg'"),
        ("000.Wren/0003.jpg", "/etc/0003.jpg", r"row 4: found the path '/etc/0003.jpg'"),
        ("000.Wren/0003.jpg", "000.Wren/0002.jpg", "more than once"),
        ("000.Wren/0003.jpg", "000.Wren/9.jpg", "1 of 12 listed images.*'000.Wren/9.jpg'"),
        ("img_filename", "file", "no column 'img_filename'"),
        ("/o/ocean/4.jpg", "/o/ocean/4.jpg,5", "not a table"),
    ],
)
def test_faults_name_the_file_and_the_row(root: Path, old: str, new: str, message: str) -> None:
    text = (root / "metadata.csv").read_text()
    assert old in text
    write(root / "metadata.csv", text.replace(old, new))
    with pytest.raises(ClipsteerError, match=message) as error:
        waterbirds.read(FolderTree(root))
    assert "metadata.csv" in str(error.value)


def test_missing_images_can_be_dropped(root: Path) -> None:
    (root / BIRDS[0][1]).unlink()
    with pytest.warns(UserWarning, match=BIRDS[0][1]):
        rows = waterbirds.read(FolderTree(root), missing_images="drop")
    assert rows["path"].to_list() == [bird[1] for bird in BIRDS[1:]]


def test_no_table(root: Path) -> None:
    (root / "metadata.csv").unlink()
    with pytest.raises(ClipsteerError, match=r"no metadata\.csv"):
        waterbirds.read(FolderTree(root))
    write(root / "metadata.csv", b"\xff\xfe\x00")
    with pytest.raises(ClipsteerError, match=r"metadata\.csv: found bytes that are not UTF-8"):
        waterbirds.read(FolderTree(root))


@pytest.mark.parametrize("beside", [True, False])
def test_captions_are_relative_to_their_own_folder(root: Path, beside: bool) -> None:
    name = BIRDS[3][1]
    home = root if beside else root.parent
    write(home / "captions.csv", f"path,text\n{name if beside else f'{root.name}/{name}'},a gull\n")
    rows = waterbirds.read(FolderTree(root.parent))
    assert [i for i, text in enumerate(rows["text"]) if text == "a gull"] == [3]


def test_canonical_paths_start_at_the_table(root: Path) -> None:
    above = FolderTree(root.parent)
    names = waterbirds.canonical(waterbirds.read(above)["path"], above.paths(), {})
    assert names.to_list() == [bird[1] for bird in BIRDS]


def test_columns_in_capitals_and_names_of_splits(root: Path) -> None:
    plain = waterbirds.read(FolderTree(root))
    table = pl.read_csv(root / "metadata.csv").with_columns(
        pl.col("split").replace_strict({0: "train", 1: "val", 2: "test"}, return_dtype=pl.String),
        pl.col("y").cast(pl.Boolean),
        pl.col("place").cast(pl.Float64),
    )
    write(root / "metadata.csv", table.rename(str.upper).write_csv(separator=";"))
    assert waterbirds.read(FolderTree(root)).equals(plain)
