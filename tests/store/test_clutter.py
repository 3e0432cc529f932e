"""Hidden and system files and folders are no data: not scanned, not listed, unless they are named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clipsteer.runner.scan import Folder, ScannedTree, scan
from clipsteer.store.clutter import in_clutter, is_clutter
from clipsteer.store.trees import FolderTree
from tests.data.small_trees import write

CLUTTER = [
    *(".ipynb_checkpoints/a.jpg", "x/.Trash-1000/files/a.jpg", ".git/objects/ab/cd", ".DS_Store"),
    *("__MACOSX/x/._a.jpg", "x/._a.jpg", "x/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "Thumbs.db"),
    *("lost+found/#123", "$RECYCLE.BIN/S-1-5/a.jpg", "System Volume Information/tracking.log"),
    *("x/desktop.ini", "#recycle/a.jpg", "x/__pycache__/a.pyc", ".hidden.jpg", "LOST+FOUND/a.jpg"),
]
DATA = ["x/a.jpg", "a.b/c.d.jpg", "found/a.jpg", "recycle/a.jpg", "git/a.jpg", "_x/a.jpg"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in [*CLUTTER, *DATA, "list.csv"]:
        write(tmp_path / "data" / path, path)
    return tmp_path / "data"


def look(root: Path, cache: str = "cache", **options: Any) -> dict[str, str]:
    settings = {"watch": "files", "label_patterns": ["**/*.csv"], **options}
    found = scan(Folder(root, key="k", layout="l", **settings), cache=root.parent / cache)
    return {**found.digests, "token": found.token["digest"]}


def test_names() -> None:
    assert all(in_clutter(path) for path in CLUTTER)
    assert not any(in_clutter(path) for path in DATA)
    assert not is_clutter("n01440764")


def test_scan_passes_clutter_by(root: Path) -> None:
    first = look(root)
    assert set(first) == {*DATA, "list.csv", "token"}
    for path in CLUTTER:
        write(root / path, "changed")
    write(root / "x/.ipynb_checkpoints/new-checkpoint.csv", "new")
    assert look(root) == first
    assert set(look(root, "labels", watch="labels")) == {"list.csv", "token"}
    write(root / "._list.csv", "AppleDouble")
    assert set(look(root, "off", watch="off")) == {"list.csv", "token"}


def test_scanned_tree_lists_no_clutter_and_says_what_it_passed_by(root: Path) -> None:
    tree = ScannedTree(root, {})
    assert tree.paths() == sorted([*DATA, "list.csv"])
    assert {".git", "x/@eaDir", "x/._a.jpg", "lost+found"} <= set(tree.left_out)
    assert tree.exists(".hidden.jpg")
    assert len(FolderTree(root).paths()) == len(CLUTTER) + len(DATA) + 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_system_folder_that_may_not_be_read(root: Path) -> None:
    (root / "lost+found").chmod(0)
    try:
        assert "x/a.jpg" in look(root)
        assert "x/a.jpg" in ScannedTree(root, {}).paths()
    finally:
        (root / "lost+found").chmod(0o700)


def test_what_the_user_names_counts(root: Path) -> None:
    asked: list[bool] = []

    def named(beside: bool) -> list[str]:
        asked.append(beside)
        return ["x/labels.txt", *([".hidden.jpg", ".git/none"] if beside else [])]

    write(root / "x/labels.txt", "labels")
    plain = look(root)
    found = look(root, "named", named=named)
    assert set(found) - set(plain) == {".hidden.jpg"}
    assert asked == [False, True]
    write(root / ".hidden.jpg", "changed")
    assert look(root, "named", named=named)["token"] != found["token"]
    # a label file of another name counts by content however the folder is watched
    for watch in ("labels", "off"):
        before = look(root, watch, watch=watch, named=named)
        assert "x/labels.txt" in before
        write(root / "x/labels.txt", f"changed under {watch}")
        assert look(root, watch, watch=watch, named=named)["token"] != before["token"]


def test_nobody_is_asked_where_there_is_nothing_beside_the_data(root: Path) -> None:
    place = root.parent / "clean"
    write(place / "a.jpg", "a")
    write(place / ".DS_Store", "x")
    asked: list[bool] = []
    look(place, named=lambda beside: asked.append(beside) or [])
    assert asked == [False]
