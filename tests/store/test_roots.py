from __future__ import annotations

import errno
import json
import os
import socket
import time
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.store import durable, roots
from clipsteer.store.digest import digest_bytes
from clipsteer.store.layout import open_root
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, pointer_bytes
from clipsteer.store.roots import ROOT_FILE, copy_of, forget, keep_pointer, root_id, stale, sync
from tests.folders import contents


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return open_root(tmp_path / "store")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    (folder / "artifacts/refs/celeba").mkdir(parents=True)
    return folder


def pointer(data: bytes = b"x") -> bytes:
    return pointer_bytes(Pointer("s", {"all": Member({"o": Output(digest_bytes(data), 1)})}))


def place(clone: Path, name: str = "celeba/head.json", data: bytes = b"x") -> Path:
    path = clone / "artifacts/refs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pointer(data))
    return path


def old(path: Path) -> None:
    os.utime(path, (0, time.time() - 7200))


# ---- keeping


def test_a_copy_has_the_bytes_and_says_whose_it_is(store: Path, clone: Path) -> None:
    path = clone / "artifacts/refs/celeba/head.json"
    keep_pointer(store, clone, path, pointer())
    name = digest_bytes(f"{socket.gethostname()}:{clone}".encode()).partition(":")[2][:16]
    assert root_id(clone) == name
    kept = contents(store / "roots")
    about = json.loads(kept.pop(f"{name}/{ROOT_FILE}"))
    assert about == {"host": socket.gethostname(), "path": str(clone)}
    assert kept == {f"{name}/celeba/head.json": pointer()}
    assert copy_of(store, clone, path).read_bytes() == pointer()


