from __future__ import annotations

import shutil
import time
import warnings
from pathlib import Path

import polars as pl
import pytest

from clipsteer.data.forms import option_faults
from clipsteer.data.layouts import celeba
from clipsteer.data.manifest import build_manifest, group_counts, split_rows
from clipsteer.errors import ClipsteerError
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import FolderTree, StoreTree, put_tree
from tests.data import small_trees
from tests.data.small_trees import ATTRIBUTES, FACES, face_name, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_trees.celeba(tmp_path)


def expected(folder: str = "img_align_celeba/") -> pl.DataFrame:
    splits = ("train", "validation", "test")
    return pl.DataFrame(
        [
            (f"{folder}{face_name(i)}", splits[s], m, b, ("woman", "man")[m], "")
            for i, (s, m, b) in enumerate(FACES)
        ],
        schema=pl.Schema(
            {
                "path": pl.String(),
                "split": pl.String(),
                "target": pl.Int8(),
                "spurious": pl.Int8(),
                "class": pl.String(),
                "text": pl.String(),
            }
        ),
        orient="row",
    )


@pytest.mark.parametrize("form", ["txt", "csv"])
def test_reads_both_forms_without_a_warning(tmp_path: Path, form: str) -> None:
    small_trees.celeba(tmp_path, form=form)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = celeba.read(FolderTree(tmp_path))
    assert rows.equals(expected())
    assert rows.schema == expected().schema


