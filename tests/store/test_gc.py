from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.store import drop, gc
from clipsteer.store.actions import ActionStore, action_key
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.durable import write_atomic
from clipsteer.store.pointers import Member, Pointer, pointer_bytes
from clipsteer.store.reach import given
from clipsteer.store.roots import REFS, root_id
from clipsteer.store.trees import Entry, put_tree_entries
from tests.store.world import (
    DEEP,
    INNER,
    KEYS,
    LAST,
    ONE,
    OUTER,
    OUTPUTS,
    SAME,
    THREE,
    World,
    record_of,
)

ALL = set().union(*DEEP.values())
RECORDS = {"base", "next", "last"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def objects(world: World) -> set[str]:
    return world.here() & ALL


def gone(report: gc.Report) -> set[str]:
    return {item.digest for item in report.deleted}


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
    assert (report.deleted, report.freed, report.young) == ([], 0, 0)
    assert world.here() == ALL | RECORDS


def test_recent_records_keep_everything_that_led_to_them(world: World) -> None:
    world.run("last")
    world.unroot()
    world.age(20)
    world.actions.touch(KEYS["next"])
    world.age(20)
    assert gone(world.gc()) == {LAST}
    assert world.here() == ALL - {LAST} | RECORDS


def test_records_stay_for_ever_and_what_nobody_needs_goes(world: World) -> None:
    world.run("last")
    world.unroot()
    world.age(400)
    sizes = {digest: world.objects.size(digest) for digest in ALL}
    report = world.gc()
    assert {item.digest: item.bytes for item in report.deleted} == sizes
    assert report.freed == sum(sizes.values())
    steps = {item.digest: item.step for item in report.deleted}
    assert (steps[SAME], steps[INNER], steps[LAST]) == ("base", "next", "last")
    assert world.here() == RECORDS
    # which is enough to have everything again
    world.make("last", world.objects)
    world.make("next", world.objects)
    for name in RECORDS:
        world.read(name)


def test_the_least_recently_used_goes_first(world: World) -> None:
    world.run("last")
    world.unroot()
    order = [ONE, LAST, INNER, SAME]
    for days, digest in enumerate(order):
        when = os.stat(world.root / world.objects.relative(digest)).st_mtime - (10 - days) * gc.DAY
        os.utime(world.root / world.objects.relative(digest), (when, when))
    world.age(40)
    assert [item.digest for item in world.gc().deleted][: len(order)] == order


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


def test_records_keep_what_they_name_for_no_less_than_the_grace_period(world: World) -> None:
    world.run("base")
    world.unroot()
    world.age(40)
    world.actions.touch(KEYS["base"])
    world.age(0.5)
    assert world.gc(older_than=0).deleted == []
    world.age(0.6)
    assert gone(world.gc(older_than=0)) == DEEP["base"]


def test_inputs_that_no_record_makes_are_never_deleted(world: World) -> None:
    """They are whole trees, and nobody could have them again."""
    world.run("last")
    world.forget("next")
    world.unroot()
    world.age(400)
    world.gc()
    assert objects(world) == DEEP["next"]
    # until what needs them is forgotten too
    world.forget("last")
    world.gc()
    assert objects(world) == set()


def test_giving_back_an_input_is_not_making_it(world: World) -> None:
    world.run("base")
    inputs, outputs = {"in": SAME}, {"blob": record_of("base")["outputs"]["blob"]}
    key = action_key("copy", {}, "code", inputs)
    copied = {**record_of("base"), "step": "copy", "inputs": inputs, "outputs": outputs}
    ActionStore(world.root).publish(key, copied)
    world.unroot()
    world.age(40)
    assert given([record_of("base"), copied]) == set()
    assert given([copied]) == {SAME}
    assert SAME in gone(world.gc(dry_run=True))
    world.forget("base")
    world.gc()
    assert objects(world) == {SAME}


def test_missing_and_damaged_trees_do_not_stop_it(world: World) -> None:
    world.run("last")
    world.age(40)
    path = world.root / world.objects.relative(OUTER)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"5", b"6"))
    os.utime(path, (0, 0))
    # What only the damaged tree named goes; making the tree anew makes it too.
    assert gone(world.gc()) == {INNER, THREE}
    world.objects.forget(OUTER)
    assert world.gc().deleted == []
    assert world.here() >= RECORDS


def test_a_damaged_record_stays_where_it_is(world: World) -> None:
    world.run("last")
    world.age(40)
    path = Path(world.actions.file(KEYS["base"]))
    path.chmod(0o644)
    path.write_bytes(b"{")
    before = snapshot(world)
    assert world.gc(dry_run=True).deleted == []
    assert snapshot(world) == before


def test_a_tree_of_the_future_stops_it(world: World) -> None:
    world.run("base")
    tree = world.objects.put_bytes(canonical_json({"entries": {}, "format": "clipsteer-tree/2"}))
    key = "blake3:" + "0" * 64
    made = {"digest": tree, "size": 0, "kind": "tree"}
    records = {key: {"outputs": {"t": made}, "inputs": {}}}
    assert gc.reach(gc.Trees(world.objects), records, [], [key]) == {tree}
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
    world.gc(working_copies=[world.copy])
    assert objects(world) == DEEP["base"]


