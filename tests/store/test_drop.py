"""What may be dropped, and when: nobody in this run reads it, no other working copy keeps it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clipsteer.store import drop as module
from clipsteer.store.drop import DROPPED, awaited, drop, expect, holders
from clipsteer.store.durable import write_atomic
from clipsteer.store.objects import MissingObjectError, ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, pointer_bytes
from clipsteer.store.roots import copy_of, keep_pointer, root_id
from clipsteer.store.usage import PEAK, note_peak, read_peak


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.chdir(tmp_path)
    return ObjectStore(tmp_path / "store")


def test_what_is_awaited_until_it_is_written_anew(objects: ObjectStore) -> None:
    assert awaited() == {}
    write_atomic(Path("refs/old.json"), b"the same")
    expect({"train": ["refs/old.json", "refs/new.json"], "test": ["refs/old.json"], "none": []})
    assert awaited()["train"] == ["refs/new.json", "refs/old.json"]
    Path("refs/old.json").unlink()  # as Snakemake does before the job begins
    assert awaited()["test"] == ["refs/old.json"]
    write_atomic(Path("refs/old.json"), b"the same")
    assert awaited() == {"train": ["refs/new.json"], "test": [], "none": []}
    write_atomic(Path("refs/new.json"), b"other")
    assert awaited() == {"train": [], "test": [], "none": []}
    expect({"train": ["refs/new.json"]})  # the next run
    assert awaited() == {"train": ["refs/new.json"]}


def place(objects: ObjectStore, copy: Path, name: str, member: Member) -> Path:
    copy.mkdir(exist_ok=True)
    pointer = copy / f"artifacts/refs/{name}.json"
    keep_pointer(objects.root, copy, pointer, pointer_bytes(Pointer("step", {"all": member})))
    return copy_of(objects.root, copy, pointer)


def test_who_still_needs_what(objects: ObjectStore, tmp_path: Path) -> None:
    a, b, c = (objects.put_bytes(text) for text in (b"a", b"b", b"c"))
    outputs = {"a": Output(a, 1), "b": Output(b, 1)}
    for name in ("mine", "theirs"):
        place(objects, tmp_path / name, "train", Member(outputs))
    place(objects, tmp_path / "mine", "dropped", Member(facts={DROPPED: {"train": [a, b]}}))
    place(objects, tmp_path / "theirs", "dropped", Member(facts={DROPPED: {"train": [b, c]}}))
    known = holders(objects.root)
    mine, theirs = (known[root_id(tmp_path / name)] for name in ("mine", "theirs"))
    assert (mine.needed, theirs.needed) == (set(), {a})
    assert mine.dropped == {"train": {a, b}}
    assert theirs.path == str(tmp_path / "theirs")
    # a damaged copy names nothing; the rest counts
    damaged = place(objects, tmp_path / "theirs", "other", Member({"c": Output(c, 1)}))
    damaged.write_bytes(damaged.read_bytes()[:-5])
    assert holders(objects.root)[root_id(tmp_path / "theirs")].needed == {a}


def test_dropped_for_good(objects: ObjectStore) -> None:
    a, b, c = (objects.put_bytes(text) for text in (b"a", b"bb", b"ccc"))
    assert drop(objects, [a, c]) == (2, 4)
    assert drop(objects, [a, c]) == (0, 0)
    assert list(objects.digests()) == [b]
    with pytest.raises(MissingObjectError):
        objects.get_bytes(a)


@pytest.mark.parametrize("error", [PermissionError(13, "no"), OSError(30, "read-only")])
def test_what_may_not_be_removed_stays(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    a, b = objects.put_bytes(b"a"), objects.put_bytes(b"bb")
    monkeypatch.setattr(module.os, "unlink", refusing(str(objects.path(a)), error))
    assert drop(objects, [a, b]) == (1, 2)
    assert objects.exists(a)


def test_a_disk_that_fails_is_told(objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    a = objects.put_bytes(b"a")
    monkeypatch.setattr(module.os, "unlink", refusing(str(objects.path(a)), OSError(5, "EIO")))
    with pytest.raises(OSError, match="EIO"):
        drop(objects, [a])


def refusing(path: str, error: OSError) -> Callable[[str], None]:
    real = os.unlink

    def unlink(asked: str) -> None:
        if str(asked) == path:
            raise error
        real(asked)

    return unlink


def test_the_peak_is_the_largest_ever_seen(objects: ObjectStore) -> None:
    assert read_peak(objects.root) is None
    a = objects.put_bytes(b"a" * 100)
    objects.put_bytes(b"b" * 10)
    assert note_peak(objects) == 110
    drop(objects, [a])
    assert note_peak(objects) == 10
    peak = read_peak(objects.root)
    assert peak is not None
    assert peak.bytes == 110
    assert peak.when.startswith("20")
    (objects.root / PEAK).write_bytes(b'{"bytes":7}')  # a hint: damage makes it start afresh
    assert read_peak(objects.root) is None
    note_peak(objects)
    again = read_peak(objects.root)
    assert again is not None
    assert again.bytes == 10
