from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.store import durable
from clipsteer.store.durable import write_atomic
from clipsteer.store.layout import LOCK
from clipsteer.store.locks import held_lock
from clipsteer.store.objects import ObjectStore
from tests.folders import files_below
from tests.store.places import quick_folder

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store")


def clean(store: ObjectStore) -> bool:
    """Whether no temporary file is left."""
    return not list((store.root / "tmp").iterdir())


def age(path: Path) -> None:
    os.utime(path, (1, 1))


# ---- durability and full disks


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order of flushes and renames."""
    calls: list[str] = []
    fsync, replace, syncfs = os.fsync, os.replace, durable._syncfs

    def traced_fsync(descriptor: int) -> None:
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        calls.append("flush folder" if os.path.isdir(target) else "flush file")
        fsync(descriptor)

    def traced_replace(source: str, target: str) -> None:
        replace(source, target)
        calls.append("rename")

    def traced_syncfs(folder: str) -> bool:
        calls.append("flush all")
        return syncfs(folder)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    monkeypatch.setattr(durable, "_syncfs", traced_syncfs)
    return calls


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and syncfs")


@linux
@pytest.mark.parametrize("move", [None, False, True])
def test_content_is_durable_before_its_name(
    store: ObjectStore, trace: list[str], tmp_path: Path, move: bool | None
) -> None:
    (tmp_path / "file").write_bytes(b"data")
    if move is None:
        store.put_bytes(b"data")
    else:
        store.put_file(tmp_path / "file", move=move)
    assert trace[0] == "flush file"
    assert trace[-2:] == ["rename", "flush folder"]
    assert trace.count("flush file") == 1


@linux
def test_many_blobs_take_two_flushes(store: ObjectStore, trace: list[str]) -> None:
    store.put_many(b"%d" % number for number in range(500))
    assert trace == ["flush all", "flush folder", *["rename"] * 500, "flush all"]


def test_many_blobs_without_syncfs(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(durable, "_syncfs", lambda _: False)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (flushed.append(1), fsync(descriptor)))
    digests = store.put_many(b"%d" % number for number in range(50))
    assert len(flushed) > 50
    assert all(store.exists(digest) for digest in digests)


def failing(call: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)


FAULTS = [
    ("write", errno.ENOSPC),
    ("write", errno.EFBIG),
    ("fsync", errno.EDQUOT),
    ("replace", errno.ENOSPC),
    ("replace", errno.EACCES),
    ("open", errno.EROFS),
]
WAYS = ["bytes", "file", "move", "many", "few"]


@pytest.mark.parametrize(
    ("way", "call", "code"),
    # Moving writes nothing.
    [(way, *fault) for way in WAYS for fault in FAULTS if (way, fault[0]) != ("move", "write")],
)
def test_a_full_or_forbidden_disk(
    store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    call: str,
    code: int,
) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"data")
    puts: dict[str, Callable[[], object]] = {
        "bytes": lambda: store.put_bytes(b"data"),
        "file": lambda: store.put_file(source),
        "move": lambda: store.put_file(source, move=True),
        "few": lambda: store.put_many([b"data", source]),
        "many": lambda: store.put_many([b"%d" % number for number in range(20)]),
    }
    with monkeypatch.context() as patch:
        if (way, call) == ("many", "fsync"):
            patch.setattr(durable, "_syncfs", lambda _: False)
        failing(call, code, patch)
        with pytest.raises(ClipsteerError, match=errno.errorcode[code]) as caught:
            puts[way]()
    assert str(store.root) in str(caught.value)
    assert "store.root" in str(caught.value)
    assert clean(store)
    assert not list(store.digests())
    assert way == "move" or source.read_bytes() == b"data"
    source.unlink(missing_ok=True)
    source.write_bytes(b"data")
    puts[way]()
    assert list(store.digests())


LIMITED = """
import resource, sys
from pathlib import Path
from clipsteer.errors import ClipsteerError
from clipsteer.store.objects import ObjectStore
store = ObjectStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
small = store.put_bytes(b"small")
big = bytes(100_001)
for put in (store.put_bytes, lambda data: store.put_many([b"s2", data]),
            lambda _: store.put_file(sys.argv[2])):
    try:
        put(big)
    except ClipsteerError as error:
        assert "EFBIG" in str(error) and sys.argv[1] in str(error), error
    else:
        raise AssertionError("not refused")
assert not list(Path(sys.argv[1], "tmp").iterdir())
assert list(store.digests()) == [small] and store.get_bytes(small) == b"small"
"""


def test_a_real_file_size_limit(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(200_000))
    arguments = [sys.executable, "-c", LIMITED, str(tmp_path / "store"), str(tmp_path / "big")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unreadable_source_is_named(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "permission denied")

    (tmp_path / "secret").write_bytes(b"x")
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        with pytest.raises(ClipsteerError, match=str(tmp_path / "secret")):
            store.put_file(tmp_path / "secret")
    assert clean(store)
    with pytest.raises(FileNotFoundError):
        store.put_file(tmp_path / "nowhere")
    assert clean(store)


def test_an_iterable_that_fails_leaves_nothing(store: ObjectStore) -> None:
    def blobs() -> Iterator[bytes]:
        yield b"one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put_many(blobs())
    assert clean(store)
    assert not list(store.digests())


NOBODY = 65534


def in_child(action: Callable[[], None], *, user: int | None = None) -> None:
    """Run ``action`` in a process of its own, as another user where one is given."""

    def body() -> None:
        if user is not None:
            os.setuid(user)
        action()

    child = FORK.Process(target=body)
    child.start()
    child.join(60)
    assert child.exitcode == 0


def set_modes(root: Path, mode: int) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        folder.chmod(mode)


def test_a_store_without_write_permission() -> None:
    with quick_folder() as folder:
        Path(folder).chmod(0o755)
        store = ObjectStore(Path(folder, "store"))
        digest = store.put_bytes(b"data")
        set_modes(store.root, 0o555)

        def use() -> None:
            again = ObjectStore(store.root)
            assert again.get_bytes(digest) == b"data"
            assert again.put_bytes(b"data") == again.put_many([b"data"])[0] == digest
            for put in (again.put_bytes, lambda data: again.put_many([data])):
                with pytest.raises(ClipsteerError, match="permission denied"):
                    put(b"other")

        in_child(use, user=NOBODY if os.geteuid() == 0 else None)
        set_modes(store.root, 0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two people")
def test_a_store_shared_by_two_people() -> None:
    with quick_folder() as folder:
        Path(folder).chmod(0o755)
        store = ObjectStore(Path(folder, "store"))
        digest, other = store.put_many([b"data", b"other"])
        lock = store.root / LOCK
        assert not lock.stat().st_mode & 0o022
        age(store.path(digest))
        set_modes(store.root, 0o777)

        def use() -> None:
            again = ObjectStore(store.root)
            assert again.put_bytes(b"data") == digest
            assert again.get_bytes(other) == b"other"
            with held_lock(lock, fcntl.LOCK_SH) as held:
                assert held

        in_child(use, user=NOBODY)
        assert store.path(digest).stat().st_mtime > time.time() - 60
        assert store.get_bytes(digest) == b"data"
        assert store.get_bytes(other) == b"other"


# ---- write_atomic


def test_write_atomic_replaces_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "b.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    with monkeypatch.context() as patch:
        failing("replace", errno.ENOSPC, patch)
        with pytest.raises(ClipsteerError, match=str(path)):
            write_atomic(path, b"newer")
    assert path.read_bytes() == b"new"
    assert files_below(tmp_path) == [path]
    shutil.rmtree(tmp_path / "a")
