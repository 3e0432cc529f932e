from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest

from clipsteer.data.labels import Note
from clipsteer.data.layouts import folder
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree
from tests.data.small_trees import jpeg, write

FULL = {
    "path": ["a.jpg", "b/c.png", "b/d e.jpg"],
    "split": ["train", "validation", "test"],
    "target": [0, 1, 1],
    "spurious": [1, 0, 1],
    "class": ["cat", "dog", "dog"],
    "text": ["a cat, asleep", "", "a dog"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i, name in enumerate(FULL["path"]):
        write(tmp_path / str(name), jpeg(i))
    return tmp_path


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_reads_every_column(root: Path, form: str) -> None:
    frame = pl.DataFrame(FULL).with_columns(extra=pl.lit(3))
    write(root / f"manifest.{form}", frame.write_csv() if form == "csv" else parquet(frame))
    rows = folder.read(FolderTree(root))
    assert rows.to_dict(as_series=False) == FULL
    assert rows.schema["target"] == rows.schema["spurious"] == pl.Int8()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_optional_columns(root: Path, form: str) -> None:
    frame = pl.DataFrame(FULL).select("split", "path")
    write(root / f"manifest.{form}", frame.write_csv() if form == "csv" else parquet(frame))
    rows = folder.read(FolderTree(root))
    assert rows.select("target", "spurious").null_count().row(0) == (3, 3)
    assert rows["class"].to_list() == rows["text"].to_list() == ["", "", ""]


def test_label_types_of_parquet(root: Path) -> None:
    frame = pl.DataFrame(FULL).with_columns(
        pl.col("target").cast(pl.Boolean()), pl.col("spurious").cast(pl.Float64())
    )
    write(root / "manifest.parquet", parquet(frame))
    assert folder.read(FolderTree(root)).to_dict(as_series=False) == FULL
    write(root / "manifest.parquet", parquet(frame.with_columns(target=[[1], [2], [3]])))
    with pytest.raises(ClipsteerError, match=r"manifest\.parquet.*target"):
        folder.read(FolderTree(root))


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ([0.0, float("nan"), 1.0], "'NaN'"),
        ([0, -1, 1], "'-1'"),
        ([0, 128, 1], "'128'"),
        (["0", "two", "1"], "'two'"),
        ([0, None, 1], "None"),
        ([0.0, 0.5, 1.0], "'0.5'"),
    ],
)
def test_labels_that_are_no_numbers_from_0_on(root: Path, target: list[object], found: str) -> None:
    frame = pl.DataFrame(FULL).with_columns(pl.Series("target", target))
    write(root / "manifest.parquet", parquet(frame))
    with pytest.raises(ClipsteerError, match=rf"'target' of 'b/c.png' \(row 2\): found {found}"):
        folder.read(FolderTree(root))


