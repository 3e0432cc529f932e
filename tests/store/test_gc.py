from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.store import gc
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.objects import MissingObjectError
from clipsteer.store.roots import root_id
from clipsteer.store.trash import SINCE
from clipsteer.store.trees import Entry, put_tree_entries
from tests.store.world import DEEP, INNER, KEYS, LAST, ONE, OUTER, OUTPUTS, SAME, THREE, World

ALL = set().union(*DEEP.values())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def objects(world: World) -> set[str]:
    """What is in its place."""
    return {digest for digest in ALL if world.has(digest, trash=False)}


def records(world: World) -> set[str]:
    return {name for name in KEYS if world.has(name, trash=False)}


def trash(world: World) -> set[str]:
    base = world.root / "trash"
    found = {path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()}
    return found - {SINCE}


def snapshot(world: World) -> dict[str, tuple[int, int]]:
    """Every file of the store, with its inode and time."""
    found = [path for path in world.root.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


# ---- what is kept


def test_pointers_keep_everything_that_led_to_them(world: World) -> None:
    world.run("last")
    world.unroot("base", "next")
    world.age(400)
    report = world.gc()
    assert (report.trashed, report.deleted, report.young) == ([], 0, 0)
    assert objects(world) == ALL
    assert records(world) == {"base", "next", "last"}


def test_recent_records_keep_everything_that_led_to_them(world: World) -> None:
    world.run("last")
    world.unroot()
    world.age(20)
    world.actions.touch(KEYS["next"])
    world.age(20)
    world.gc()
    assert records(world) == {"base", "next"}
    assert objects(world) == ALL - {LAST}


def test_what_nobody_needs_goes_in_two_steps(world: World) -> None:
    world.run("last")
    world.unroot()
    world.age(31)
    report = world.gc()
    assert {item.digest for item in report.trashed} == {*ALL, *KEYS.values()} - {KEYS["twin"]}
    assert [item.kind for item in report.trashed[:3]] == ["record"] * 3
    assert {item.step for item in report.trashed if item.kind == "record"} == set(OUTPUTS) - {
        "twin"
    }
    assert sum(item.bytes for item in report.trashed) == report.waiting_bytes
    assert (report.freed, report.deleted, report.waiting) == (0, 0, len(ALL) + 3)
    assert not objects(world) | records(world)
    assert len(trash(world)) == len(ALL) + 3
    world.age(0.5)
    assert world.gc().deleted == 0
    waiting = sum((world.root / "trash" / name).stat().st_size for name in trash(world))
    world.age(0.6)
    report = world.gc()
    assert (report.deleted, report.freed, report.waiting) == (len(ALL) + 3, waiting, 0)
    assert not trash(world)


def test_all_makers_of_a_needed_object_stay(world: World) -> None:
    world.run("twin")
    world.run("base")
    world.unroot("twin")
    world.age(40)
    world.gc()
    assert records(world) == {"base", "twin"}


def test_the_young_are_spared(world: World) -> None:
    world.run("last")
    world.unroot()
    world.age(40)
    for digest in (SAME, OUTER):
        world.objects.path(digest)
    report = world.gc(older_than=0)
    assert objects(world) == {SAME, OUTER}
    assert report.young == 2
    assert report.young_bytes == sum(world.objects.size(digest) for digest in (SAME, OUTER))


def test_records_need_no_less_than_the_grace_period(world: World) -> None:
    world.run("base")
    world.unroot()
    world.age(0.5)
    world.gc(older_than=0)
    assert records(world) == {"base"}
    world.age(0.6)
    world.gc(older_than=0)
    assert not records(world)


def test_inputs_that_no_action_made_stay_as_whole_trees(world: World) -> None:
    world.run("last")
    world.actions.forget(KEYS["next"])
    world.unroot("next")
    world.age(40)
    world.gc()
    assert {OUTER, INNER, ONE} <= objects(world)


def test_missing_and_damaged_trees_do_not_stop_it(world: World) -> None:
    world.run("last")
    world.age(40)
    path = world.root / world.objects.relative(OUTER)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"5", b"6"))
    world.gc()
    assert records(world) == {"base", "next", "last"}
    # What only the damaged tree named goes the slow way; making the tree anew makes it too.
    assert objects(world) == ALL - {INNER, THREE}
    world.objects.forget(OUTER)
    world.gc()


def test_a_tree_of_the_future_stops_it(world: World) -> None:
    world.run("base")
    tree = world.objects.put_bytes(canonical_json({"entries": {}, "format": "clipsteer-tree/2"}))
    key = "blake3:" + "0" * 64
    world.unroot()
    made = {"digest": tree, "size": 0, "kind": "tree"}
    reached = gc.reach(
        gc.Trees(world.objects), {key: {"outputs": {"t": made}, "inputs": {}}}, [], [key]
    )
    assert reached.objects == {tree}
    with pytest.raises(ClipsteerError, match="another version"):
        gc.reach(gc.Trees(world.objects, strict=True), {}, [(tree, "tree")], [])


def test_a_damaged_root_copy_stops_it(world: World) -> None:
    world.run("base")
    world.run("twin")
    world.age(40)
    (copy,) = world.root.glob("roots/*/base.json")
    copy.write_bytes(b"{")
    with pytest.raises(ClipsteerError, match=f"--forget {root_id(world.copy)}"):
        world.gc()
    assert objects(world) == DEEP["base"]
    # In the working copy itself it is mended.
    world.gc(working_copy=world.copy)
    assert objects(world) == DEEP["base"]


# ---- trash


