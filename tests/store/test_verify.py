from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.errors import ClipsteerError
from clipsteer.store import verify as verify_module
from clipsteer.store.actions import action_key, parse_record
from clipsteer.store.digest import digest_bytes
from clipsteer.store.pointers import read_pointer
from clipsteer.store.state import read_note, write_note
from clipsteer.store.trees import Entry, put_tree_entries
from clipsteer.store.verify import STATE, Result, verify
from tests.store.places import quick_folder
from tests.store.world import DEEP, INNER, KEYS, LAST, ONE, SAME, THREE, TWO, World, record_of

ALL = set().union(*DEEP.values())


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.run("last")
    return world


def check(world: World, **options: object) -> Result:
    return verify(world.root, world.copy, **options)  # type: ignore[arg-type]


def place(world: World, digest: str) -> Path:
    return world.root / world.objects.relative(digest)


def flip(path: Path, where: int = 0, bits: int = 1) -> None:
    """Damage a file as a failing disk would: its times and size stay."""
    info = path.stat()
    data = bytearray(path.read_bytes())
    data[where % len(data)] ^= bits
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def quarantined(world: World) -> list[str]:
    return sorted(path.name for path in (world.root / "quarantine").iterdir())


# ---- everything is looked at


def test_a_sound_store(world: World) -> None:
    found = check(world)
    size = sum(world.objects.size(digest) for digest in ALL)
    assert (found.checked, found.bytes, found.records) == (len(ALL), size, 3)
    assert found.pointers == 6  # three and their copies
    assert found.sound
    assert (found.left, found.sound_lately, found.missing, found.faults) == (0, 0, [], [])


def test_a_damaged_object_is_quarantined_and_named(world: World) -> None:
    flip(place(world, ONE))
    found = check(world)
    assert found.damaged == [ONE]
    assert not found.sound
    assert quarantined(world)[0].startswith(f"object-{ONE.partition(':')[2]}")
    assert world.actions.get(KEYS["base"]) is not None  # its action is executed again when needed
    assert [m.digest for m in found.missing] == [ONE]
    again = check(world)
    assert again.damaged == []
    assert [m.digest for m in again.missing] == [ONE]
    assert again.sound


def test_damage_of_any_size_is_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    digest = world.objects.put_bytes(bytes(3 * 2**20))
    flip(place(world, digest), 2**21)
    assert check(world).damaged == [digest]


def test_a_damaged_record(world: World) -> None:
    flip(Path(world.actions.file(KEYS["next"])), 20)
    found = check(world)
    assert found.damaged_records == [KEYS["next"]]
    assert quarantined(world)[0].startswith("action-")
    assert not found.sound


def test_a_damaged_pointer_is_mended_from_its_copy(world: World) -> None:
    sound = world.pointer("base").read_bytes()
    flip(world.pointer("base"))
    found = check(world)
    assert found.mended == [str(world.pointer("base"))]
    assert world.pointer("base").read_bytes() == sound
    assert not found.sound
    assert check(world).sound


def test_a_damaged_copy_is_mended_from_its_pointer(world: World) -> None:
    (copy,) = world.root.glob("roots/*/base.json")
    sound = copy.read_bytes()
    flip(copy)
    found = verify(world.root)  # from any folder
    assert found.mended == [str(copy)]
    assert copy.read_bytes() == sound


def test_a_copy_that_nothing_mends_is_a_fault(world: World) -> None:
    (copy,) = world.root.glob("roots/*/base.json")
    flip(copy)
    flip(world.pointer("base"))
    found = verify(world.root)
    assert len(found.faults) == 1
    assert "--forget" in found.faults[0]
    assert copy.exists()


def test_a_copy_of_another_hosts_pointer_is_not_looked_for_here(world: World) -> None:
    (copy,) = world.root.glob("roots/*/base.json")
    about = copy.with_name("clipsteer-root.json")
    about.write_text(json.dumps({"host": "elsewhere", "path": str(world.copy)}))
    flip(copy)
    assert len(verify(world.root).faults) == 1


def test_missing_objects_are_reported_once_and_are_no_fault(world: World) -> None:
    for digest in (ONE, INNER):
        world.objects.forget(digest)
    found = check(world)
    # THREE is here, but the tree that named it is not.
    assert {m.digest for m in found.missing} == {ONE, INNER}
    assert found.sound


def test_tokens_are_no_pointers_and_external_bytes_are_not_missing(world: World) -> None:
    token = world.copy / "artifacts/refs/raw/celeba.json"
    token.parent.mkdir()
    token.write_text('{"digest": "x"}')
    outputs = record_of("base")["outputs"]
    entries = {"model": Entry(digest_bytes(b"with the user"), 13, "external")}
    outputs["tree"] = {**outputs["tree"], "digest": put_tree_entries(world.objects, entries)}
    key = action_key("external", {}, "code", {})
    world.actions.publish(key, {**record_of("base"), "step": "external", "outputs": outputs})
    found = check(world)
    assert found.sound
    assert found.missing == []
    assert token.exists()


