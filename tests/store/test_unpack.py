"""Stored objects as real files: whole or not at all, verified, never mixed with what is there."""

from __future__ import annotations

import errno
import os
import stat
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from clipsteer.data.manifest import build_manifest
from clipsteer.data.packed import pack_folder
from clipsteer.errors import ClipsteerError
from clipsteer.store import unpack as unpacking
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from clipsteer.store.pointers import Output
from clipsteer.store.trees import FolderTree, StoreTree, put_tree, put_tree_entries
from clipsteer.store.unpack import unpack
from clipsteer.tables import parquet_bytes
from tests.folders import contents

FILES = {"list.txt": b"a b\n", "img/1.jpg": b"one", "img/deep/2.jpg": b"two", "in/3": b"one"}


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store")


@pytest.fixture
def tree(objects: ObjectStore, tmp_path: Path) -> Output:
    """With a tree in it."""
    for name, data in FILES.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    digest = put_tree(objects, tmp_path / "source", ["in"])
    return Output(digest, sum(map(len, FILES.values())), "tree")


def left(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()} - {"store", "source"}


@pytest.mark.parametrize("packed", [False, True])
def test_a_tree_becomes_its_files(
    objects: ObjectStore, tree: Output, tmp_path: Path, packed: bool
) -> None:
    if packed:
        tree = Output(objects.put_bytes(pack_folder(tmp_path / "source")), tree.size, "tree")
    told: list[tuple[int, int]] = []
    folder = tmp_path / "new/folder"
    assert unpack(objects, {"": tree}, folder, lambda *now: told.append(now)) == (4, 13)
    assert contents(folder) == FILES
    assert told[-1] == (13, 13)
    for path in folder.rglob("*"):
        assert not path.is_symlink()
        assert os.access(path, os.W_OK)
        assert path.is_dir() or path.stat().st_nlink == 1  # an edit does not reach the store
    assert stat.S_IMODE((folder / "list.txt").stat().st_mode) & 0o200
    assert os.listdir(folder.parent) == ["folder"]


def test_several_objects_by_their_names(objects: ObjectStore, tree: Output, tmp_path: Path) -> None:
    blob = Output(objects.put_bytes(b"blob"), 4)
    (tmp_path / "out").mkdir()  # an empty one is as good as none
    assert unpack(objects, {"a/blob": blob, "b": tree}, tmp_path / "out") == (5, 17)
    expected = {f"b/{name}": data for name, data in FILES.items()} | {"a/blob": b"blob"}
    assert contents(tmp_path / "out") == expected


def test_nothing_is_mixed_with_what_is_there(
    objects: ObjectStore, tree: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, here = tmp_path / "full", tmp_path / "here"
    for folder in (full, here):
        folder.mkdir()
    (full / ".hidden").write_text("mine")
    (tmp_path / "link").symlink_to(full)
    monkeypatch.chdir(here)
    for name, words in (
        (full, "a folder that is not empty"),
        (tmp_path / "link", "a folder that is not empty"),
        (full / ".hidden", "found a file, expected a folder"),
        (full / ".hidden/below", r"full/\.hidden: found a file"),
        (Path(), "the current folder"),
    ):
        with pytest.raises(ClipsteerError, match=words):
            unpack(objects, {"": tree}, name)
    assert contents(full) == {".hidden": b"mine"}
    assert left(tmp_path) == {"full", "here", "link"}


@pytest.mark.parametrize("size", [0, 4])
def test_a_damaged_object_is_found(
    objects: ObjectStore, tree: Output, tmp_path: Path, size: int
) -> None:
    path = objects.path(StoreTree(objects, tree.digest).digest("list.txt"))
    path.chmod(0o644)
    path.write_bytes(b"x" * size)
    with pytest.raises(DamagedObjectError, match=r"\(list\.txt\) is damaged"):
        unpack(objects, {"": tree}, tmp_path / "out")
    assert left(tmp_path) == set()
    with pytest.raises(MissingObjectError):  # it was put out of the way
        unpack(objects, {"": tree}, tmp_path / "out")
    assert left(tmp_path) == set()


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_disk_that_refuses(
    objects: ObjectStore,
    tree: Output,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: int,
) -> None:
    def refuse(descriptor: int, data: bytes) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(unpacking, "write_all", refuse)
    with pytest.raises(ClipsteerError, match=f"out: cannot write: .*{errno.errorcode[fault]}"):
        unpack(objects, {"": tree}, tmp_path / "out")
    assert left(tmp_path) == set()


def test_a_folder_that_somebody_fills_meanwhile(
    objects: ObjectStore, tree: Output, tmp_path: Path
) -> None:
    def fill(*_: int) -> None:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out/theirs").touch()

    with pytest.raises(ClipsteerError, match="cannot be replaced by what was written"):
        unpack(objects, {"": tree}, tmp_path / "out", fill)
    assert left(tmp_path) == {"out"}
    assert os.listdir(tmp_path / "out") == ["theirs"]


def test_interrupted(objects: ObjectStore, tree: Output, tmp_path: Path) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(objects, {"": tree}, tmp_path / "out", stop)
    assert left(tmp_path) == set()


def test_files_of_the_users_own_are_not_the_stores_to_give(
    objects: ObjectStore, tmp_path: Path
) -> None:
    blob = objects.put_bytes(b"weights")
    digest = put_tree_entries(objects, {"model.safetensors": (blob, 7, "external")})
    with pytest.raises(ClipsteerError, match=r"model\.safetensors is a file of your own"):
        unpack(objects, {"": Output(digest, 7, "tree")}, tmp_path / "out")
    assert left(tmp_path) == set()


WORLDS: dict[str, Any] = {
    "celeba": ("faces", {"train": [4, 2, 3, 2], "validation": [2, 2, 2, 2], "test": [3, 3, 3, 3]}),
    "waterbirds": (
        "birds",
        {"train": [3, 1, 2, 4], "validation": [2, 1, 1, 2], "test": [2, 2, 2, 2]},
    ),
    "imagenet": ("general", {"train": 8}),
}


@pytest.mark.parametrize("layout", WORLDS)
def test_a_painted_world_has_the_real_layout_and_gives_the_same_manifest(
    layout: str, objects: ObjectStore, tmp_path: Path
) -> None:
    world, counts = WORLDS[layout]
    painter = import_module(f"clipsteer.data.painters.{world}")
    painter.paint(tmp_path / "source", counts=counts, size=16, seed=3)
    digest = objects.put_bytes(pack_folder(tmp_path / "source"))
    unpack(objects, {"": Output(digest, 0, "tree")}, tmp_path / "out")
    read = import_module(f"clipsteer.data.layouts.{layout}").read
    per_group = {} if layout == "imagenet" else {"validation": 1, "test": 2}
    manifests = [
        parquet_bytes(build_manifest(read(tree), tree, per_group=per_group, seed=5))
        for tree in (StoreTree(objects, digest), FolderTree(tmp_path / "out"))
    ]
    assert manifests[0] == manifests[1]
    named = {path.name for path in (tmp_path / "out").iterdir()}
    assert layout != "celeba" or {"img_align_celeba", "list_attr_celeba.txt"} < named
    assert layout != "waterbirds" or "metadata.csv" in {
        p.name for p in (tmp_path / "out").rglob("*")
    }