def test_trash_comes_back_when_it_is_needed_again(world: World) -> None:
    world.run("last")
    world.unroot()
    world.age(40)
    world.gc()
    world.age(0.5)
    world.run("next")
    assert records(world) == {"base", "next"}
    report = world.gc()
    assert report.brought_back == len(ALL) - 1  # all objects but the last
    assert objects(world) == ALL - {LAST}
    assert records(world) == {"base", "next"}


def test_what_came_back_and_went_again_waits_anew(world: World) -> None:
    world.run("base")
    world.unroot()
    world.age(40)
    world.gc()
    world.run("base")
    world.gc()
    world.unroot()
    world.age(40)
    report = world.gc()
    assert (report.deleted, report.waiting) == (0, 5)
    # The note was made in the meantime, and is worth nothing when it is damaged.
    (world.root / "trash" / SINCE).write_bytes(b"{}")
    world.age(2)
    assert world.gc().deleted == 0
    world.age(2)
    assert world.gc().deleted == 5


def test_a_full_disk_has_no_room_for_a_note(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ClipsteerError("no space")

    world.run("last")
    world.unroot()
    world.age(40)
    world.gc()
    world.age(2)
    world.run("base")
    world.unroot()
    world.age(40)
    monkeypatch.setattr("clipsteer.store.trash.write_note", refuse)
    report = world.gc()
    assert report.deleted == 6  # what the old note says was there all the time
    assert SINCE not in {path.name for path in (world.root / "trash").iterdir()}
    assert world.gc().deleted == 0  # now all is as if it were new


def test_what_goes_again_in_the_same_run_has_gone_now(world: World) -> None:
    world.run("base")
    bin_ = gc.Trash(world.root)
    relative = world.objects.relative(ONE)
    bin_.since[relative] = 0.0
    assert bin_.take(relative, math.inf)
    assert relative not in bin_.since


def test_a_note_that_was_altered_is_not_believed(world: World) -> None:
    world.run("base")
    world.unroot()
    world.age(40)
    world.gc()
    note = world.root / "trash" / SINCE
    bad = bytearray(note.read_bytes())
    bad[-10] ^= 1
    note.write_bytes(bytes(bad))
    assert gc.Trash(world.root).since == {}


def test_forgotten_files_are_deleted_and_never_come_back(world: World) -> None:
    world.run("base")
    world.actions.forget(KEYS["base"])
    world.objects.forget(ONE)
    world.gc()
    assert not world.has("base")
    with pytest.raises(MissingObjectError):
        world.objects.get_bytes(ONE)
    world.age(2)
    assert world.gc().deleted == 2
    assert not trash(world)


def test_no_days_of_trash(world: World) -> None:
    world.run("last")
    world.unroot()
    world.age(40)
    report = world.gc(trash=0)
    assert report.deleted == len(ALL) + 3
    assert report.freed == sum(item.bytes for item in report.trashed)
    assert not trash(world)


def test_a_file_in_its_place_is_not_replaced_from_trash(world: World) -> None:
    world.run("base")
    (away,) = [world.root / "trash" / world.objects.relative(ONE)]
    away.parent.mkdir(parents=True)
    away.write_bytes(b"rotten")
    world.gc()
    assert world.objects.get_bytes(ONE) == b"one"
    world.age(2)
    assert world.gc().deleted == 1
    assert world.objects.get_bytes(ONE) == b"one"


def test_external_bytes_are_not_asked_for(world: World) -> None:
    entries = {"a": Entry(digest_bytes(b"with the user"), 13, "external"), "b": Entry(ONE, 3)}
    tree = put_tree_entries(world.objects, entries)
    reached = gc.reach(gc.Trees(world.objects), {}, [(tree, "tree")], [])
    assert reached.objects == {tree, ONE}


# ---- dry run


def test_a_dry_run_says_what_would_happen_and_changes_nothing(world: World) -> None:
    world.run("last")
    world.unroot("last")
    world.age(40)
    world.gc()
    world.age(2)
    world.unroot("next")
    (world.root / "tmp/left").write_bytes(b"left")
    os.utime(world.root / "tmp/left", (0, 0))
    for number in range(2):
        before = snapshot(world)
        dry = world.gc(dry_run=True)
        assert snapshot(world) == before
        assert dry.dry_run
        real = world.gc()
        assert vars(dry) == {
            **vars(real),
            "dry_run": True,
            "waiting": dry.waiting,
            "waiting_bytes": dry.waiting_bytes,
        }
        assert (real.deleted, len(real.trashed)) == [(2, 4), (0, 0)][number]


def test_a_dry_run_counts_the_pointers_of_the_working_copy(world: World) -> None:
    world.run("last")
    world.age(40)
    for path in world.root.glob("roots/*/*.json"):
        path.unlink()
    world.unroot("last")
    dry = world.gc(dry_run=True, working_copy=world.copy)
    assert [item.digest for item in dry.trashed] == [KEYS["last"], LAST]
    real = world.gc(working_copy=world.copy)
    assert real.trashed == dry.trashed


def test_a_pointer_that_is_no_more_keeps_nothing_in_its_own_working_copy(world: World) -> None:
    world.run("last")
    world.age(40)
    world.pointer("last").unlink()
    assert world.gc().trashed == []
    for dry_run in (True, False):
        report = world.gc(working_copy=world.copy, dry_run=dry_run)
        assert {item.digest for item in report.trashed} == {KEYS["last"], LAST}


# ---- forgetting a working copy


def test_forgetting_a_working_copy(world: World) -> None:
    world.run("last")
    world.age(40)
    for dry_run in (True, False):
        report = world.gc(forget=root_id(world.copy), dry_run=dry_run)
        assert len(report.trashed) == len(ALL) + 3
    with pytest.raises(ClipsteerError, match="no working copy"):
        world.gc(forget=root_id(world.copy))