def test_what_gc_has_deleted_is_missing_and_no_fault(world: World) -> None:
    world.unroot("last")
    world.age(40)
    world.gc()
    found = check(world)
    assert [m.digest for m in found.missing] == [LAST]
    assert found.sound


def test_a_lost_object_that_nothing_makes_is_a_fault(world: World) -> None:
    world.actions.forget(KEYS["last"])
    world.objects.forget(LAST)
    found = check(world)
    assert len(found.faults) == 2  # the pointer and its copy
    assert LAST in found.faults[0]
    assert not found.sound


@settings(max_examples=80)
@given(st.integers(0), st.integers(0), st.integers(1, 255))
def test_any_changed_byte_anywhere_is_found(which: int, where: int, bits: int) -> None:
    with quick_folder() as folder:
        world = World(Path(folder))
        world.run("last")
        check(world)
        tops = [world.root / "objects", world.root / "actions", world.root / "roots"]
        files = [p for top in [*tops, world.copy] for p in sorted(top.rglob("*")) if p.is_file()]
        files = [path for path in files if path.name != "clipsteer-root.json"]
        path = files[which % len(files)]
        before = path.read_bytes()
        flip(path, where, bits)
        after = path.read_bytes()
        found = verify(world.root, world.copy, everything=True)
        if found.sound:  # only white space between the parts of a record or pointer
            assert path.suffix == ".json"
            assert json.loads(after) == json.loads(before)
            return
        if path.is_relative_to(world.root / "objects"):
            assert len(found.damaged) == 1
        elif path.is_relative_to(world.root / "actions"):
            assert len(found.damaged_records) == 1
            assert parse_record(before, found.damaged_records[0])
        else:
            assert found.mended == [str(path)]
            assert read_pointer(path)
            assert path.read_bytes() == before
        assert verify(world.root, world.copy, everything=True).sound


# ---- bit by bit


def test_what_was_sound_lately_is_passed_over(world: World) -> None:
    check(world)
    found = check(world)
    assert (found.checked, found.sound_lately) == (0, len(ALL))
    os.utime(place(world, ONE))  # touched
    world.objects.put_bytes(b"new")
    assert check(world).checked == 2
    assert check(world, everything=True).checked == len(ALL) + 1


def test_a_silent_flip_is_found_by_all_and_after_a_month(world: World) -> None:
    check(world)
    flip(place(world, ONE))
    assert check(world).damaged == []
    note = read_note(world.root / STATE)
    write_note(
        world.root / STATE, {d: [when - 31 * 86400, *rest] for d, (when, *rest) in note.items()}
    )
    found = check(world)
    assert found.damaged == [ONE]
    assert found.checked == len(ALL)
    flip(place(world, TWO))
    assert check(world).damaged == []
    assert check(world, everything=True).damaged == [TWO]
    assert not {ONE, TWO} & read_note(world.root / STATE).keys()


def test_the_budget_goes_to_those_longest_not_hashed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(verify_module.time, "monotonic", lambda: next(ticks))
    hashed: list[str] = []
    real = verify_module._Run.hash_object
    monkeypatch.setattr(
        verify_module._Run, "hash_object", lambda self, d: (hashed.append(d), real(self, d))[1]
    )
    found = check(world, budget=4)
    assert (found.checked, found.left) == (3, len(ALL) - 3)
    while check(world, budget=4).left:
        pass
    assert sorted(hashed) == sorted(ALL)
    hashed.clear()
    note = read_note(world.root / STATE)
    order = [THREE, LAST, SAME]
    for number, digest in enumerate(order):
        note[digest][0] = number
    write_note(world.root / STATE, note)
    check(world, budget=3)
    assert hashed == order[:2]
    assert check(world, budget=0).checked == 0


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"blake3:00\n{}\n"])
def test_a_damaged_state_is_no_state(world: World, text: bytes) -> None:
    check(world)
    (world.root / STATE).write_bytes(text)
    assert check(world).checked == len(ALL)


def test_what_was_hashed_is_noted_also_when_it_is_interrupted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(world, tell=stop)
    found = check(world)
    assert 0 < found.checked < len(ALL)
    assert found.checked + found.sound_lately == len(ALL)


def test_objects_that_went_leave_the_note(world: World) -> None:
    check(world)
    world.objects.forget(ONE)
    check(world)
    assert ONE not in read_note(world.root / STATE)


def test_progress_is_told(world: World) -> None:
    told: list[tuple[int, int]] = []
    found = check(world, tell=lambda done, total: told.append((done, total)))
    assert told[0] == (0, found.bytes)
    assert told[-1] == (found.bytes, found.bytes)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_store_that_we_may_only_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ClipsteerError("read-only")

    monkeypatch.setattr(verify_module, "write_note", refuse)
    assert check(world).checked == len(ALL)
