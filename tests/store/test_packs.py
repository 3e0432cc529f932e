"""Packs: a tree as one Parquet file, read as a folder of files is; what is lost or damaged in one is said."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import polars as pl
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.data.packed import ROWS, pack_bytes, pack_folder
from clipsteer.errors import ClipsteerError
from clipsteer.store import packs
from clipsteer.store.digest import digest_bytes
from clipsteer.store.entries import PACKED, is_pack
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from clipsteer.store.reach import Trees
from clipsteer.store.trees import FolderTree, StoreTree, put_tree_entries, tree_complete

FILES = {"list.txt": b"a b\n", "img/1.jpg": b"one", "img/deep/2.jpg": b"two", "in/3": b"one"}


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store")


def test_what_is_read_at_once_is_what_was_written_together() -> None:
    assert packs.ROWS == ROWS


def put(objects: ObjectStore, files: dict[str, bytes]) -> str:
    return objects.put_bytes(pack_bytes(files.items()))


def write(folder: Path, files: dict[str, bytes]) -> FolderTree:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return FolderTree(folder)


def test_a_pack_is_read_as_the_folder_is(objects: ObjectStore, tmp_path: Path) -> None:
    many = {f"more/{n:05d}": f"{n}".encode() * (n % 7) for n in range(2 * ROWS + 3)}
    folder = write(tmp_path / "source", FILES | many)
    digest = objects.put_bytes(pack_folder(folder.root))
    tree = StoreTree(objects, digest)
    assert list(objects.digests()) == [digest]
    assert tree.paths() == folder.paths()
    assert tree.total_size() == sum(map(folder.size, folder.paths()))
    for path in (*reversed(folder.paths()), "list.txt"):
        assert tree.exists(path)
        assert (tree.read(path), tree.size(path), tree.digest(path)) == (
            folder.read(path),
            folder.size(path),
            folder.digest(path),
        )
    for path in ("img", "img/3.jpg", "list.txt/x"):
        assert not tree.exists(path)
        with pytest.raises(ClipsteerError, match="found no file"):
            tree.read(path)
    with pytest.raises(ClipsteerError, match="relative path"):
        tree.read("../list.txt")


names = st.text("abc/.é", min_size=1, max_size=6).filter(
    lambda name: not {"", ".", ".."} & set(name.split("/"))
)


@settings(max_examples=40)
@given(files=st.dictionaries(names, st.binary(max_size=40), max_size=12), data=st.data())
def test_equal_files_give_equal_bytes_that_another_library_reads(
    files: dict[str, bytes], data: st.DataObject
) -> None:
    made = pack_bytes(files.items())
    assert pack_bytes(data.draw(st.permutations(list(files.items())))) == made
    table = pyarrow.parquet.read_table(io.BytesIO(made)).to_pydict()
    assert dict(zip(table["path"], table["data"], strict=True)) == files
    assert table["path"] == sorted(files)
    assert table["digest"] == [digest_bytes(files[path]) for path in sorted(files)]
    assert table["size"] == [len(files[path]) for path in sorted(files)]


def test_nothing_below_a_pack_is_an_object(objects: ObjectStore) -> None:
    digest = put(objects, FILES)
    assert is_pack(objects, digest)
    assert Trees(objects, strict=True).below(digest) == {}
    assert tree_complete(objects, digest)
    assert {entry.kind for entry in StoreTree(objects, digest).entries.values()} == {PACKED}
    with pytest.raises(ValueError, match="is in the pack"):
        StoreTree(objects, digest).local_path("list.txt")
    objects.forget(digest)
    assert not tree_complete(objects, digest)
    with pytest.raises(MissingObjectError):
        StoreTree(objects, digest)


def test_a_pack_inside_a_tree(objects: ObjectStore) -> None:
    pack, blob = put(objects, FILES), objects.put_bytes(b"beside")
    outer = put_tree_entries(objects, {"in/pack": (pack, 13, "tree"), "b": (blob, 6, "blob")})
    tree = StoreTree(objects, outer)
    assert tree.paths() == sorted(["b", *(f"in/pack/{path}" for path in FILES)])
    assert {path: tree.read(f"in/pack/{path}") for path in FILES} == FILES
    assert tree.read("b") == b"beside"
    assert tree_complete(objects, outer)
    objects.forget(pack)
    assert not tree_complete(objects, outer)


def damage(objects: ObjectStore, digest: str, place: int) -> None:
    file = objects.root / objects.relative(digest)
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.chmod(0o644)
    file.write_bytes(data)


@pytest.mark.parametrize("place", range(5, 600, 35))
@pytest.mark.parametrize("verify_below", [1, 2**20])
def test_a_damaged_pack_never_gives_other_bytes(
    tmp_path: Path, place: int, verify_below: int
) -> None:
    objects = ObjectStore(tmp_path / "store", verify_below=verify_below)
    digest = put(objects, FILES)
    open_before = StoreTree(objects, digest)
    damage(objects, digest, place)
    with pytest.raises(DamagedObjectError):
        StoreTree(objects, digest)
    assert not objects.exists(digest)  # put away, so that it is made again
    damage(objects, put(objects, FILES), place)
    found = {}
    with contextlib.suppress(ClipsteerError):
        found = {path: open_before.read(path) for path in FILES}
    assert found in ({}, FILES)
    objects.quarantine(digest)
    put(objects, FILES)
    assert {path: open_before.read(path) for path in FILES} == FILES


def test_other_tables_are_no_trees(objects: ObjectStore) -> None:
    for frame in (
        pl.DataFrame({"path": ["a"], "digest": ["b"]}),
        pl.DataFrame({"path": ["a"], "digest": [digest_bytes(b"")], "size": [-1]}),
        pl.DataFrame({"path": ["../a"], "digest": [digest_bytes(b"")], "size": [0]}),
        pl.DataFrame({"path": ["a", "a/b"], "digest": [digest_bytes(b"")] * 2, "size": [0, 0]}),
    ):
        file = io.BytesIO()
        frame.write_parquet(file)
        with pytest.raises(ClipsteerError, match=r"tree |expected a pack"):
            StoreTree(objects, objects.put_bytes(file.getvalue()))


def test_content_that_is_not_what_its_row_says(objects: ObjectStore) -> None:
    file = io.BytesIO()
    row = {"path": ["a"], "digest": [digest_bytes(b"x")], "size": [1], "data": [b"y"]}
    pl.DataFrame(row).write_parquet(file)
    tree = StoreTree(objects, objects.put_bytes(file.getvalue()))
    with pytest.raises(ClipsteerError, match="found other bytes"):
        tree.read("a")