def test_the_working_copy_is_known_by_its_real_path(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(clone)
    assert root_id(tmp_path / "link") == root_id(clone)
    path = tmp_path / "link/artifacts/refs/a.json"
    assert copy_of(tmp_path, clone, path) == copy_of(tmp_path, tmp_path / "link", path)


@pytest.mark.parametrize("what", ["artifacts", "artifacts/refs"])
def test_pointers_that_a_link_leads_to_are_the_working_copys(
    store: Path, clone: Path, tmp_path: Path, what: str
) -> None:
    """As where `artifacts` lies on a larger disk."""
    expected = copy_of(store, clone, clone / "artifacts/refs/celeba/head.json")
    (clone / what).rename(tmp_path / "disk")
    (clone / what).symlink_to(tmp_path / "disk")
    path = place(clone)
    keep_pointer(store, clone, path, pointer())
    sync(store, clone, grace=0)
    assert copy_of(store, clone, path) == expected
    assert expected.read_bytes() == pointer()
    assert stale(store, clone, grace=0) == []


def test_a_relative_pointer_is_one_of_the_current_folder(
    store: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    relative = copy_of(store, Path.cwd(), Path("artifacts/refs/a.json"))
    assert relative == copy_of(store, clone, clone / "artifacts/refs/a.json")


def test_a_pointer_elsewhere_in_the_working_copy_has_a_place_of_its_own(
    store: Path, clone: Path
) -> None:
    inside, beside = clone / "artifacts/refs/a.json", clone / "a.json"
    keep_pointer(store, clone, inside, pointer(b"1"))
    keep_pointer(store, clone, beside, pointer(b"2"))
    assert copy_of(store, clone, inside).read_bytes() == pointer(b"1")
    assert copy_of(store, clone, beside).read_bytes() == pointer(b"2")
    assert [len(list(root.pointers())) for root in roots.roots(store)] == [2]


@pytest.mark.parametrize(
    "name", ["../a.json", "artifacts/refs/../../../a.json", "/a.json", "artifacts/refs/.."]
)
def test_a_pointer_outside_is_refused(store: Path, clone: Path, name: str) -> None:
    with pytest.raises(ClipsteerError, match="outside its working copy"):
        keep_pointer(store, clone, clone / name, pointer())
    assert not contents(store / "roots")


def test_a_link_out_of_the_working_copy_is_refused(store: Path, clone: Path) -> None:
    (clone / "artifacts/refs/away").symlink_to("/")
    with pytest.raises(ClipsteerError, match="outside"):
        keep_pointer(store, clone, clone / "artifacts/refs/away/a.json", pointer())


def test_a_name_of_ours_is_refused(store: Path, clone: Path) -> None:
    with pytest.raises(ClipsteerError, match=ROOT_FILE):
        keep_pointer(store, clone, clone / "artifacts/refs" / ROOT_FILE, pointer())


def test_an_equal_copy_is_only_touched(
    store: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(clone)
    keep_pointer(store, clone, path, pointer())
    copy = copy_of(store, clone, path)
    old(copy)
    inode = copy.stat().st_ino
    monkeypatch.setattr(roots, "write_atomic", None)
    keep_pointer(store, clone, path, pointer())
    assert copy.stat().st_ino == inode
    assert copy.stat().st_mtime > time.time() - 60


def test_the_copy_is_durable_before_it_has_its_name(
    store: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), order.append("flush")))
    monkeypatch.setattr(os, "replace", lambda a, b: (replace(a, b), order.append("name")))
    keep_pointer(store, clone, place(clone), pointer())
    first = order.index("name")
    assert "flush" in order[:first]
    assert order[-1] == "flush"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_store_that_we_may_only_read_is_left_as_it_is(
    store: Path, clone: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable.os, "open", refuse)
    with pytest.raises(ClipsteerError):  # we may add objects: then their root must be kept too
        keep_pointer(store, clone, place(clone), pointer())
    monkeypatch.setattr(roots.os, "access", lambda path, mode: False)
    keep_pointer(store, clone, place(clone), pointer())
    assert not contents(store / "roots")


def test_a_full_disk_is_an_error(store: Path, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(durable.os, "fsync", refuse)
    with pytest.raises(ClipsteerError, match="ENOSPC"):
        keep_pointer(store, clone, place(clone), pointer())


# ---- in step with the working copy


def test_sync_adds_mends_and_drops(store: Path, clone: Path) -> None:
    same, other, new = (place(clone, f"celeba/{name}.json") for name in ("same", "other", "new"))
    gone = clone / "artifacts/refs/celeba/gone.json"
    just_gone = clone / "artifacts/refs/just_gone.json"
    for path in (same, gone, just_gone):
        keep_pointer(store, clone, path, pointer())
    keep_pointer(store, clone, other, pointer(b"before"))
    copy_of(store, clone, same).write_bytes(b"damaged")
    old(copy_of(store, clone, gone))
    assert stale(store, clone) == [copy_of(store, clone, gone)]
    ObjectStore(store).put_bytes(b"x")
    place(clone, "celeba/from_elsewhere.json", b"not in this store")
    sync(store, clone)
    base = store / "roots" / root_id(clone)
    kept = contents(base)
    del kept[ROOT_FILE]
    # What has just gone may belong to a step that is about to write the pointer.
    names = ["celeba/new.json", "celeba/other.json", "celeba/same.json", "just_gone.json"]
    assert sorted(kept) == names
    assert set(kept.values()) == {pointer()}
    assert new.exists()


def test_sync_leaves_tokens_and_damaged_pointers_alone(store: Path, clone: Path) -> None:
    damaged = place(clone, "celeba/damaged.json")
    keep_pointer(store, clone, damaged, pointer())
    damaged.write_bytes(b"{")
    place(clone, "raw/celeba.json").write_text('{"digest": "x"}')
    old(copy_of(store, clone, damaged))
    sync(store, clone)
    assert copy_of(store, clone, damaged).read_bytes() == pointer()
    assert not (store / "roots" / root_id(clone) / "raw").exists()


def test_sync_touches_no_other_working_copy(store: Path, clone: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    path = tmp_path / "other/artifacts/refs/a.json"
    keep_pointer(store, tmp_path / "other", path, pointer())
    old(copy_of(store, tmp_path / "other", path))
    sync(store, clone)
    assert copy_of(store, tmp_path / "other", path).exists()


def test_all_roots_and_forgetting_one(store: Path, clone: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for folder in (clone, tmp_path / "other"):
        keep_pointer(store, folder, folder / "artifacts/refs/a.json", pointer())
    found = roots.roots(store)
    assert sorted(root.path for root in found) == sorted([str(clone), str(tmp_path / "other")])
    assert [root.id for root in found] == sorted([root_id(clone), root_id(tmp_path / "other")])
    forget(store, root_id(clone))
    assert [root.path for root in roots.roots(store)] == [str(tmp_path / "other")]
    with pytest.raises(ClipsteerError, match=root_id(tmp_path / "other")):
        forget(store, root_id(clone))
    with pytest.raises(ClipsteerError, match="no working copy"):
        forget(store, "..")


def test_a_root_without_a_sound_description_still_counts(store: Path, clone: Path) -> None:
    keep_pointer(store, clone, clone / "artifacts/refs/a.json", pointer())
    (store / "roots" / root_id(clone) / ROOT_FILE).write_bytes(b"{")
    (root,) = roots.roots(store)
    assert (root.host, root.path) == ("?", "?")
    assert len(list(root.pointers())) == 1
    # The next pointer mends it.
    keep_pointer(store, clone, clone / "artifacts/refs/b.json", pointer())
    assert roots.roots(store)[0].path == str(clone)


def test_half_written_copies_are_no_copies(store: Path, clone: Path) -> None:
    keep_pointer(store, clone, clone / "artifacts/refs/a.json", pointer())
    (store / "roots" / root_id(clone) / ".b.json.1-2.tmp").write_bytes(b"{")
    (root,) = roots.roots(store)
    assert [path.name for path in root.pointers()] == ["a.json"]


# ---- one working copy, several nodes


def test_jobs_on_other_nodes_have_the_name_that_their_run_has(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = root_id(clone)
    monkeypatch.setenv(roots.VARIABLE, "")  # so that it is taken away afterwards
    roots.hand_on(clone)
    monkeypatch.setattr(socket, "gethostname", lambda: "node7")
    assert root_id(clone) == mine
    link = tmp_path / "mounted elsewhere"
    link.symlink_to(clone)
    assert root_id(link) == mine


def test_a_node_names_another_folder_by_itself(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    before = root_id(other)
    monkeypatch.setenv(roots.VARIABLE, "")
    roots.hand_on(clone)
    assert root_id(other) == before
    monkeypatch.setattr(socket, "gethostname", lambda: "node7")
    assert root_id(other) != before
    monkeypatch.setenv(roots.VARIABLE, "login1:/gone")
    assert root_id(clone) != before


def test_the_copies_say_the_host_of_the_run(
    store: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(roots.VARIABLE, f"login1:{clone}")
    keep_pointer(store, clone, clone / "artifacts/refs/celeba/head.json", pointer())
    [root] = roots.roots(store)
    assert (root.host, root.path) == ("login1", str(clone))
    assert root.id == root_id(clone)
