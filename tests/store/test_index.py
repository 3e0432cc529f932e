from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipsteer.store.actions import ActionStore, action_key
from clipsteer.store.digest import digest_bytes
from clipsteer.store.index import RecordIndex
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import Entry, put_tree_entries

OUT = digest_bytes(b"out")


@pytest.fixture
def actions(tmp_path: Path) -> ActionStore:
    return ActionStore(tmp_path)


def publish(actions: ActionStore, code: str, digest: str = OUT, kind: str = "blob") -> str:
    key = action_key("step", {}, code, {})
    outputs = {"o": {"digest": digest, "size": 3, "kind": kind}}
    empty: dict[str, object] = {"recipe": {}, "inputs": {}, "facts": {}, "run": {}}
    actions.publish(key, {"step": "step", "code": code, "outputs": outputs, **empty})
    return key


def keys(records: list[dict[str, object]]) -> list[object]:
    return [record["key"] for record in records]


def test_producers_the_latest_used_first(actions: ActionStore) -> None:
    first, second = publish(actions, "1"), publish(actions, "2")
    publish(actions, "3", digest_bytes(b"other"))
    index = RecordIndex(actions)
    os.utime(actions.file(first), (0, 1000))
    os.utime(actions.file(second), (0, 2000))
    assert keys(index.producers(OUT)) == [second, first]
    os.utime(actions.file(first), (0, 3000))
    assert keys(index.producers(OUT)) == [first, second]
    assert index.producers(digest_bytes(b"nobody")) == []
    assert len(index.records()) == 3
    assert keys(index.records()) == sorted(keys(index.records()))


def test_records_are_read_once_and_new_ones_found(
    actions: ActionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(actions, "1")
    index = RecordIndex(actions)
    read: list[str] = []
    real = actions.get
    monkeypatch.setattr(actions, "get", lambda key: (read.append(key), real(key))[1])
    assert len(index.producers(OUT)) == 1
    assert read == []
    new = publish(actions, "2", digest_bytes(b"new"))
    assert keys(index.producers(digest_bytes(b"new"))) == [new]
    assert read == [new]


def test_records_that_went_are_forgotten(actions: ActionStore) -> None:
    key = publish(actions, "1")
    index = RecordIndex(actions)
    actions.forget(key)
    index.refresh()
    assert index.records() == []
    assert index.producers(OUT) == []


def test_a_damaged_record_is_left_out(actions: ActionStore) -> None:
    key, sound = publish(actions, "1"), publish(actions, "2")
    path = Path(actions.file(key))
    path.chmod(0o644)
    path.write_text("{}")
    assert keys(RecordIndex(actions).producers(OUT)) == [sound]


def test_holders_of_what_is_only_in_a_tree(actions: ActionStore, tmp_path: Path) -> None:
    objects = ObjectStore(tmp_path)
    leaf = objects.put_bytes(b"leaf")
    inner = put_tree_entries(objects, {"leaf": Entry(leaf, 4)})
    outer = put_tree_entries(objects, {"in": Entry(inner, 4, "tree")})
    key = publish(actions, "1", outer, "tree")
    publish(actions, "2", objects.put_bytes(b"blob"))
    index = RecordIndex(actions)
    assert keys(index.holders(leaf, objects)) == [key]
    assert keys(index.holders(inner, objects)) == [key]
    assert index.holders(outer, objects) == []
    objects.path(inner).unlink()
    assert keys(RecordIndex(actions).holders(inner, objects)) == [key]
    assert RecordIndex(actions).holders(leaf, objects) == []