def test_external_bytes_are_not_asked_for(world: World) -> None:
    entries = {"a": Entry(digest_bytes(b"with the user"), 13, "external"), "b": Entry(ONE, 3)}
    tree = put_tree_entries(world.objects, entries)
    assert gc.reach(gc.Trees(world.objects), {}, [(tree, "tree")], []) == {tree, ONE}


def test_what_may_not_be_deleted_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(1, "somebody else's")

    world.run("base")
    world.unroot()
    world.age(40)
    monkeypatch.setattr(drop.os, "unlink", refuse)
    report = world.gc()
    assert (report.deleted, report.freed, report.refused) == ([], 0, len(DEEP["base"]))
    assert objects(world) == DEEP["base"]


# ---- dry run


def test_a_dry_run_says_what_would_happen_and_changes_nothing(world: World) -> None:
    world.run("last")
    world.age(40)
    world.unroot("next", "last")
    world.objects.path(LAST)
    (world.root / "tmp/left").write_bytes(b"left")
    os.utime(world.root / "tmp/left", (0, 0))
    for number in range(2):
        before = snapshot(world)
        dry = world.gc(dry_run=True)
        assert snapshot(world) == before
        assert dry.dry_run
        real = world.gc()
        assert vars(dry) == {**vars(real), "dry_run": True}
        assert gone(real) == [{OUTER, INNER, THREE}, set()][number]


# ---- working copies


def test_a_dry_run_counts_the_pointers_of_the_working_copy(world: World) -> None:
    world.run("last")
    world.age(40)
    for path in world.root.glob("roots/*/*.json"):
        path.unlink()
    world.unroot("last")
    dry = world.gc(dry_run=True, working_copies=[world.copy])
    assert gone(dry) == {LAST}
    real = world.gc(working_copies=[world.copy])
    assert real.deleted == dry.deleted


def test_named_working_copies_count_as_they_are_now(world: World, tmp_path: Path) -> None:
    """Their pointers were brought there, say, by no run that the store has seen."""
    world.run("last")
    world.unroot()
    world.age(40)
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder, name in ((mine, "base"), (theirs, "last")):
        data = pointer_bytes(Pointer(name, {"all": Member(OUTPUTS[name])}))
        write_atomic(folder / REFS / f"{name}.json", data)
    assert gone(world.gc(dry_run=True)) == ALL
    assert gone(world.gc(dry_run=True, working_copies=[mine])) == ALL - DEEP["base"]
    for dry_run in (True, False):
        assert world.gc(dry_run=dry_run, working_copies=[mine, theirs]).deleted == []
    # from now on the store knows them
    assert world.gc().deleted == []


def test_a_pointer_that_is_no_more_keeps_nothing_in_its_own_working_copy(world: World) -> None:
    world.run("last")
    world.age(40)
    world.pointer("last").unlink()
    assert world.gc().deleted == []
    for dry_run in (True, False):
        assert gone(world.gc(working_copies=[world.copy], dry_run=dry_run)) == {LAST}


def test_forgetting_a_working_copy(world: World) -> None:
    world.run("last")
    world.age(40)
    for dry_run in (True, False):
        assert gone(world.gc(forget=root_id(world.copy), dry_run=dry_run)) == ALL
    with pytest.raises(ClipsteerError, match="no working copy"):
        world.gc(forget=root_id(world.copy))


# ---- stores of earlier versions


def test_what_an_earlier_version_had_put_into_trash_comes_back(world: World) -> None:
    world.run("last")
    base, here = world.root / "trash", world.here()
    moved = [world.objects.relative(d) for d in (ONE, OUTER)] + [ActionStore.relative(KEYS["base"])]
    for relative in moved:
        (base / relative).parent.mkdir(parents=True)
        os.rename(world.root / relative, base / relative)
    os.rmdir((world.root / moved[0]).parent)
    # in its place as well, and rotten here
    rotten = base / world.objects.relative(THREE)
    rotten.parent.mkdir(parents=True)
    rotten.write_bytes(b"rotten")
    for name in ("since.json", f"object-{LAST[7:]}-1", f"action-{KEYS['last'][7:]}-1.json"):
        (base / name).write_bytes(b"taken away by hand, or a note")
    assert World(world.folder).here() == here
    assert not base.exists()
    for name in RECORDS:
        world.read(name)


def test_what_cannot_come_back_is_not_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "read-only")

    world.run("base")
    away = world.root / "trash" / world.objects.relative(ONE)
    away.parent.mkdir(parents=True)
    os.rename(world.root / world.objects.relative(ONE), away)
    with monkeypatch.context() as patch:
        for name in ("link", "replace"):
            patch.setattr(os, name, refuse)
        assert not World(world.folder).has(ONE)
    assert away.exists()
    assert World(world.folder).has(ONE)