def test_a_store_tree_reads_like_the_folder(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = ObjectStore(tmp_path_factory.mktemp("store"))
    tree = StoreTree(store, put_tree(store, root))
    assert celeba.read(tree).equals(celeba.read(FolderTree(root)))


@pytest.mark.parametrize("first", ["", "image_id", "name"])
def test_csv_whatever_its_first_column_is_called(root: Path, first: str) -> None:
    attributes, partition = small_trees.celeba_csv(FACES, first)
    (root / "list_attr_celeba.txt").unlink()
    (root / "list_eval_partition.txt").unlink()
    write(root / "list_attr_celeba.csv", attributes)
    write(root / "list_eval_partition.csv", partition)
    assert celeba.read(FolderTree(root)).equals(expected())


@pytest.mark.parametrize(
    "mangle",
    [
        lambda text: text.replace("\n", " \r\n"),
        lambda text: text.replace("\r\n", "\n"),
        lambda text: text.replace(" ", "\t"),
        lambda text: text + "\n \n",
        lambda text: "\ufeff" + text,
        lambda text: text.split("\n", 1)[1],
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("5_o_Clock", "image_id 5_o_Clock"),
    ],
    ids=["crlf", "lf", "tabs", "blank lines", "bom", "no count", "no last newline", "named id"],
)
def test_text_form_in_the_wild(root: Path, mangle: object) -> None:
    file = root / "list_attr_celeba.txt"
    write(file, mangle(file.read_bytes().decode()))  # type: ignore[operator]
    assert celeba.read(FolderTree(root)).equals(expected())


def test_every_attribute_can_be_target_or_spurious(root: Path) -> None:
    tree = FolderTree(root)
    values = small_trees.attribute_values(*FACES[0][1:])
    for i, name in enumerate(ATTRIBUTES):
        other = ATTRIBUTES[i - 1]
        row = celeba.read(tree, target=name, spurious=other).row(0, named=True)
        assert (row["target"], row["spurious"]) == ((values[i] + 1) // 2, (values[i - 1] + 1) // 2)


def test_class_names(root: Path) -> None:
    tree = FolderTree(root)
    rows = celeba.read(tree, class_names=["female", "male"])
    assert rows["class"].to_list() == [("female", "male")[t] for t in rows["target"]]
    rows = celeba.read(tree, target="Wavy_Hair")
    assert set(rows["class"]) <= {"wavy hair", "not wavy hair"}
    for wrong in (["man"], ["man", "man"], "mw", ["", "man"]):
        with pytest.raises(ClipsteerError, match="class_names"):
            celeba.read(tree, class_names=wrong)


@pytest.mark.parametrize("option", ["target", "spurious"])
def test_unknown_attribute_names_a_close_one(root: Path, option: str) -> None:
    with pytest.raises(ClipsteerError, match=r"'blonde_hair'.*Did you mean Blond_Hair") as error:
        celeba.read(FolderTree(root), **{option: "blonde_hair"})  # type: ignore[arg-type]
    assert option in str(error.value)
    assert "list_attr_celeba.txt" in str(error.value)


@pytest.mark.parametrize("form", ["txt", "csv"])
def test_an_attribute_that_is_there_twice(tmp_path: Path, form: str) -> None:
    root = small_trees.celeba(tmp_path, form=form)
    file = root / f"list_attr_celeba.{form}"
    file.write_text(file.read_text().replace("Young", "Blond_Hair"))
    expected = rf"attr_celeba\.{form}: found 2 columns 'Blond_Hair' \(option 'spurious'\)"
    with pytest.raises(ClipsteerError, match=expected):
        celeba.read(FolderTree(root))
    options = {"layout": "celeba", "options": {"target": "Male", "spurious": "Blond_Hair"}}
    (fault,) = option_faults("datasets.x", options, root)
    assert "found 2 columns 'Blond_Hair'" in fault


def test_fields_that_are_not_told_apart(root: Path) -> None:
    file = root / "list_attr_celeba.txt"
    file.write_text(file.read_text().replace(" ", ","))
    with pytest.raises(ClipsteerError, match=r"no attribute 'Male'.* Blanks separate the fields"):
        celeba.read(FolderTree(root))


def test_target_and_spurious_must_differ(root: Path) -> None:
    with pytest.raises(ClipsteerError, match="two attributes"):
        celeba.read(FolderTree(root), target="Male", spurious="Male")


def test_images_nested_once_more(root: Path) -> None:
    images = root / "img_align_celeba"
    images.rename(root / "inner")
    images.mkdir()
    (root / "inner").rename(images / "img_align_celeba")
    rows = celeba.read(FolderTree(root))
    assert rows.equals(expected("img_align_celeba/img_align_celeba/"))


def test_short_attribute_file_warns_and_keeps_what_both_tables_list(root: Path) -> None:
    file = root / "list_attr_celeba.txt"
    lines = file.read_bytes().splitlines(keepends=True)
    write(file, b"".join(lines[:-3]))
    with pytest.warns(UserWarning, match="celeba") as caught:
        rows = celeba.read(FolderTree(root))
    assert rows.equals(expected().head(len(FACES) - 3))
    texts = [str(w.message) for w in caught]
    assert any("promises 24 rows, 21 are there" in text for text in texts)
    assert any("3 images of the other table" in text and face_name(21) in text for text in texts)


def test_images_that_the_partition_lacks_warn(root: Path) -> None:
    file = root / "list_eval_partition.txt"
    lines = file.read_bytes().splitlines(keepends=True)
    write(file, b"".join(lines[1:]))
    with pytest.warns(UserWarning, match=r"list_eval_partition.txt: 1 images.*000001.jpg"):
        rows = celeba.read(FolderTree(root))
    assert rows.equals(expected().tail(len(FACES) - 1))


def test_tables_without_a_common_image(root: Path) -> None:
    write(root / "list_eval_partition.txt", "a.png 0\nb.png 1\n")
    with pytest.raises(ClipsteerError, match="no image in common"):
        celeba.read(FolderTree(root))


def test_order_is_that_of_the_partition_file(root: Path) -> None:
    file = root / "list_eval_partition.txt"
    lines = file.read_bytes().splitlines(keepends=True)
    write(file, b"".join(reversed(lines)))
    assert celeba.read(FolderTree(root)).equals(expected().reverse())


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "list_attr_celeba.txt",
            "000003.jpg -1",
            "000003.jpg  2",
            "column '5_o_Clock_Shadow'.*'2'",
        ),
        ("list_attr_celeba.txt", "000003.jpg -1", "000003.jpg", "'000003.jpg'.*too few values"),
        ("list_attr_celeba.txt", "000003.jpg -1", "000003.jpg -1 -1", "not a table"),
        ("list_attr_celeba.txt", "000003.jpg", "000002.jpg", "'000002.jpg' more than once"),
        ("list_eval_partition.txt", "000003.jpg 0", "000003.jpg 3", "'000003.jpg'.*'3'"),
        ("list_eval_partition.txt", "000003.jpg 0", "000003.jpg", "'000003.jpg'.*None"),
        ("list_eval_partition.txt", "000003.jpg 0", "000003.jpg 0 0", "not a table"),
        ("list_eval_partition.txt", "000003.jpg", "000002.jpg", "'000002.jpg' more than once"),
        ("list_eval_partition.txt", "000003.jpg", "../03.jpg", "'img_align_celeba/../03.jpg'"),
    ],
)
def test_faults_name_the_file_and_the_row(
    root: Path, file: str, old: str, new: str, message: str
) -> None:
    text = (root / file).read_bytes().decode()
    assert old in text
    write(root / file, text.replace(old, new))
    if new == "../03.jpg":  # listed in both, so that only the path is at fault
        other = (root / "list_attr_celeba.txt").read_bytes().decode()
        write(root / "list_attr_celeba.txt", other.replace(old, new))
    with pytest.raises(ClipsteerError, match=message) as error:
        celeba.read(FolderTree(root), target="5_o_Clock_Shadow")
    assert file in str(error.value)