@pytest.mark.parametrize(
    "path",
    [
        "../a.jpg",
        "b/../a.jpg",
        "/a.jpg",
        "b/..",
        "..",
        "",
        "C:/a.jpg",
        "b\\a.jpg",
        "b//c.png",
        "b/",
    ],
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_paths_that_leave_the_root_name_the_row(root: Path, path: str, form: str) -> None:
    frame = pl.DataFrame({**FULL, "path": ["a.jpg", path, "b/d e.jpg"]})
    write(root / f"manifest.{form}", frame.write_csv() if form == "csv" else parquet(frame))
    with pytest.raises(ClipsteerError, match=rf"manifest\.{form}: row 2: found the path") as error:
        folder.read(FolderTree(root))
    assert repr(path) in str(error.value) or path == ""


def test_leading_dot_and_names_of_splits(root: Path) -> None:
    text = "path,split\n./a.jpg,0\nb/c.png,Val\nb/d e.jpg, TEST \n"
    write(root / "manifest.csv", text)
    rows = folder.read(FolderTree(root))
    assert rows["path"].to_list() == FULL["path"]
    assert rows["split"].to_list() == FULL["split"]
    write(root / "manifest.csv", text.replace("Val", "dev"))
    with pytest.raises(ClipsteerError, match=r"'split' of 'b/c.png' \(row 2\): found 'dev'"):
        folder.read(FolderTree(root))


def test_class_names_follow_the_target_where_there_is_no_class(root: Path) -> None:
    frame = pl.DataFrame(FULL)
    write(root / "manifest.csv", frame.drop("class").write_csv())
    assert folder.read(FolderTree(root), class_names=("x", "y"))["class"].to_list() == [
        "x",
        "y",
        "y",
    ]
    write(root / "manifest.csv", frame.write_csv())
    assert folder.read(FolderTree(root), class_names=("x", "y"))["class"].to_list() == FULL["class"]


def test_manifest_elsewhere(root: Path) -> None:
    frame = pl.DataFrame(FULL).with_columns(path=pl.Series(["c.png", "c.png", "d e.jpg"]))[1:]
    write(root / "b" / "mine.csv", frame.write_csv())
    rows = folder.read(FolderTree(root), manifest="b/mine.csv")
    assert rows["path"].to_list() == ["b/c.png", "b/d e.jpg"]
    with pytest.raises(ClipsteerError, match=r"'b/mime\.csv'.*Did you mean b/mine\.csv"):
        folder.read(FolderTree(root), manifest="b/mime.csv")
    with pytest.raises(ClipsteerError, match=r"no manifest\.csv or manifest\.parquet"):
        folder.read(FolderTree(root))


def test_missing_column_image_and_broken_parquet(root: Path) -> None:
    write(root / "manifest.csv", "paths,split\na.jpg,train\n")
    with pytest.raises(ClipsteerError, match=r"no column 'path'.*Did you mean paths"):
        folder.read(FolderTree(root))
    write(root / "manifest.csv", "path,split\na.jpg,train\nz.jpg,test\n")
    with pytest.raises(ClipsteerError, match=r"1 of 2 listed images are missing: 'z\.jpg'"):
        folder.read(FolderTree(root))
    (root / "manifest.csv").unlink()
    write(root / "manifest.parquet", b"PAR1 nothing")
    with pytest.raises(ClipsteerError, match=r"manifest\.parquet: not a Parquet file"):
        folder.read(FolderTree(root))


def test_captions_go_before_the_text_column(root: Path) -> None:
    write(root / "manifest.csv", pl.DataFrame(FULL).write_csv())
    write(root / "captions.csv", "path,text\nb/c.png,a wet dog\n")
    rows = folder.read(FolderTree(root))
    assert rows["text"].to_list() == ["a cat, asleep", "a wet dog", "a dog"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_booleans_capitals_and_byte_order_mark(
    root: Path, delimiter: str, end: str
) -> None:
    rows = [
        *(["Path", " SPLIT ", "Target", "spurious", "Class", "Text"],),
        *(["a.jpg", "Train", "False", "true", "cat", '"a cat, asleep"'],),
        *(["b/c.png", "val", "TRUE", "0.0", "dog", ""],),
        *(["b/d e.jpg", " test ", "true", "1.0", "dog", "a dog"],),
    ]
    text = "".join(delimiter.join(row) + end for row in rows)
    write(root / "manifest.csv", "\ufeff" + text)
    assert folder.read(FolderTree(root)).to_dict(as_series=False) == FULL


def test_a_parquet_files_columns_in_capitals(root: Path) -> None:
    frame = pl.DataFrame(FULL).rename({"target": "Target", "path": " path"})
    write(root / "manifest.parquet", parquet(frame))
    assert folder.read(FolderTree(root)).to_dict(as_series=False) == FULL


def test_tables_that_cannot_be_told(root: Path) -> None:
    write(root / "manifest.csv", "path;split\na.jpg;train;0\n")
    with pytest.raises(ClipsteerError, match=r"manifest\.csv: not a table.*between ';'"):
        folder.read(FolderTree(root))
    write(root / "manifest.csv", "path,split,Path\na.jpg,train,b\n")
    with pytest.raises(ClipsteerError, match=r"columns path and Path; expected one column 'path'"):
        folder.read(FolderTree(root))
    write(root / "manifest.csv", "path,split,target\na.jpg,train,yes\nb.jpg,train,1\n")
    with pytest.raises(ClipsteerError, match=r"row 1\): found 'yes'; expected a whole number"):
        folder.read(FolderTree(root))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,split,target,target\na.jpg,train,0,1\n", "columns target and target; expected one"),
        ("path,split,path\na.jpg,train,b.jpg\n", "columns path and path; expected one"),
        ("path,split,Text,text,text\na.jpg,train,,,\n", "columns Text and text and text"),
        ("a.jpg,train,0,0\n", "no column 'path' among a.jpg, train, 0, 0\\."),
        ("path,split\na.jpg;train\n", "found ',' between the names in the header, but ';' between"),
        ("path|split\na.jpg\ttrain\n", r"found '\|' between the names in the header, but '\\t'"),
        (
            "path split\na.jpg train\n",
            "no column 'path' among path split. Fields are separated by a",
        ),
        ("path:split\na.jpg:train\n", r"among path:split. .* a comma, a semicolon, a tab or \|"),
    ],
)
def test_columns_that_are_there_twice_or_not_told_apart(
    root: Path, text: str, expected: str
) -> None:
    write(root / "manifest.csv", text)
    with pytest.raises(ClipsteerError, match=rf"manifest\.csv: .*{expected}"):
        folder.read(FolderTree(root))


