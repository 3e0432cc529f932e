from __future__ import annotations

import errno
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.errors import ClipsteerError
from clipsteer.store import actions
from clipsteer.store.actions import STORE_SEMANTICS, ActionStore, action_key, complete
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.entries import Entry
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import put_tree_entries
from tests.store.places import quick_folder

FORK = multiprocessing.get_context("fork")
INPUT = digest_bytes(b"input")
RECIPE = {"k": 8, "rate": 1e-4, "layers": [0, 1]}
KEY = action_key("train", RECIPE, "code", {"shard": INPUT})


def record(**changes: Any) -> dict[str, Any]:
    return {
        "step": "train",
        "recipe": RECIPE,
        "code": "code",
        "inputs": {"shard": INPUT},
        "outputs": {"dictionary": {"digest": digest_bytes(b"out"), "size": 3, "kind": "blob"}},
        "facts": {"l0": 7.5},
        "run": {"seconds": 1.25},
        **changes,
    }


@pytest.fixture
def store(tmp_path: Path) -> ActionStore:
    return ActionStore(tmp_path / "store")


def file_of(store: ActionStore, key: str = KEY) -> Path:
    name = key.removeprefix("blake3:")
    return store.root / "actions" / name[:2] / f"{name[2:]}.json"


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def quarantined(store: ActionStore) -> list[Path]:
    return sorted((store.root / "quarantine").iterdir())


# ---- keys


def test_the_bytes_under_a_key() -> None:
    text = (
        f'{{"code":"code","format":"clipsteer-action/1","inputs":{{"shard":"{INPUT}"}},'
        '"recipe":{"k":8,"layers":[0,1],"rate":0.0001},'
        f'"semantics":{STORE_SEMANTICS},"step":"train"}}'
    )
    assert digest_bytes(text.encode()) == KEY


def test_everything_counts_in_a_key() -> None:
    keys = [
        KEY,
        action_key("select", RECIPE, "code", {"shard": INPUT}),
        action_key("train", {**RECIPE, "k": 9}, "code", {"shard": INPUT}),
        action_key("train", RECIPE, "code 2", {"shard": INPUT}),
        action_key("train", RECIPE, "code", {"shards": INPUT}),
        action_key("train", RECIPE, "code", {"shard": digest_bytes(b"")}),
        action_key("train", RECIPE, "code", {}),
        action_key("train", RECIPE, "code", {"shard": INPUT}, semantics=STORE_SEMANTICS + 1),
    ]
    assert len(set(keys)) == len(keys)
    turned = dict(reversed(RECIPE.items()))
    assert action_key("train", turned, "code", {"shard": INPUT}) == KEY


# ---- records


def test_round_trip_and_schema(store: ActionStore) -> None:
    assert store.get(KEY) is None
    made = store.publish(KEY, record())
    assert made == record(format="clipsteer-action/1", key=KEY, semantics=STORE_SEMANTICS)
    assert store.get(KEY) == made
    assert list(store.keys()) == [KEY]
    text = file_of(store).read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n"
    assert not file_of(store).stat().st_mode & 0o222
    assert not list((store.root / "tmp").iterdir())


def test_what_is_returned_is_what_readers_get(store: ActionStore) -> None:
    made = store.publish(KEY, record(facts={"pair": (1, 2)}))
    assert made["facts"] == {"pair": [1, 2]}
    assert store.get(KEY) == made


def test_the_first_writer_wins(store: ActionStore) -> None:
    first = store.publish(KEY, record(run={"host": "first"}))
    os.utime(file_of(store), (1, 1))
    assert store.publish(KEY, record(run={"host": "second"})) == first
    assert store.get(KEY) == first
    assert file_of(store).stat().st_mtime > 1
    assert not list((store.root / "tmp").iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "other"},
        {"recipe": {}},
        {"inputs": {}},
        {"semantics": STORE_SEMANTICS + 1},
        {"outputs": {"a": {"digest": "x", "size": 1, "kind": "blob"}}},
        {"outputs": {"a": {"digest": INPUT, "size": "1", "kind": "blob"}}},
        {"outputs": {"a": {"digest": INPUT, "size": 1, "kind": "external"}}},
        {"outputs": [1]},
        {"facts": {"loss": float("nan")}},
    ],
)
def test_a_record_that_is_wrong_is_never_published(
    store: ActionStore, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError):
        store.publish(KEY, record(**changes))
    short = record()
    del short["inputs"]
    with pytest.raises(ValueError, match="inputs"):
        store.publish(KEY, short)
    assert list(store.keys()) == []


def publish_one(root: Path, start: Any, number: int, results: Any) -> None:
    store = ActionStore(root)
    start.wait()
    results.put(store.publish(KEY, record(run={"number": number})))