def test_a_file_cut_off_in_its_first_row(root: Path) -> None:
    lines = (root / "list_attr_celeba.txt").read_bytes().splitlines(keepends=True)
    cut = [line.rsplit(None, 1)[0] + b"\n" for line in lines[2:]]
    write(root / "list_attr_celeba.txt", b"".join([*lines[:2], *cut]))
    with pytest.raises(ClipsteerError, match="too few values"):
        celeba.read(FolderTree(root))


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
def test_missing_and_empty_tables(root: Path, name: str) -> None:
    write(root / name, "")
    with pytest.raises(ClipsteerError, match=name):
        celeba.read(FolderTree(root))
    (root / name).unlink()
    with pytest.raises(ClipsteerError, match=name):
        celeba.read(FolderTree(root))


def test_missing_images(root: Path) -> None:
    for i in (3, 5, 7, 9):
        (root / "img_align_celeba" / face_name(i)).unlink()
    tree = FolderTree(root)
    with pytest.raises(
        ClipsteerError, match=r"4 of 24 .*000004.jpg.*000006.jpg.*000008.jpg.* 1 more"
    ):
        celeba.read(tree)
    with pytest.warns(UserWarning, match="4 of 24 listed images are missing"):
        rows = celeba.read(tree, missing_images="drop")
    gone = pl.Series([3, 5, 7, 9])
    assert rows.equals(
        expected().with_row_index().filter(~pl.col("index").is_in(gone.implode())).drop("index")
    )
    with pytest.raises(ClipsteerError, match=r"missing_images.*'dropp'.*Did you mean drop"):
        celeba.read(tree, missing_images="dropp")
    shutil.rmtree(root / "img_align_celeba")
    with pytest.raises(ClipsteerError, match="24 of 24"):
        celeba.read(tree, missing_images="drop")


def test_captions(root: Path) -> None:
    text = 'path,text\nimg_align_celeba/000002.jpg,"a man, blond"\nimg_align_celeba/000001.jpg,x\n'
    write(root / "captions.csv", text)
    rows = celeba.read(FolderTree(root))
    assert rows["text"].to_list() == ["x", "a man, blond"] + [""] * 22
    write(root / "captions.csv", "path,text\n000002.jpg,a man\n")
    with pytest.raises(ClipsteerError, match=r"captions.csv: found no caption for any image"):
        celeba.read(FolderTree(root))


class Crowded(FolderTree):
    """A folder that lists more images than it has: 200,000 real links cost five seconds."""

    def __init__(self, root: Path, images: list[str]) -> None:
        super().__init__(root)
        self.images = images

    def paths(self) -> list[str]:
        return sorted({*super().paths(), *self.images})