def test_lines_that_end_in_a_carriage_return_alone(root: Path) -> None:
    write(root / "manifest.csv", pl.DataFrame(FULL).write_csv().replace("\n", "\r"))
    assert folder.read(FolderTree(root)).to_dict(as_series=False) == FULL


def test_tables_of_other_names_are_named(root: Path) -> None:
    write(root / "list.tsv", "path\tsplit\na.jpg\ttrain\n")
    with pytest.raises(ClipsteerError, match=r"in the option 'manifest' \(there are 'list\.tsv'\)"):
        folder.read(FolderTree(root))


def test_what_the_manifest_names_in_a_hidden_folder_is_taken(root: Path) -> None:
    for name in (".store/x.jpg", ".store/y.jpg", "@eaDir/a.jpg"):
        write(root / name, jpeg())
    write(root / "manifest.csv", "path,split\na.jpg,train\n.store/x.jpg,test\n")
    tree = FolderTree(root, whole=False)
    with pytest.warns(UserWarning, match=r"left out \(2\)"):
        assert folder.read(tree)["path"].to_list() == ["a.jpg", ".store/x.jpg"]
    assert folder.hidden_images(root, None) == [".store/x.jpg"]
    write(root / ".store/mine.csv", "path,split\ny.jpg,train\n")
    rows = folder.read(FolderTree(root), manifest=".store/mine.csv")
    options = {"manifest": ".store/mine.csv"}
    assert rows["path"].to_list() == [".store/y.jpg"]
    # nobody would find it from its end
    assert folder.canonical(rows["path"], tree.paths(), options).to_list() == [".store/y.jpg"]
    assert folder.hidden_images(root, ".store/mine.csv") == [".store/y.jpg"]
    write(root / "manifest.csv", "path,split\n.store/z.jpg,test\n")
    with pytest.raises(ClipsteerError, match=r"1 of 1 listed images"):
        folder.read(FolderTree(root))


