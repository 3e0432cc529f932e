from __future__ import annotations

import errno
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes
from clipsteer.store.layout import FOLDERS, FORMAT_FILE, check_shared, open_root, share
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from tests.folders import files_below
from tests.store.places import quick_folder

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store")


def clean(store: ObjectStore) -> bool:
    """Whether no temporary file is left."""
    return not list((store.root / "tmp").iterdir())


def overwrite(path: Path, data: bytes) -> None:
    """Damage a read-only file, as a failing disk would."""
    path.chmod(0o644)
    path.write_bytes(data)


# ---- layout


def test_a_new_root_has_the_layout(store: ObjectStore) -> None:
    assert {path.name for path in store.root.iterdir()} == {*FOLDERS, FORMAT_FILE}
    text = (store.root / FORMAT_FILE).read_text()
    assert text == '{\n "digest": "blake3",\n "format": 1\n}\n'


def test_a_root_may_hold_other_files(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("hello")
    ObjectStore(tmp_path)
    assert (tmp_path / "README.md").read_text() == "hello"


@pytest.mark.parametrize(
    "text", ['{"format": 2, "digest": "blake3"}', '{"format": 1, "digest": "sha256"}', "{", ""]
)
def test_another_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FORMAT_FILE).write_text(text)
    with pytest.raises(ClipsteerError, match=FORMAT_FILE):
        ObjectStore(tmp_path)
    assert files_below(tmp_path) == [tmp_path / FORMAT_FILE]


def test_a_lost_format_file_is_not_guessed(store: ObjectStore) -> None:
    digest = store.put_bytes(b"data")
    (store.root / FORMAT_FILE).unlink()
    with pytest.raises(ClipsteerError, match=r"missing, though .* is not empty"):
        ObjectStore(store.root)
    assert store.get_bytes(digest) == b"data"


def test_a_node_that_does_not_see_the_store_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    root = tmp_path / "not yet/there"
    check_shared(root)  # no run has looked
    share(root)
    check_shared(root)
    root.rmdir()
    with pytest.raises(ClipsteerError, match=r"store.root: found no folder .*not yet/there"):
        check_shared(root)


def test_a_file_in_place_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(ClipsteerError, match="found a file"):
        ObjectStore(tmp_path / "store")


def test_a_file_in_place_of_a_folder_of_the_root(tmp_path: Path) -> None:
    open_root(tmp_path / "store")
    (tmp_path / "store/scratch").rmdir()
    (tmp_path / "store/scratch").write_text("x")
    with pytest.raises(ClipsteerError, match="store/scratch: found a file, expected a folder"):
        open_root(tmp_path / "store")


# ---- round trips


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_round_trip_by_every_way_in(blobs: list[bytes]) -> None:
    with quick_folder() as folder:
        one, many = ObjectStore(Path(folder, "one")), ObjectStore(Path(folder, "many"))
        paths = [Path(folder, str(number)) for number in range(len(blobs))]
        for path, blob in zip(paths, blobs, strict=True):
            path.write_bytes(blob)
        digests = [one.put_bytes(blob) for blob in blobs]
        assert digests == [digest_bytes(blob) for blob in blobs]
        assert many.put_many([*blobs, *paths]) == digests * 2
        assert [one.put_file(path) for path in paths] == digests
        assert list(one.digests()) == list(many.digests()) == sorted(set(digests))
        for digest, blob in zip(digests, blobs, strict=True):
            assert one.get_bytes(digest) == many.get_bytes(digest) == blob
            assert one.size(digest) == len(blob)
        assert clean(one)
        assert clean(many)