def test_concurrent_writers_agree(tmp_path: Path) -> None:
    start, results = FORK.Barrier(5), FORK.Queue()
    writers = [
        FORK.Process(target=publish_one, args=(tmp_path, start, number, results))
        for number in range(5)
    ]
    for writer in writers:
        writer.start()
    got = [results.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 5
    assert all(one == got[0] for one in got)
    assert ActionStore(tmp_path).get(KEY) == got[0]


def test_a_file_system_without_links(store: ActionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    first = store.publish(KEY, record(run={"host": "first"}))
    assert store.publish(KEY, record(run={"host": "second"})) == first
    assert not list((store.root / "tmp").iterdir())


@pytest.mark.parametrize(("call", "code"), [("fsync", errno.ENOSPC), ("open", errno.EROFS)])
def test_a_full_disk_leaves_no_record(
    store: ActionStore, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(ClipsteerError, match=errno.errorcode[code]):
            store.publish(KEY, record())
    assert store.get(KEY) is None
    assert not list((store.root / "tmp").iterdir())


def test_the_record_is_durable_before_its_name(
    store: ActionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), order.append("flush")))
    monkeypatch.setattr(os, "link", lambda a, b: (link(a, b), order.append("link")))
    store.publish(KEY, record())
    assert order[0] == "flush"
    assert order[-2:] == ["link", "flush"]


# ---- damage


@settings(max_examples=80)
@given(st.integers(0), st.integers(1, 255))
def test_any_changed_byte_is_harmless(where: int, flip: int) -> None:
    with quick_folder() as folder:
        store = ActionStore(folder)
        made = store.publish(KEY, record())
        path = file_of(store)
        bad = bytearray(path.read_bytes())
        bad[where % len(bad)] ^= flip
        overwrite(path, bytes(bad))
        found = store.get(KEY)
        if found is None:
            assert not path.exists()
            assert [away.read_bytes() for away in quarantined(store)] == [bytes(bad)]
        else:
            # Only white space between the parts of the JSON changed.
            assert found == made
        assert store.publish(KEY, record()) == made
        assert store.get(KEY) == made


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '{"check": 1}', "[" * 100_000, "\0"])
def test_a_file_that_is_no_record(store: ActionStore, text: str) -> None:
    store.publish(KEY, record())
    overwrite(file_of(store), text.encode())
    assert store.get(KEY) is None
    assert len(quarantined(store)) == 1


def test_a_record_with_a_sound_check_but_no_semantics(store: ActionStore) -> None:
    made = store.publish(KEY, record())
    del made["semantics"]
    text = json.dumps({**made, "check": digest_bytes(canonical_json(made))})
    overwrite(file_of(store), text.encode())
    assert store.get(KEY) is None
    assert len(quarantined(store)) == 1


def test_a_record_under_another_name_is_not_believed(store: ActionStore) -> None:
    store.publish(KEY, record())
    other = action_key("train", RECIPE, "code 2", {"shard": INPUT})
    file_of(store, other).parent.mkdir(exist_ok=True)
    file_of(store).rename(file_of(store, other))
    assert store.get(other) is None
    assert store.get(KEY) is None


def test_publishing_over_a_damaged_record(store: ActionStore) -> None:
    store.publish(KEY, record(run={"host": "first"}))
    overwrite(file_of(store), b"{}")
    second = store.publish(KEY, record(run={"host": "second"}))
    assert second["run"] == {"host": "second"}
    assert store.get(KEY) == second


def test_a_damaged_record_that_cannot_be_moved_is_an_error(
    store: ActionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(KEY, record())
    overwrite(file_of(store), b"{}")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "not yours")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ClipsteerError, match="damaged action record"):
        store.publish(KEY, record())


# ---- forgetting, touching


def test_forgetting(store: ActionStore) -> None:
    store.publish(KEY, record(run={"host": "first"}))
    assert store.forget(KEY)
    assert store.get(KEY) is None
    assert not store.forget(KEY)
    assert store.publish(KEY, record(run={"host": "second"}))["run"] == {"host": "second"}


def test_touching_says_whether_it_is_here(store: ActionStore) -> None:
    assert not store.touch(KEY)
    store.publish(KEY, record())
    os.utime(file_of(store), (0, 0))
    assert store.touch(KEY)
    assert file_of(store).stat().st_mtime > 1e9
    store.forget(KEY)
    assert not store.touch(KEY)


def test_a_sound_record_is_not_quarantined(
    store: ActionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = store.publish(KEY, record())
    sound = file_of(store).read_bytes()
    overwrite(file_of(store), b"{}")
    real = os.replace

    def mended_first(source: str, target: str) -> None:
        if "quarantine" in str(target):
            monkeypatch.setattr(os, "replace", real)
            overwrite(file_of(store), sound)
        real(source, target)

    monkeypatch.setattr(os, "replace", mended_first)
    assert store.get(KEY) == made
    assert store.get(KEY) == made
    assert not quarantined(store)


# ---- completeness


def test_complete(tmp_path: Path) -> None:
    objects = ObjectStore(tmp_path)
    blob, leaf = objects.put_bytes(b"out"), objects.put_bytes(b"leaf")
    inner = put_tree_entries(objects, {"leaf": Entry(leaf, 4)})
    away = Entry(digest_bytes(b"with the user"), 13, "external")
    tree = put_tree_entries(objects, {"x/inner": Entry(inner, 4, "tree"), "model": away})
    outputs = {
        "blob": {"digest": blob, "size": 3, "kind": "blob"},
        "tree": {"digest": tree, "size": 4, "kind": "tree"},
    }
    done = record(outputs=outputs)
    assert [complete(done, objects, depth) for depth in (0, 1, 2, None)] == [True] * 4
    assert complete(done, objects)
    objects.path(leaf).unlink()
    assert [complete(done, objects, depth) for depth in (0, 1, 2, None)] == [True] * 2 + [False] * 2
    objects.path(inner).unlink()
    assert [complete(done, objects, depth) for depth in (0, 1)] == [True, False]
    objects.path(blob).unlink()
    assert not complete(done, objects, 0)
    assert complete(record(outputs={}), objects)


def test_the_semantics_number_is_an_integer_in_the_module() -> None:
    assert type(actions.STORE_SEMANTICS) is int