def test_canonical_paths_start_at_the_manifest(tmp_path: Path) -> None:
    for name in FULL["path"]:
        write(tmp_path / "below" / str(name), jpeg())
    paths = pl.Series([f"below/{name}" for name in FULL["path"]])
    write(tmp_path / "below/manifest.csv", pl.DataFrame(FULL).write_csv())
    listing = FolderTree(tmp_path).paths()
    assert folder.canonical(paths, listing, {}).to_list() == FULL["path"]
    options = {"manifest": "below/manifest.csv"}
    assert folder.canonical(paths, [], options).to_list() == FULL["path"]


def test_class_names_the_other_way_round(root: Path) -> None:
    write(root / "manifest.csv", pl.DataFrame(FULL).write_csv())
    with pytest.raises(ClipsteerError, match=r"class 'cat' on rows of target 0.*gives 'dog'"):
        folder.read(FolderTree(root), class_names=("dog", "cat"))
    assert folder.read(FolderTree(root), class_names=("cat", "dog")).height == 3
    with pytest.warns(UserWarning, match=r"are 'cat', 'dog', but class_names are woman, man"):
        folder.read(FolderTree(root), class_names=("woman", "man"))


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_columns_of_other_attributes(tmp_path: Path, form: str) -> None:
    table = pl.DataFrame(
        {
            "path": ["b.jpg", "a.jpg"],
            "split": ["train", "test"],
            "Hat": ["1", "0"],
            "tie": ["true", "false"],
        }
    )
    for name in table["path"]:
        write(tmp_path / "set" / name, jpeg())
    file = f"set/manifest.{form}"
    buffer = io.BytesIO()
    table.write_csv(buffer) if form == "csv" else table.write_parquet(buffer)
    write(tmp_path / file, buffer.getvalue())
    found = folder.attributes(FolderTree(tmp_path), ["Tie", "Hat"], manifest=file)
    assert found.rows(named=True) == [
        {"path": "set/b.jpg", "Tie": 1, "Hat": 1},
        {"path": "set/a.jpg", "Tie": 0, "Hat": 0},
    ]
    with pytest.raises(ClipsteerError, match="found no column 'scarf'"):
        folder.attributes(FolderTree(tmp_path), ["Scarf"], manifest=file)


def test_names_and_more_than_two_values(root: Path) -> None:
    frame = pl.DataFrame(FULL).with_columns(
        target=pl.Series(["cow", "ant", "bee"]), spurious=pl.Series(["sea", "air", "land"])
    )
    write(root / "manifest.csv", frame.drop("class").write_csv())
    rows = folder.read(FolderTree(root))
    assert rows["target"].to_list() == [2, 0, 1]  # by the alphabet
    assert rows["spurious"].to_list() == [2, 0, 1]
    rows = folder.read(FolderTree(root), class_names=("bee", "cow", "ant", "dog"))
    assert rows["target"].to_list() == [1, 2, 0]  # as the class names have it
    assert rows["class"].to_list() == ["cow", "ant", "bee"]
    numbers = pl.DataFrame(FULL).with_columns(target=pl.Series([2, 0, 1]))
    write(root / "manifest.csv", numbers.drop("class").write_csv())
    rows = folder.read(FolderTree(root), class_names=("x", "y", "z"))
    assert rows["target"].to_list() == [2, 0, 1]
    assert rows["class"].to_list() == ["z", "x", "y"]
    with pytest.raises(ClipsteerError, match="found the target 2, but class_names has 2 names"):
        folder.read(FolderTree(root), class_names=("x", "y"))


def named(root: Path, *target: str, **more: list[str]) -> None:
    frame = pl.DataFrame({**FULL, **more}).with_columns(target=pl.Series(target))
    write(root / "manifest.csv", frame.drop("class").write_csv())