def test_place_and_mode(store: ObjectStore) -> None:
    digest = store.put_bytes(b"data")
    name = digest.removeprefix("blake3:")
    path = store.root / "objects" / name[:2] / name[2:]
    assert store.path(digest) == path
    assert path.read_bytes() == b"data"
    assert path.stat().st_mode & 0o777 == 0o444 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_moving_a_file_in(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "shard"
    source.write_bytes(b"shard")
    inode = source.stat().st_ino
    digest = store.put_file(source, move=True)
    assert not source.exists()
    assert store.path(digest).stat().st_ino == inode
    assert not store.path(digest).stat().st_mode & 0o222
    source.write_bytes(b"shard")
    assert store.put_file(source, move=True) == digest
    assert not source.exists()
    assert clean(store)


def test_an_old_file_becomes_a_new_object(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    os.utime(tmp_path / "file", (0, 0))
    digest = store.put_file(tmp_path / "file", move=True)
    assert (store.root / store.relative(digest)).stat().st_mtime > time.time() - 60


def test_asking_for_a_path_keeps_the_object_young(store: ObjectStore) -> None:
    digest = store.put_bytes(b"data")
    place = store.root / store.relative(digest)
    os.utime(place, (0, 0))
    store.get_bytes(digest)
    store.verify(digest)
    assert store.exists(digest)
    assert place.stat().st_mtime == 0
    store.path(digest)
    assert place.stat().st_mtime > time.time() - 60


def test_moving_never_gives_away_a_file_with_another_name(
    store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "original").write_bytes(b"mine")
    os.link(tmp_path / "original", tmp_path / "second")
    digest = store.put_file(tmp_path / "second", move=True)
    (tmp_path / "original").write_bytes(b"changed afterwards")
    assert store.get_bytes(digest) == b"mine"


def test_a_missing_object(store: ObjectStore) -> None:
    digest = digest_bytes(b"never put")
    assert not store.exists(digest)
    for read in (store.get_bytes, store.path, store.size, store.verify):
        with pytest.raises(MissingObjectError, match=digest) as caught:
            read(digest)
        assert caught.value.digest == digest


def test_digests_of_other_stores_and_no_digests(store: ObjectStore) -> None:
    with pytest.raises(ClipsteerError, match="sha256"):
        store.exists(digest_bytes(b"", "sha256"))
    with pytest.raises(ClipsteerError, match="not a digest"):
        store.get_bytes("blake3:../../../etc/passwd")


# ---- found already, forgotten


def age(path: Path) -> None:
    os.utime(path, (1, 1))


@pytest.mark.parametrize("way", ["bytes", "file", "many"])
def test_putting_again_touches(store: ObjectStore, tmp_path: Path, way: str) -> None:
    digest = store.put_bytes(b"data")
    path = store.path(digest)
    age(path)
    inode = path.stat().st_ino
    (tmp_path / "file").write_bytes(b"data")
    before = time.time() - 60
    {
        "bytes": lambda: store.put_bytes(b"data"),
        "file": lambda: store.put_file(tmp_path / "file"),
        "many": lambda: store.put_many([b"data"]),
    }[way]()
    assert path.stat().st_ino == inode
    assert path.stat().st_mtime > before
    assert clean(store)


def test_somebody_elses_object_is_replaced_to_be_young(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.put_bytes(b"data")
    age(store.path(digest))

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "not the owner")

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refuse)
        assert store.put_bytes(b"data") == digest
    assert (store.root / store.relative(digest)).stat().st_mtime > time.time() - 60


def test_forgetting(store: ObjectStore) -> None:
    digest = store.put_bytes(b"data")
    assert store.forget(digest)
    assert not store.forget(digest)
    with pytest.raises(MissingObjectError):
        store.get_bytes(digest)
    assert store.put_bytes(b"data") == digest


# ---- damage


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=300), st.integers(0), st.integers(1, 255))
def test_any_changed_byte_is_found(data: bytes, where: int, flip: int) -> None:
    with quick_folder() as folder:
        store = ObjectStore(folder)
        digest = store.put_bytes(data)
        bad = bytearray(data)
        bad[where % len(data)] ^= flip
        overwrite(store.path(digest), bytes(bad))
        with pytest.raises(DamagedObjectError, match=digest) as caught:
            store.get_bytes(digest)
        assert caught.value.digest == digest
        assert not store.exists(digest)
        assert [path.read_bytes() for path in files_below(store.root / "quarantine")] == [
            bytes(bad)
        ]
        assert store.put_bytes(data) == digest
        assert store.get_bytes(digest) == data


@pytest.mark.parametrize("bad", [b"", b"dat", b"data ", b"dita"])
def test_large_objects_are_verified_on_demand(tmp_path: Path, bad: bytes) -> None:
    store = ObjectStore(tmp_path, verify_below=len(bad))
    digest = store.put_bytes(b"data")
    store.verify(digest)
    overwrite(store.path(digest), bad)
    assert store.get_bytes(digest) == bad
    with pytest.raises(DamagedObjectError):
        store.verify(digest)
    assert not store.exists(digest)


@pytest.mark.parametrize("way", ["bytes", "file", "many"])
def test_putting_over_a_torn_object_mends_it(store: ObjectStore, tmp_path: Path, way: str) -> None:
    digest = store.put_bytes(b"data")
    overwrite(store.path(digest), b"da")
    (tmp_path / "file").write_bytes(b"data")
    puts: dict[str, Callable[[], object]] = {
        "bytes": lambda: store.put_bytes(b"data"),
        "file": lambda: store.put_file(tmp_path / "file"),
        "many": lambda: store.put_many([b"data"]),
    }
    puts[way]()
    assert store.get_bytes(digest) == b"data"
    assert [path.read_bytes() for path in files_below(store.root / "quarantine")] == [b"da"]


def test_a_sound_object_is_not_quarantined(store: ObjectStore) -> None:
    digest = store.put_bytes(b"data")
    assert store.quarantine(digest) is None
    assert store.get_bytes(digest) == b"data"
    assert not files_below(store.root / "quarantine")


def test_an_unreadable_sector_counts_as_damage(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.put_bytes(b"data")

    def fail(*_: object, **__: object) -> bytes:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        patch.setattr("clipsteer.store.objects.digest_file", fail)
        with pytest.raises(DamagedObjectError):
            store.get_bytes(digest)
    assert not store.exists(digest)


# ---- many writers


def put_all(root: Path, start: Any, rounds: int) -> None:
    store = ObjectStore(root)
    start.wait()
    for number in range(rounds):
        store.put_bytes(b"same %d" % number * 5000)
        store.put_many([b"other %d %d" % (number, part) for part in range(12)])


def test_concurrent_writers_of_the_same_objects(tmp_path: Path) -> None:
    root = tmp_path / "store"
    start = FORK.Barrier(4)
    writers = [FORK.Process(target=put_all, args=(root, start, 8)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    store = ObjectStore(root)
    assert len(list(store.digests())) == 8 * 13
    for digest in store.digests():
        store.verify(digest)
    assert clean(store)
    assert not files_below(root / "quarantine")