def test_full_size_tables_load_in_seconds(tmp_path: Path) -> None:
    """162,770 / 19,867 / 19,962 rows and the official groups of the test split."""
    groups = {
        # (not blond female, blond female, not blond male, blond male)
        0: (71_629, 22_880, 66_874, 1_387),
        1: (8_535, 2_874, 8_276, 182),
        2: (9_767, 2_480, 7_535, 180),
    }
    faces = [
        (split, group // 2, group % 2)
        for split, sizes in groups.items()
        for group, size in enumerate(sizes)
        for _ in range(size)
    ]
    assert len(faces) == 202_599
    attributes, partition = small_trees.celeba_text(faces)
    write(tmp_path / "list_attr_celeba.txt", attributes)
    write(tmp_path / "list_eval_partition.txt", partition)
    write(tmp_path / "img_align_celeba" / face_name(0), small_trees.jpeg())
    tree = Crowded(tmp_path, [f"img_align_celeba/{face_name(i)}" for i in range(len(faces))])
    start = time.process_time()  # of this process alone, so that a busy machine does not count
    rows = celeba.read(tree)
    manifest = build_manifest(
        rows,
        tree,
        per_group={"validation": 182, "test": 180},
        seed=0,
        digests=dict.fromkeys(rows["path"], "blake3:" + "0" * 64),
    )
    assert time.process_time() - start < 8  # 1.5 s when it was written
    counts = group_counts(manifest)
    assert counts["images"].to_list() == [n for sizes in groups.values() for n in sizes]
    assert counts["evaluated"].to_list() == [*groups[0], *[182] * 4, *[180] * 4]
    assert [split_rows(manifest, s).height for s in ("train", "test")] == [162_770, 720]
    assert manifest["index"].to_list() == list(range(202_599))


def test_canonical_paths_start_at_the_image_folder(root: Path) -> None:
    flat = celeba.read(FolderTree(root))["path"]
    deep = "data/" + "img_align_celeba/" * 2 + flat.str.strip_prefix("img_align_celeba/")
    assert celeba.canonical(deep, [], {}).to_list() == flat.to_list()
    assert celeba.canonical(flat, [], {}).to_list() == flat.to_list()


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_with_another_delimiter_and_booleans(root: Path, delimiter: str) -> None:
    attributes, partition = small_trees.celeba_csv(FACES)
    attributes = attributes.replace(",-1", ",False").replace(",1", ",True")
    for name, text in (("list_attr_celeba", attributes), ("list_eval_partition", partition)):
        (root / f"{name}.txt").unlink()
        write(root / f"{name}.csv", text.replace(",", delimiter))
    assert celeba.read(FolderTree(root)).equals(expected())


def test_other_attributes_of_the_same_images(root: Path) -> None:
    tree = FolderTree(root)
    rows = celeba.read(tree)
    names = ("Smiling", "Eyeglasses")
    found = celeba.attributes(tree, names, target="Male", spurious="Blond_Hair")
    assert found.columns == ["path", *names]
    assert found["path"].to_list() == rows["path"].to_list()
    for name in names:
        other = celeba.read(tree, target=name, class_names=("no", "yes"))
        assert found[name].to_list() == other["target"].to_list()
    with pytest.raises(ClipsteerError, match=r"'Smilling' \(option 'unconcerned'\).*Smiling"):
        celeba.attributes(tree, ["Smilling"])


def test_of_two_tables_of_a_kind_the_one_that_is_read_is_said(root: Path) -> None:
    write(root / "kaggle/list_eval_partition.csv", "image_id,partition\n000001.jpg,2\n")
    with pytest.warns(UserWarning, match="not read") as said:
        rows = celeba.read(FolderTree(root))
    assert rows.equals(expected())
    assert [str(warning.message) for warning in said] == [
        "list_eval_partition.txt is read; of the same kind and not read: "
        "'kaggle/list_eval_partition.csv'"
    ]