def test_names_are_those_of_the_classes_case_aside(root: Path) -> None:
    """A name that is not known is no reason to number all of them by the alphabet, which swaps classes."""
    named(root, "Waterbird", "Landbird", "Waterbird")
    rows = folder.read(FolderTree(root), class_names=("waterbird", "landbird"))
    assert rows["target"].to_list() == [0, 1, 0]
    assert rows["class"].to_list() == ["waterbird", "landbird", "waterbird"]
    named(root, "man", "woman", "man")
    with pytest.raises(
        ClipsteerError,
        match=r"column 'target': found 'man', 'woman'; expected the names of class_names, 'a woman', 'a man'",
    ):
        folder.read(FolderTree(root), class_names=("a woman", "a man"))
    named(root, "cat", "dog", "Cat")
    with pytest.raises(ClipsteerError, match=r"found 'Cat', 'cat'; expected one spelling"):
        folder.read(FolderTree(root))
    assert folder.read(FolderTree(root), class_names=("dog", "cat", "Cat"))["target"].to_list() == [
        1, 0, 2,
    ]  # fmt: skip


def test_class_names_that_differ_in_case_alone_are_told_apart(root: Path) -> None:
    classes = ("dog", "cat", "Cat")
    named(root, "cat", "dOg", "Cat")
    assert folder.read(FolderTree(root), class_names=classes)["target"].to_list() == [1, 0, 2]
    named(root, "CAT", "dog", "dog")
    with pytest.raises(ClipsteerError, match=r"found 'CAT'; expected the names of class_names"):
        folder.read(FolderTree(root), class_names=classes)


def test_it_is_said_how_names_are_numbered(root: Path) -> None:
    named(root, "0", "1", "1", spurious=["water", "land", "water"])
    with pytest.warns(Note, match=r"column 'spurious': names are .*: 'land' is 0, 'water' is 1"):
        assert folder.read(FolderTree(root))["spurious"].to_list() == [1, 0, 1]


def test_blank_text_is_no_value_in_a_parquet_file_either(root: Path) -> None:
    """As pandas' fillna("") leaves it."""

    def read(**columns: list[str]) -> pl.DataFrame:
        buffer = io.BytesIO()
        pl.DataFrame({**FULL, **columns}).write_parquet(buffer)
        write(root / "manifest.parquet", buffer.getvalue())
        return folder.read(FolderTree(root))

    with pytest.raises(ClipsteerError, match="found None; expected"):
        read(spurious=["", "water", "water"])
    assert "pair" not in read(pair=["", " ", ""]).columns
    assert read(target=[""] * 3)["target"].is_null().all()


def test_a_row_may_name_its_pair(root: Path, tmp_path: Path) -> None:
    write(root / "in/one.jpg", jpeg(5))
    write(root / "in/Two.jpg", jpeg(6))
    write(root / "in/list.csv", "path,split,PAIR\none.jpg,test,./two.jpg\ntwo.jpg,test,\n")
    with pytest.warns(UserWarning, match="written otherwise"):
        rows = folder.read(FolderTree(root), manifest="in/list.csv")
    assert rows.select("path", "pair").rows() == [
        ("in/one.jpg", "in/Two.jpg"),
        ("in/Two.jpg", None),
    ]
    # one that is left out is nobody's pair; a column without a value is none
    write(root / "manifest.csv", "path,split,pair\na.jpg,test,gone.jpg\ngone.jpg,test,a.jpg\n")
    with pytest.warns(UserWarning, match="left out"):
        rows = folder.read(FolderTree(root), missing_images="drop")
    assert rows.select("path", "pair").rows() == [("a.jpg", None)]
    write(root / "manifest.csv", "path,split,pair\na.jpg,test,\n")
    assert "pair" not in folder.read(FolderTree(root)).columns


def test_a_pair_that_no_row_has_is_named(root: Path) -> None:
    write(root / "manifest.csv", "path,split,pair\na.jpg,test,b/c.png\nb/c.png,test,b/d.png\n")
    with pytest.raises(
        ClipsteerError, match=r"'pair' of 'b/c\.png' \(row 2\): found 'b/d\.png'.*b/c\.png"
    ):
        folder.read(FolderTree(root))
