"""Scans of a user's folder: a change of content is never missed, a touch never counts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.runner import scan as module
from clipsteer.runner.scan import Folder, ScannedTree, ScanResult, cached_digests, scan, write_token
from clipsteer.store.digest import digest_bytes
from tests.data import small_trees

FILES = {
    "list_attr.txt": b"attributes",
    "images/000001.jpg": b"first",
    "images/000002.jpg": b"second",
    "images/deep/list_attr.txt": b"a namesake",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_trees.write_all(tmp_path / "data", FILES)


@pytest.fixture
def no_grain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the margin for coarse clocks; tests then wait a few ms instead of two seconds."""
    monkeypatch.setattr(module, "_GRAIN_NS", 0)
    time.sleep(0.02)


def look(root: Path, cache: str = "cache", **options: Any) -> ScanResult:
    how = {name: options.pop(name) for name in ("threads", "progress") if name in options}
    options = {"watch": "files", "label_patterns": ["list_attr*"], **options}
    folder = Folder(root, key="data.root", layout="images/", **options)
    return scan(folder, cache=root.parent / cache, **how)


def test_digests_are_of_the_contents(root: Path) -> None:
    result = look(root)
    assert result.digests == {name: digest_bytes(data) for name, data in FILES.items()}
    assert list(result.digests) == sorted(FILES)
    assert result.token["files"] == 4
    assert cached_digests(root.parent / "cache") == result.digests


@pytest.mark.usefixtures("no_grain")
def test_second_scan_opens_nothing(root: Path) -> None:
    first = look(root)
    second = look(root)
    assert (first.hashed, second.hashed) == (4, 0)
    assert second.token == first.token
    assert second.digests == first.digests


@pytest.mark.usefixtures("no_grain")
def test_touch_hashes_again_and_changes_nothing(root: Path) -> None:
    first = look(root)
    os.utime(root / "images/000001.jpg")
    again = look(root)
    assert again.hashed == 1
    assert again.token == first.token


@pytest.mark.usefixtures("no_grain")
def test_same_size_and_restored_mtime_is_noticed(root: Path) -> None:
    path = root / "images/000001.jpg"
    first = look(root)
    before = path.stat()
    time.sleep(0.02)
    path.write_bytes(b"FIRST")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    second = look(root)
    assert second.token != first.token
    assert second.digests["images/000001.jpg"] == digest_bytes(b"FIRST")


