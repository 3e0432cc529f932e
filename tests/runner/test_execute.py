"""Whatever is lost is made again from the records, wherever an action needs it, or said to be lost."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.runner.code import StepCode
from clipsteer.runner.run import Run
from clipsteer.store.actions import ActionStore, Record
from clipsteer.store.attempts import action_folder
from clipsteer.store.digest import digest_bytes
from clipsteer.store.gc import Options, collect
from clipsteer.store.locks import try_lock
from clipsteer.store.objects import DamagedObjectError
from clipsteer.store.trees import StoreTree
from tests.runner.bench import Bench
from tests.toy import STEPS


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Bench(tmp_path)
    for name in [n for n in sys.modules if n.startswith(("clipsteer_step_", "toyhelp"))]:
        del sys.modules[name]


def value(bench: Bench, digest: str) -> bytes:
    return bench.objects.get_bytes(digest)


def test_a_chain_with_its_middle_and_its_first_object_lost(bench: Bench) -> None:
    made, box, _ = bench.chain()
    whole = bench.files("objects")
    bench.lose(made["out"], box["box"], box["in"])
    executor = bench.executor()
    again = bench.act("read", {"box": box["box"]}, executor=executor, other=1)
    assert bench.said("remade") == ["make", "box"]
    assert (executor.counts.computed, executor.counts.restored) == (3, 0)
    assert value(bench, again["out"]) == b"one !one one "
    assert bench.files("objects").keys() >= whole.keys()
    assert not bench.files("scratch")


def test_what_is_on_record_is_restored_though_everything_is_lost(bench: Bench) -> None:
    _, box, _ = bench.chain()
    bench.lose(*bench.objects.digests())
    executor = bench.executor()
    bench.act("read", {"box": box["box"]}, executor=executor)
    assert (executor.counts.computed, executor.counts.restored) == (0, 1)
    assert not list(bench.objects.digests())


@pytest.mark.parametrize("lost", ["a", "in/b", "in"])
def test_a_part_of_a_tree_lost(bench: Bench, lost: str) -> None:
    _, box, read = bench.chain()
    tree = StoreTree(bench.objects, box["box"])
    bench.lose(box["in"] if lost == "in" else tree.digest(lost))
    again = bench.act("read", {"box": box["box"]}, other=1)
    assert bench.said("remade") == ["box"]
    assert again["out"] == read["out"]


@pytest.mark.parametrize("tree_too", [False, True])
def test_a_blob_that_only_a_tree_above_the_inputs_names(bench: Bench, tree_too: bool) -> None:
    """As images of a painted world, which shards read by the digests in a list."""
    box = bench.act("box", {"x": bench.act("make", text="one ")["out"]})
    b = json.loads(Path(ActionStore(bench.root / "store").file(box["key"])).read_text())["facts"][
        "b"
    ]
    listed = bench.act("list", {"box": box["box"]}, b=b)
    look = bench.act("look", {"list": listed["out"]})
    bench.said("computed")
    bench.lose(b, *([box["box"], box["in"]] if tree_too else []))
    again = bench.act("look", {"list": listed["out"]}, other=1)
    assert bench.said("remade", surprised=True) == ["box"]
    assert again["out"] == look["out"]


def test_a_tree_in_which_files_are_found_by_digest(bench: Bench) -> None:
    """It is no part of the key, is there when the action runs, and is recorded for when it runs again."""
    worlds = [bench.act("pack", a=a)["pack"] for a in ("one", "two")]
    listed = bench.act("list", {"box": worlds[0]}, b=digest_bytes(b"the same"))["out"]
    bench.said("computed")
    found = [bench.act("find", {"list": listed}, found_in={"world": world}) for world in worlds]
    assert bench.said("computed") == ["find"]
    assert found[0] == found[1]
    assert value(bench, found[0]["out"]) == b"the same"
    bench.lose(worlds[0], found[0]["out"])
    bench.act("helped", {"x": found[0]["out"]})
    assert bench.said("remade") == ["pack", "find"]
    bench.damage(worlds[1])
    bench.act("find", {"list": listed}, found_in={"world": worlds[1]}, other=1)
    assert bench.said("remade") == ["pack"]
    bench.damage(worlds[1], at=-9)  # seen when it is opened
    bench.act("find", {"list": listed}, found_in={"world": worlds[1]}, other=2)
    assert bench.said("remade", surprised=True) == ["pack"]


def test_damage_found_in_the_middle_of_an_action(bench: Bench) -> None:
    made, box, _ = bench.chain()
    bench.damage(made["out"])
    bench.act("box", {"x": made["out"]}, mark="other")
    assert bench.said("remade", surprised=True) == ["make"]
    bench.damage(box["in"])  # a tree's own object
    bench.act("read", {"box": box["box"]}, other=1)
    assert bench.said("remade") == ["box"]
    bench.damage(StoreTree(bench.objects, box["box"]).digest("a"))  # read as a real file

    def from_folder(run: Run) -> None:
        run.put_bytes("out", (run.folder("box") / "a").read_bytes() * 2)

    again = bench.act("read", {"box": box["box"]}, from_folder, other=2)
    assert bench.said("remade", surprised=True) == ["box"]
    assert value(bench, again["out"]) == b"one !one !"
    assert len(bench.files("quarantine")) == 3
    assert value(bench, made["out"]) == b"one "


def test_one_action_made_both_lost_objects(bench: Bench) -> None:
    _, box, _ = bench.chain()
    bench.lose(box["box"], box["in"])

    def both(run: Run) -> None:
        run.put_bytes("out", run.tree("box").read("a") + run.tree("in").read("b"))

    bench.act("read", {"box": box["box"], "in": box["in"]}, both)
    assert bench.said("remade") == ["box"]


def test_an_input_that_vanishes_again_and_again(bench: Bench) -> None:
    """Another working copy drops what this action is just reading."""
    made, _, _ = bench.chain()
    times = 3

    def robbed(run: Run) -> None:
        nonlocal times
        if times:
            times -= 1
            bench.lose(made["out"])
        run.put_bytes("out", run.blob("x") * 9)

    bench.act("read", {"x": made["out"]}, robbed)
    assert bench.said("remade", surprised=True) == ["make"] * 3
    times = 1000
    with pytest.raises(ClipsteerError, match="is not in the store"):
        bench.act("read", {"x": made["out"]}, robbed, other=1)


def test_what_gc_has_deleted_is_made_again_from_what_it_has_left(bench: Bench) -> None:
    raw = bench.objects.put_bytes(b"the user's own")
    box = bench.act("box", {"x": raw})
    read = bench.act("read", {"box": box["box"]})
    bench.said("computed")
    records = bench.files("actions")
    collect(bench.root / "store", Options(older_than=0, grace=0))
    assert list(bench.objects.digests()) == [raw]
    again = bench.act("read", {"box": box["box"]}, other=1)
    assert bench.said("remade") == ["box"]
    assert again["out"] == read["out"]
    assert bench.files("actions").items() >= records.items()


def test_gc_that_spares_nothing_in_the_middle_of_an_action(bench: Bench) -> None:
    made, box, _ = bench.chain()
    times = 2

    def robbed(run: Run) -> None:
        nonlocal times
        run.put_bytes("first", b"put before gc comes")
        if times:
            times -= 1
            collect(bench.root / "store", Options(older_than=0, grace=0))
        run.put_bytes("out", run.tree("box").read("a") + run.blob("x"))

    inputs = {"box": box["box"], "x": made["out"]}
    found = bench.act("read", inputs, robbed)
    assert bench.said("remade", surprised=True) == ["make", "box"] * 2
    assert value(bench, found["out"]) == b"one !one "
    assert value(bench, found["first"]) == b"put before gc comes"


def test_what_nobody_made_cannot_be_made_again(bench: Bench) -> None:
    raw = bench.objects.put_bytes(b"the user's own")
    box = bench.act("box", {"x": raw})
    bench.lose(raw, box["box"])
    with pytest.raises(ClipsteerError) as error:
        bench.act("read", {"box": box["box"]})
    for part in (f"object {raw} (x of box) is not in the store", "no action is on record"):
        assert part in str(error.value)
    assert bench.said("remade") == []


def test_neither_an_object_nor_the_record_of_its_maker(bench: Bench) -> None:
    made, box, _ = bench.chain()
    bench.lose(made["out"], box["box"])
    ActionStore(bench.root / "store").forget(made["key"])
    with pytest.raises(ClipsteerError, match="no action is on record that made it"):
        bench.act("read", {"box": box["box"]}, other=1)
    # what the message asks for: the step that has lost its record is computed anew
    bench.act("make", text="one ")
    bench.act("read", {"box": box["box"]}, other=1)
    assert bench.said("remade") == ["box"]


def test_an_action_that_gives_other_bytes_each_time(bench: Bench) -> None:
    bench.script("make").write_text(
        'import itertools\n\nN = itertools.count()\n\n\ndef compute(run):\n    run.put_json("out", next(N))\n'
    )
    made = bench.act("make")
    bench.lose(made["out"])
    before = bench.files("actions")
    with pytest.raises(ClipsteerError) as error:
        bench.act("box", {"x": made["out"]})
    for part in (made["key"], "(make)", "other bytes for out", "not deterministic", "store rm"):
        assert part in str(error.value)
    assert bench.files("actions") == before
    assert not bench.objects.exists(made["out"])
    assert not bench.files("scratch")


def test_code_that_has_changed_since(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Python's cache takes an edit of the same size and second for none; a run's goes by content (test_bytecode)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = bench.act("make", text="one ")
    helped = bench.act("helped", {"x": made["out"]})
    bench.lose(helped["out"])
    for text, equal in (("return 2 * x", True), ("return 3 * x", False)):
        (bench.root / "toyhelp.py").write_text(f"def twice(x):\n    {text}\n")
        for name in ("toyhelp", "clipsteer_step_helped"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        if equal:  # another way to the same bytes
            bench.act("box", {"x": helped["out"]})
            assert bench.said("remade") == ["helped"]
            bench.lose(helped["out"])
        else:
            with pytest.raises(ClipsteerError) as error:
                bench.act("box", {"x": helped["out"]}, mark="other")
            for part in (helped["key"], "its code has changed since", "toyhelp"):
                assert part in str(error.value)
    assert not bench.objects.exists(helped["out"])


def test_the_record_whose_code_is_still_here_is_taken(bench: Bench) -> None:
    made = bench.act("make", text="one ")
    old = StepCode("old", bench.script("old"), [])
    old.script.write_text(STEPS["make"])
    other = bench.act("old", text="one ")
    assert made["out"] == other["out"]
    os.utime(bench.executor().actions.file(made["key"]), (1, 1))  # the other one was used last
    old.script.unlink()
    bench.lose(made["out"])
    bench.act("box", {"x": made["out"]})
    assert bench.said("remade") == ["make"]


def test_an_action_that_gives_back_its_input_made_nothing(bench: Bench) -> None:
    made = bench.act("make", text="one ")
    bench.script("same").write_text('def compute(run):\n    run.put_bytes("out", run.blob("x"))\n')
    given = bench.act("same", {"x": made["out"]})
    assert given["out"] == made["out"]
    os.utime(bench.executor().actions.file(made["key"]), (1, 1))
    bench.lose(made["out"])
    bench.act("box", {"x": made["out"]})
    assert bench.said("remade")[0] == "make"
    assert value(bench, made["out"]) == b"one "


def test_data_are_looked_for_where_they_were_then(bench: Bench) -> None:
    bench.script("make").write_text(
        "def compute(run):\n    root = run.runtime.roots[run.runtime.name]\n"
        '    run.put_bytes("out", (root / "file").read_bytes())\n'
    )
    (bench.root / "data").mkdir()
    (bench.root / "data/file").write_text("mine")
    there = bench.executor(name="faces", roots={"faces": bench.root / "data"})
    made = bench.act("make", executor=there)
    bench.lose(made["out"])
    bench.act("box", {"x": made["out"]}, executor=bench.executor(name="topk", roots={}))
    assert bench.said("remade") == ["make"]
    # where the configuration says another place, that is the place
    (bench.root / "data").rename(bench.root / "moved")
    bench.lose(made["out"])
    moved = bench.executor(name="topk", roots={"faces": bench.root / "moved"})
    bench.act("box", {"x": made["out"]}, executor=moved, mark="other")
    assert bench.said("remade") == ["make"]


def test_two_at_once_share_what_is_lost(bench: Bench) -> None:
    """Each of four lost objects is made once, and nobody waits while there is one to make."""
    bench.script("make").write_text(
        "MEET = None\n\n\ndef compute(run):\n    if MEET:\n        MEET.wait(60)\n"
        '    run.put_bytes("out", run.recipe["text"].encode())\n'
    )
    made = {str(i): bench.act("make", text=str(i))["out"] for i in range(4)}
    bench.said("computed")
    bench.lose(*made.values())
    # nobody gets on unless both are making something, and both ask for the first one together
    sys.modules["clipsteer_step_make"].MEET = threading.Barrier(2)  # type: ignore[attr-defined]
    first = threading.Barrier(2)
    done: list[int] = []

    def join(run: Run) -> None:
        run.put_bytes("out", b"".join(run.blob(str(i)) for i in range(4)))

    def work(number: int) -> None:
        executor = bench.executor()
        maker, waits = executor.lost.maker, [first]

        def together(digest: str, above: list[str]) -> Record:
            while waits:
                waits.pop().wait(60)
            return maker(digest, above)

        executor.lost.maker = together  # type: ignore[method-assign]
        bench.act("read", made, join, executor, number=number)
        done.append(executor.counts.computed - 1)

    threads = [threading.Thread(target=work, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [2, 2]
    assert bench.said("remade") == ["make"] * 4
    assert not list((bench.root / "store/scratch").iterdir())


def test_an_environment_that_lacks_a_package(bench: Bench) -> None:
    made = bench.act("make", text="one ")
    text = "def compute(run):\n    import not_installed_here\n"
    bench.script("make").write_text(text)
    sys.modules.pop("clipsteer_step_make")
    bench.lose(made["out"])
    with pytest.raises(
        ClipsteerError, match=r"make: .* lacks not_installed_here to make them again"
    ):
        bench.act("box", {"x": made["out"]})


def test_what_somebody_else_is_making_is_waited_for(bench: Bench) -> None:
    made = bench.act("make", text="one ")
    bench.lose(made["out"])
    lock = try_lock(action_folder(bench.objects.root, made["key"]).with_suffix(".lock"))
    assert lock
    thread = threading.Thread(target=bench.act, args=["box", {"x": made["out"]}])
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    bench.objects.put_bytes(b"one ")
    lock.close()
    thread.join()
    assert bench.said("remade") == []


def test_a_damaged_object_of_no_record(bench: Bench) -> None:
    raw = bench.objects.put_bytes(b"the user's own")
    bench.damage(raw)
    with pytest.raises(DamagedObjectError):
        bench.objects.get_bytes(raw)
    with pytest.raises(ClipsteerError, match="no action is on record"):
        bench.act("box", {"x": raw})
