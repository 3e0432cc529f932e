"""What is foreseen of toy steps is what then happens, and foreseeing changes nothing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsteer.lineage.forecast import forecast
from clipsteer.lineage.foreseen import DagJob
from clipsteer.lineage.reasons import Reason
from clipsteer.store.actions import ActionStore
from clipsteer.store.objects import DamagedObjectError, ObjectStore
from clipsteer.store.peek import PeekObjects
from clipsteer.store.pointers import Member, Pointer, write_pointer
from tests.lineage.toys import Toys, verdicts


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toys]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIPSTEER_RUN", raising=False)
    yield Toys(tmp_path)
    for name in [name for name in sys.modules if name.startswith("clipsteer_step_")]:
        del sys.modules[name]


CHAIN = ("number all", "half h/a", "half h/b", "sum all")


def chain(*words: str) -> dict[str, str]:
    return dict(zip(CHAIN, words, strict=True))


def test_nothing_on_record(toys: Toys) -> None:
    found = toys.foresee(toys.chain())
    assert not toys.store.exists()
    assert verdicts(found) == dict.fromkeys(CHAIN, "computed")
    assert found.counts()["computed"] == (4, 4)
    number, half, total = (job.actions[0] for job in found.jobs)
    assert number.key
    assert not half.key
    assert half.waits == (number.key,)
    assert found.origins[number.key] == "number number"
    assert total.before is None
    toys.foresee_and_run(toys.chain())
    assert toys.value("sum") == 21
    assert number.key in toys.recorded()


def test_everything_on_record(toys: Toys) -> None:
    toys.run(toys.chain())
    assert verdicts(toys.foresee_and_run(toys.chain())) == dict.fromkeys(CHAIN, "restored")
    fresh = toys.foresee(toys.chain(runs=False))
    assert verdicts(fresh) == dict.fromkeys(CHAIN, "fresh")
    assert fresh.counts()["fresh"] == (4, 4)


def test_early_cutoff_is_left_open(toys: Toys) -> None:
    toys.run(toys.chain())
    for value, total in ((11, 21), (14, 29)):
        changed = toys.chain(number={"value": value})
        found = toys.foresee_and_run(changed)
        assert verdicts(found) == chain("computed", "pending", "pending", "pending")
        assert found.counts() == {
            "computed": (1, 4),
            "restored": (0, 3),
            "remade": (0, 0),
            "fresh": (0, 0),
        }
        assert toys.value("sum") == total


def test_reasons(toys: Toys) -> None:
    toys.run(toys.chain())
    found = toys.foresee(toys.chain(number={"value": 11}))
    number, half = found.jobs[0].actions[0], found.jobs[1].actions[0]
    assert number.reasons == (Reason("config", "value", 10, 11),)
    assert number.seconds is not None
    assert number.before in toys.recorded()
    assert [(r.kind, r.name) for r in half.reasons] == [("input", "number")]
    assert found.origin(half.reasons[0]) == "number number"
    toys.edit("sum", "sum(run", "10 * sum(run")
    found = toys.foresee_and_run(toys.chain())
    assert verdicts(found) == chain("restored", "restored", "restored", "computed")
    changed = [(r.kind, r.name) for r in found.jobs[2].actions[0].reasons]
    assert changed == [("module", "__main__.compute")]
    toys.edit("sum")
    found = toys.foresee_and_run(toys.chain())
    assert verdicts(found)["sum all"] == "restored"
    assert found.jobs[2].actions[0].reasons  # back to other code, for all that


def multiples(toys: Toys, *times: int, **config: dict[str, int]) -> list[DagJob]:
    return [
        toys.job("number", **config),
        toys.job("multiples", number=["number"], config={"times": list(times)}),
    ]


def test_what_lies_within_a_wider_result_is_restored(toys: Toys) -> None:
    toys.run(multiples(toys, 1, 2, 3))
    wide = toys.pointer("multiples").members["all"].outputs
    for times in ((2,), (1, 3)):
        found = toys.foresee_and_run(multiples(toys, *times))
        assert verdicts(found) == {"number all": "restored", "multiples all": "restored"}
        outputs = toys.pointer("multiples").members["all"].outputs
        assert outputs == {str(n): wide[str(n)] for n in times}
    # the narrower one is on record now, with what made it: lost objects of it can be made again
    toys.lose("multiples", output="3")
    record = ActionStore(toys.store).get(found.jobs[1].actions[0].key or "")
    assert record
    assert record["recipe"] == {"times": [1, 3]}
    assert record["run"]["within"] in toys.recorded()


def test_what_does_not_lie_within_one_is_computed(toys: Toys) -> None:
    toys.run(multiples(toys, 1, 2))
    computed = {"number all": "restored", "multiples all": "computed"}
    assert verdicts(toys.foresee_and_run(multiples(toys, 2, 3))) == computed
    # another input, other code, a wider one whose tree is lost
    other = multiples(toys, 1, config={"value": 7})
    assert verdicts(toys.foresee(other))["multiples all"] == "computed"
    toys.edit("multiples", "* times", "* (times + 0)")
    assert verdicts(toys.foresee_and_run(multiples(toys, 1))) == computed
    toys.edit("multiples")
    toys.run(multiples(toys, 1, 2))
    toys.lose("multiples", output="2")
    assert verdicts(toys.foresee_and_run(multiples(toys, 2))) == computed


def test_what_nothing_on_record_fits_is_computed(toys: Toys) -> None:
    toys.run(toys.chain())
    changed = toys.chain(number={"value": 11}, half={"members": {"h/a": 1, "h/b": 4}})
    found = toys.foresee_and_run(changed)
    assert verdicts(found) == chain("computed", "pending", "computed", "pending")
    assert found.jobs[1].gone == []
    fewer = toys.foresee_and_run(toys.chain(half={"members": {"h/a": 1}}))
    assert fewer.jobs[1].gone == ["h/b"]
    assert verdicts(fewer)["sum all"] == "computed"
    # an input less than any sum on record had that is not known yet
    toys.run(toys.chain())
    both = toys.foresee_and_run(toys.chain(number={"value": 7}, half={"members": {"h/b": 3}}))
    assert verdicts(both) == {
        "number all": "computed",
        "half h/b": "pending",
        "sum all": "computed",
    }


def test_what_is_known_of_a_pending_action_counts(toys: Toys) -> None:
    def jobs(one: int, two: int) -> list[DagJob]:
        return [
            toys.job("number", name="one", config={"value": one}),
            toys.job("number", name="two", config={"value": two}),
            toys.job("half", name="p", config={"members": {"p/a": 1}}, number=["one"]),
            toys.job("half", name="q", config={"members": {"q/a": 1}}, number=["two"]),
            toys.job("sum", values=["p", "q"]),
        ]

    toys.run(jobs(2, 4))
    toys.run(jobs(2, 8)[1:4:2])
    (total,) = toys.foresee(jobs(3, 4)).jobs[-1].actions
    assert total.verdict == "pending"
    found = toys.foresee_and_run(jobs(3, 8))
    assert verdicts(found)["half q/a"] == "restored"
    assert verdicts(found)["sum all"] == "computed"


def test_lost_objects_are_remade_where_they_are_read(toys: Toys) -> None:
    toys.run(toys.chain())
    toys.lose("number")
    toys.lose("half", "h/a")
    found = toys.foresee_and_run(toys.chain())
    assert found.remade == []  # restored actions read nothing
    found = toys.foresee_and_run(toys.chain(sum={"plus": 2}))
    assert verdicts(found)["sum all"] == "computed"
    assert [(r.label, r.certain) for r in found.remade] == [
        ("number number", True),
        ("half half h/a", True),
    ]
    assert found.remade[1].needed == "sum sum"
    assert found.counts()["remade"] == (2, 2)
    toys.lose("half", "h/b")
    found = toys.foresee_and_run(toys.chain(half={"members": {"h/a": 2, "h/b": 3}}))
    assert verdicts(found) == chain("restored", "computed", "restored", "pending")
    assert [(r.label, r.certain) for r in found.remade] == [("half half h/b", False)]


def test_a_tree_in_which_files_are_found_is_remade_where_it_is_lost(toys: Toys) -> None:
    def jobs(again: int, *, runs: bool = False) -> list[DagJob]:
        inputs = {"list": ["list"], "pack/world": ["pack"]}
        return [
            toys.job("pack", runs=runs),
            toys.job("list", runs=runs, pack=["pack"]),
            toys.job("find", config={"again": again}, **inputs),
        ]

    toys.run(jobs(1, runs=True))
    toys.lose("pack", output="pack")
    assert toys.foresee_and_run(jobs(1)).remade == []
    found = toys.foresee_and_run(jobs(2))
    assert [(remade.label, remade.certain) for remade in found.remade] == [("pack pack", True)]


def test_an_action_is_remade_once_and_for_whoever_needs_it_surely(toys: Toys) -> None:
    jobs = [
        toys.job("number", config={"value": 2}),
        toys.job("names", number=["number"]),
        toys.job("each", config={"parts": 1}, names=["names"]),
        toys.job("number", name="other"),
        toys.job("half", number=["other"]),
        toys.job("sum", values=["half", "each"]),
        toys.job("sum", name="again", values=["each"]),
    ]
    toys.run(jobs)
    for output in ("000", "001"):
        toys.lose("names", output=output)
    toys.lose("each", "n/000")
    jobs[3] = toys.job("number", name="other", config={"value": 11})
    found = toys.foresee(jobs)
    assert [(r.label, r.certain, r.needed) for r in found.remade] == [
        ("names names", False, "each each n/000"),
        ("each each n/000", False, "sum sum"),
    ]
    jobs[6] = toys.job("sum", name="again", config={"plus": 9}, values=["each"])
    found = toys.foresee_and_run(jobs)
    assert [(r.label, r.certain, r.needed) for r in found.remade] == [
        ("names names", True, "each each n/000"),
        ("each each n/000", True, "sum again"),
    ]
    for output in ("000", "001"):
        toys.lose("names", output=output)
    jobs[2] = toys.job("each", config={"parts": 1, "times": 4}, names=["names"])
    assert len(toys.foresee_and_run(jobs).remade) == 1


def test_an_exported_object_is_remade_though_its_action_is_restored(toys: Toys) -> None:
    jobs = toys.chain()[:1]
    jobs.append(toys.job("number", name="out", options="--export all/value=results/value"))
    toys.run(jobs)
    toys.lose("number")
    found = toys.foresee_and_run(jobs)
    assert [remade.needed for remade in found.remade] == ["number out"]
    assert (toys.root / "results/value").read_text() == "10"


def test_what_cannot_be_remade_is_a_fault(toys: Toys) -> None:
    toys.run(toys.chain())
    key = toys.foresee(toys.chain()).jobs[0].actions[0].key
    assert key
    toys.lose("number")
    assert ActionStore(toys.store).forget(key)
    changed = {"members": {"h/a": 5, "h/b": 6}}
    jobs = [toys.job("number", runs=False), *toys.chain(half=changed)[1:]]
    found = toys.foresee(jobs)
    assert len(found.faults) == 1
    assert "no action is on record that made it" in found.faults[0]
    with pytest.raises(SystemExit):
        toys.run(jobs)


def test_remaking_with_changed_code_is_said(toys: Toys) -> None:
    toys.run(toys.chain())
    toys.lose("number")
    toys.edit("number", 'run.recipe["value"])\n    run', '1 * run.recipe["value"])\n    run')
    jobs = [toys.job("number", runs=False), *toys.chain(half={"members": {"h/a": 5}})[1:]]
    found = toys.foresee_and_run(jobs)
    assert [(r.label, r.changed) for r in found.remade] == [("number number", True)]


def test_every_part_of_a_list_that_is_not_known_has_work(toys: Toys) -> None:
    def jobs(value: int, parts: int) -> list[DagJob]:
        cut = [
            toys.job("each", name=f"part{i}", config={"part": i, "parts": parts}, names=["names"])
            for i in range(parts)
        ]
        return [
            toys.job("number", config={"value": value}),
            toys.job("names", number=["number"]),
            *cut,
            toys.job("sum", values=[f"part{i}" for i in range(parts)]),
        ]

    def shares(value: int, parts: int, verdict: str) -> list[list[str]]:
        found = toys.foresee_and_run(jobs(value, parts))
        actions = [action for job in found.jobs[2:-1] for action in job.actions]
        assert {action.verdict for action in actions if action.more} <= {verdict}
        return [[action.member for action in job.actions] for job in found.jobs[2:-1]]

    assert shares(2, 5, "computed") == [["n/~more"]] * 5
    # two are known; the turn of the others comes after them, and may come to what is on record
    assert shares(3, 5, "pending") == [["n/000"], ["n/001"], *[["n/~more"]] * 3]
    # the list is known: some get nothing
    assert shares(3, 5, "none") == [["n/000"], ["n/001"], ["n/002"], [], []]


def test_how_many_is_not_known_before(toys: Toys) -> None:
    def jobs(value: int) -> list[DagJob]:
        parts = [
            toys.job("each", name=f"part{i}", config={"part": i}, names=["names"]) for i in (0, 1)
        ]
        return [
            toys.job("number", config={"value": value}),
            toys.job("names", number=["number"]),
            *parts,
            toys.job("sum", values=["part0", "part1"]),
        ]

    found = toys.foresee_and_run(jobs(3))
    assert found.more
    assert found.counts()["computed"] == (3, 3)
    # one name more: what was there before is foreseen, and that there may be more
    found = toys.foresee_and_run(jobs(4))
    assert found.more
    members = [action.member for job in found.jobs[2:4] for action in job.actions]
    assert members == ["n/000", "n/002", "n/001", "n/~more"]
    assert verdicts(found)["sum all"] == "pending"
    assert {r.name for r in found.jobs[4].actions[0].reasons} == {"n/000", "n/001", "n/002"}
    assert not toys.foresee_and_run(jobs(3)).more


def test_a_plan_that_asks_for_a_fact(toys: Toys) -> None:
    def jobs(value: int) -> list[DagJob]:
        return [
            toys.job("number", config={"value": value}),
            toys.job("fact", number=["number"]),
            toys.job("half", number=["fact"]),
        ]

    found = toys.foresee_and_run(jobs(3))
    (action,) = found.jobs[1].actions
    assert action.more
    assert action.waits == (found.jobs[0].actions[0].key,)
    assert found.jobs[2].actions[0].waits == ("fact fact",)
    assert found.counts()["computed"] == (3, 3)
    assert verdicts(toys.foresee_and_run(jobs(3)))["fact all"] == "restored"


def test_two_jobs_of_one_action(toys: Toys) -> None:
    jobs = [
        toys.job("number"),
        toys.job("number", name="again"),
        toys.job("half", config={"members": {"h/a": 1, "h/b": 1}}, number=["number"]),
    ]
    found = toys.foresee_and_run(jobs)
    assert [job.actions[0].verdict for job in found.jobs] == ["computed", "pending", "computed"]
    assert found.jobs[2].actions[1].verdict == "pending"
    assert toys.foresee(jobs).counts()["restored"] == (4, 4)
    other = [toys.job("number", runs=False), *jobs[2:]]
    other[1] = toys.job("half", config={"members": {"h/a": 7, "h/b": 7}}, number=["number"])
    assert [a.verdict for a in toys.foresee_and_run(other).jobs[1].actions] == [
        "computed",
        "restored",
    ]


def test_missing_pointers_are_restored_without_a_comparison(toys: Toys) -> None:
    toys.run(toys.chain())
    (toys.root / "refs/number.json").unlink()
    jobs = [toys.job("number", missing=True), *toys.chain(runs=False)[1:]]
    (action, *_), *_ = [job.actions for job in toys.foresee_and_run(jobs).jobs]
    assert (action.verdict, action.before) == ("restored", None)
    # the copy in roots/ says what was there
    (toys.root / "refs/number.json").unlink()
    jobs[0] = toys.job("number", missing=True, config={"value": 12})
    found = toys.foresee(jobs)
    assert found.jobs[0].actions[0].reasons == (Reason("config", "value", 10, 12),)
    (toys.root / "refs/half.json").unlink()
    jobs[1] = toys.job("half", missing=True, config={"members": {"h/a": 1}}, number=["number"])
    assert toys.foresee(jobs).jobs[1].gone == ["h/b"]


def test_in_a_new_clone_the_nearest_action_on_record_is_compared(toys: Toys) -> None:
    toys.run(toys.chain())
    toys.run(toys.chain(number={"value": 11}, half={"members": {"h/a": 2, "h/b": 3}}))
    for folder in ("refs", "store/roots"):
        shutil.rmtree(toys.root / folder)
    found = toys.foresee(toys.chain(half={"members": {"h/a": 5}}))
    half = found.jobs[1].actions[0]
    assert [(r.kind, r.name) for r in half.reasons] == [("config", "times")]
    assert found.jobs[1].gone == []


def test_a_marker_of_an_effect_is_no_action(toys: Toys) -> None:
    (toys.root / "refs").mkdir()
    marker = Pointer("half", {"all": Member(facts={"dropped": []})})
    write_pointer(toys.root / "refs/half.json", marker)
    effect = toys.chain(half={"members": {}})[:2]
    assert toys.foresee(effect).jobs[1].gone == []
    assert toys.foresee([toys.job("half", runs=False)]).counts()["fresh"] == (0, 0)


def state(root: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in root.rglob("*") if ".snakemake" not in path.parts)
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in files if p.is_file()}


def test_damage_is_seen_and_left_alone(toys: Toys) -> None:
    toys.run(toys.chain())
    keys = [job.actions[0].key for job in toys.foresee(toys.chain()).jobs]
    record = Path(ActionStore(toys.store).file(keys[0] or ""))
    os.chmod(record, 0o644)
    record.write_bytes(record.read_bytes()[:-9])
    pointer = toys.root / "refs/half.json"
    pointer.write_bytes(pointer.read_bytes()[:-9])
    jobs = [toys.job("number"), toys.job("half", runs=False, number=["number"])]
    jobs.append(toys.job("sum", config={"plus": 5}, values=["half"]))
    before = state(toys.root)
    found = toys.foresee(jobs)
    assert state(toys.root) == before
    assert verdicts(found) == chain("computed", "fresh", "fresh", "computed")
    assert not found.faults
    (copy,) = (toys.root / "store/roots").rglob("half.json")
    copy.write_bytes(b"")
    found = toys.foresee(jobs)
    assert any("half.json: found no sound pointer" in fault for fault in found.faults)
    copy.write_bytes(b"")


def test_peeking_leaves_damage_where_it_is(toys: Toys) -> None:
    toys.run(toys.chain())
    digest = toys.digest("number")
    path = ObjectStore(toys.store).path(digest)
    os.chmod(path, 0o644)
    path.write_bytes(b"other")
    with pytest.raises(DamagedObjectError):
        PeekObjects(toys.store).get_bytes(digest)
    assert path.read_bytes() == b"other"


def test_no_jobs() -> None:
    target = DagJob("all", {}, None, True)
    assert forecast([target], Path.cwd()).counts()["computed"] == (0, 0)