def test_racy_entries_are_hashed_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that leaves all four numbers alone, right after the scan, is seen by the next."""
    path = root / "images/000001.jpg"
    real = os.stat
    frozen = real(path)
    monkeypatch.setattr(
        os, "stat", lambda p, *a, **k: frozen if str(p) == str(path) else real(p, *a, **k)
    )
    first = look(root)
    path.write_bytes(b"FIRST")
    second = look(root)
    assert second.digests["images/000001.jpg"] == digest_bytes(b"FIRST")
    assert second.token != first.token


@pytest.mark.usefixtures("no_grain")
def test_entries_do_not_stay_racy(root: Path) -> None:
    (root / "new.jpg").write_bytes(b"new")
    os.utime(root / "new.jpg", ns=(2**62, 2**62))  # an mtime in the future says nothing
    look(root)
    time.sleep(0.02)
    look(root)
    assert look(root).hashed == 0


@pytest.mark.usefixtures("no_grain")
def test_rename_addition_and_removal(root: Path) -> None:
    tokens = [look(root).token]
    (root / "images/000002.jpg").rename(root / "images/000003.jpg")
    tokens.append(look(root).token)
    (root / "images/000004.jpg").write_bytes(b"fourth")
    tokens.append(look(root).token)
    (root / "images/000004.jpg").unlink()
    (root / "images/000003.jpg").unlink()
    last = look(root)
    tokens.append(last.token)
    assert len({token["digest"] for token in tokens}) == 4
    assert last.hashed == 0
    assert set(cached_digests(root.parent / "cache")) == set(last.digests)


def test_swapped_contents_count(root: Path) -> None:
    first = look(root).token
    (root / "images/000001.jpg").write_bytes(b"second")
    (root / "images/000002.jpg").write_bytes(b"first")
    assert look(root).token["digest"] != first["digest"]


def test_token_does_not_depend_on_place_cache_or_threads(root: Path) -> None:
    tokens = [look(root, cache=f"cache{n}", threads=n).token for n in (1, 2)]
    moved = root.rename(root.parent / "elsewhere")
    tokens.append(look(moved, cache="cache3", threads=2).token)
    assert tokens[0] == tokens[1] == tokens[2]


def test_threads_give_the_same_over_many_chunks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HASHED", 3)
    for n in range(50):
        (root / f"{n}.jpg").write_bytes(bytes([n]))
    one, two = look(root, cache="a", threads=1), look(root, cache="b", threads=2)
    assert one == two
    assert one.digests == two.digests
    assert one.digests["7.jpg"] == digest_bytes(b"\x07")


def test_labels_watches_contents_of_labels_and_names_of_the_rest(root: Path) -> None:
    first = look(root, watch="labels")
    assert list(first.digests) == ["list_attr.txt"]
    assert (first.token["files"], first.token["names"]) == (1, 3)
    (root / "images/000001.jpg").write_bytes(b"changed")
    (root / "images/deep/list_attr.txt").write_bytes(b"not a label file by the pattern")
    assert look(root, watch="labels").token == first.token
    (root / "list_attr.txt").write_bytes(b"other")
    second = look(root, watch="labels")
    assert second.token != first.token
    (root / "images/000005.jpg").write_bytes(b"")
    assert look(root, watch="labels").token != second.token
    deep = look(root, watch="labels", label_patterns=["**/list_attr*"])
    assert list(deep.digests) == ["images/deep/list_attr.txt", "list_attr.txt"]


def test_off_looks_at_the_label_files_directly_in_the_root_only(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns = ["list_attr*", "**/list_attr*"]
    (root / "list_attr_folder").mkdir()
    monkeypatch.setattr(module, "_walk", None)  # no folder below is looked into
    first = look(root, watch="off", label_patterns=patterns)
    assert first.digests == {"list_attr.txt": digest_bytes(b"attributes")}
    (root / "images/000001.jpg").unlink()
    (root / "images/deep/list_attr.txt").write_bytes(b"another")
    assert look(root, watch="off", label_patterns=patterns).token == first.token
    (root / "list_attr.txt").unlink()
    assert look(root, watch="off", label_patterns=patterns).token != first.token


@pytest.mark.usefixtures("no_grain")
def test_off_tells_data_sets_apart_and_opens_a_label_file_once(root: Path) -> None:
    first = look(root, watch="off")
    again = look(root, watch="off")
    assert (first.hashed, again.hashed) == (1, 0)
    assert again.token == first.token
    other = root.parent / "other"
    other.mkdir()
    (other / "list_attr.txt").write_bytes(b"ATTRIBUTES")
    assert look(other, cache="other_cache", watch="off").token != first.token
    (other / "list_attr.txt").write_bytes(b"attributes")
    assert look(other, cache="third_cache", watch="off").token == first.token


def test_scanned_tree_refuses_what_has_changed_since(root: Path) -> None:
    tree = ScannedTree(root, look(root).digests)
    assert {path: tree.read(path) for path in tree.paths()} == FILES
    (root / "list_attr.txt").write_bytes(b"Attributes")  # of the same length
    with pytest.raises(ClipsteerError, match=r"list_attr\.txt: .*run the same command again"):
        tree.read("list_attr.txt")
    assert tree.digest("list_attr.txt") == digest_bytes(b"attributes")
    assert tree.read("images/000001.jpg") == b"first"
    (root / "images/000001.jpg").unlink()
    with pytest.raises(ClipsteerError, match=r"000001\.jpg"):
        tree.read("images/000001.jpg")


def test_scanned_tree_leaves_other_files_unchecked(root: Path) -> None:
    tree = ScannedTree(root, look(root, watch="labels").digests)
    (root / "images/000001.jpg").write_bytes(b"changed")
    assert tree.read("images/000001.jpg") == b"changed"
    assert tree.digest("images/000001.jpg") == digest_bytes(b"changed")


def test_the_three_watches_have_different_tokens(root: Path) -> None:
    assert len({look(root, watch=w).token["digest"] for w in ("files", "labels", "off")}) == 3


def test_links_are_followed_and_cycles_end(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "x.jpg").write_bytes(b"x")
    (root / "linked").symlink_to(outside)
    (root / "images/up").symlink_to(root)
    (root / "dangling.jpg").symlink_to(root / "nowhere")
    (root / "one.jpg").symlink_to(outside / "x.jpg")
    assert set(look(root).digests) == {*FILES, "linked/x.jpg", "one.jpg"}


def test_missing_root_names_key_and_layout(tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError, match=r"data\.root: found nothing") as error:
        look(tmp_path / "nowhere")
    assert "images/" in str(error.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(ClipsteerError, match="found a file"):
        look(tmp_path / "file")
    assert not (tmp_path / "cache").exists()


def test_unknown_watch_is_refused(root: Path) -> None:
    with pytest.raises(ClipsteerError, match=r"some.*expected one of files"):
        look(root, watch="some")


def test_unreadable_file_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "digest_file", refuse)
    with pytest.raises(ClipsteerError, match=r"data\.root: .*000001\.jpg cannot be read"):
        look(root)


@pytest.mark.usefixtures("no_grain")
@pytest.mark.parametrize("place", [0, 40, 200, -1])
def test_damaged_cache_is_as_good_as_none(root: Path, place: int) -> None:
    first = look(root)
    cache = root.parent / "cache"
    data = bytearray(cache.read_bytes())
    data[place] ^= 1
    cache.write_bytes(bytes(data))
    again = look(root)
    assert again.hashed == 4
    assert again.token == first.token


def test_names_with_odd_characters(root: Path) -> None:
    odd = [b"new\nline.jpg", "blåbær.jpg".encode(), b"latin\xe9.jpg", b"blank .jpg"]
    for name in odd:
        Path(os.fsdecode(os.path.join(os.fsencode(root), name))).write_bytes(name)
    first = look(root)
    assert {os.fsencode(n) for n in first.digests} >= set(odd)
    assert look(root).token == first.token
    assert cached_digests(root.parent / "cache") == first.digests


def test_write_token_keeps_the_file_when_nothing_changed(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "refs" / "token.json"
    token = look(root).token
    assert write_token(path, token)
    os.utime(path, ns=(1, 1))
    assert not write_token(path, look(root, cache="other").token)
    assert path.stat().st_mtime_ns == 1
    assert write_token(path, {**token, "files": 5})
    assert path.stat().st_mtime_ns > 1
    assert [p.name for p in path.parent.iterdir()] == ["token.json"]
