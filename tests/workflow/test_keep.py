"""`activations.keep: false`: shards go when nobody reads them any more, and nothing is worse for it."""

from __future__ import annotations

import io
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipsteer.runner.code import loaded
from clipsteer.runner.progress import Log
from clipsteer.runner.run import Job, Runtime
from clipsteer.store.actions import ActionStore
from clipsteer.store.drop import DROPPED, expect
from clipsteer.store.durable import remove
from clipsteer.store.entries import is_pack
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, pointer_bytes
from clipsteer.store.roots import keep_pointer
from clipsteer.store.trees import StoreTree, put_tree
from clipsteer.store.usage import read_peak
from tests.workflow.runs import BASE, DROPPING, WorkingCopy, merged, nested

SHARDS = {
    "celeba": ["train/00000", "train/00001", "validation/00000", "test/00000"],
    "general": ["train/00000", "train/00001", "train/00002"],
    "waterbirds": [
        *("train/00000", "train/00001", "train_augmented/00000", "train_augmented/00001"),
        *("validation/00000", "test/00000"),
    ],
}
ACTIONS = 70


class Store:
    """What is in a store, by the records."""

    def __init__(self, root: Path) -> None:
        self.objects, self.actions = ObjectStore(root), ActionStore(root)

    def records(self, *steps: str) -> list[dict[str, Any]]:
        keys = list(self.actions.keys())
        found = [self.actions.get(key) for key in keys]
        return [r for r in found if r and (not steps or r["step"] in steps)]

    def record(self, step: str, name: str, member: str = "", **recipe: object) -> dict[str, Any]:
        """The one record of a step about a data set or dictionary; of a member, or with settings."""
        label = f"{step} {member}" if member else step
        found = [
            r
            for r in self.records(step)
            if (r["run"]["name"], r["run"]["label"]) == (name, label)
            and recipe.items() <= r["recipe"].items()
        ]
        assert len(found) == 1, (step, name, found)
        return found[0]

    def digests(self, record: dict[str, Any], output: str) -> list[str]:
        """The digest of an output; of a tree whose files are objects those of its files."""
        digest = record["outputs"][output]["digest"]
        if record["outputs"][output]["kind"] == "blob" or is_pack(self.objects, digest):
            return [digest]
        tree = StoreTree(self.objects, digest)
        return [tree.digest(path) for path in tree.paths()]

    def values(self) -> dict[str, str]:
        """The files of activation arrays that are here: digest -> data set and shard."""
        found = {}
        for record in self.records("extract_activations"):
            place = f"{record['run']['name']} {record['run']['label'].split(' ')[1]}"
            tree = StoreTree(self.objects, record["outputs"]["shard"]["digest"])
            for path in tree.paths():
                if not path.endswith("zarr.json") and self.objects.exists(tree.digest(path)):
                    found[tree.digest(path)] = place
        return found

    def lose(self, *digests: str) -> None:
        for digest in digests:
            assert self.objects.exists(digest)
            remove(str(self.objects.root / self.objects.relative(digest)))

    def size(self) -> int:
        return sum(self.objects.size(digest) for digest in self.objects.digests())


@pytest.fixture
def copy(dropping: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    """A copy of that working directory, and of its store."""
    return dropping.twin(tmp_path)


def without_markers(copy: WorkingCopy) -> dict[str, bytes]:
    return {name: data for name, data in copy.pointers().items() if "/dropped/" not in name}


def results(copy: WorkingCopy) -> dict[str, bytes]:
    return {name: (copy.folder / "results" / name).read_bytes() for name in copy.results()}


def remade(copy: WorkingCopy) -> Iterator[tuple[str, str, str]]:
    """(step, data set or dictionary, member) of each action that some job's log calls remade."""
    actions = ActionStore(copy.store)
    for path in sorted((copy.folder / "logs").rglob("*.log")):
        for line in path.read_text().splitlines():
            words = line.split(" ")
            if words[0] == "remade":
                run = (actions.get(words[-1]) or {})["run"]
                yield words[1], run["name"], words[2] if len(words) > 3 else ""


def shards(*datasets: str) -> list[tuple[str, str, str]]:
    """As `remade` has them."""
    return sorted(("extract_activations", d, shard) for d in datasets for shard in SHARDS[d])


def test_the_tables_are_the_same_and_the_shards_are_gone(
    finished: WorkingCopy, dropping: WorkingCopy
) -> None:
    assert results(dropping) == results(finished)
    assert without_markers(dropping) == without_markers(finished)
    assert len(dropping.pointers()) - len(finished.pointers()) == 8  # splits that tables read
    kept, left = Store(finished.store), Store(dropping.store)
    assert set(kept.values().values()) == {f"{d} {shard}" for _, d, shard in shards(*SHARDS)}
    assert left.values() == {}
    said = (dropping.folder.parent / "said").read_text()
    assert f"computed={ACTIONS} restored=0" in said
    assert list(remade(dropping)) == []
    # within the run: never were all of them there at once
    peak = read_peak(dropping.store)
    assert peak is not None
    assert max(left.size(), peak.bytes) < kept.size()
    assert dropping.leftovers() == []


def test_nothing_becomes_stale_by_it(dropping: WorkingCopy, copy: WorkingCopy) -> None:
    assert copy.run(config=DROPPING).ok().idle
    kept = copy.run().ok()  # tables no longer ask for the markers
    assert kept.counts[0] == 0
    for name in ("artifacts", "results", ".snakemake", "logs"):
        shutil.rmtree(copy.folder / name)
    assert copy.run(config=DROPPING).ok().counts == (0, ACTIONS)
    assert copy.pointers() == dropping.pointers()
    assert results(copy) == results(dropping)
    assert Store(copy.store).values() == {}


def test_one_key_of_one_dictionary_and_the_negative_control(copy: WorkingCopy) -> None:
    """What reads the shards anew has them made again, once, and they go when the last one is done."""
    before = without_markers(copy)
    change = merged(
        merged(DROPPING, nested("dictionaries.vanilla.training.l1", 0.5)),
        nested("steering.shuffles", 1),
    )
    targets = [f"results/waterbirds_{result}.csv" for result in ("table", "negative_control")]
    outcome = copy.run(*targets, config=change).ok()
    assert sorted(remade(copy)) == shards("waterbirds")
    # train, evaluate, statistics, select, ablate and control of two layers; two tables
    assert outcome.counts == (2 * 6 + 2 + len(SHARDS["waterbirds"]), 0)
    assert Store(copy.store).values() == {}
    assert copy.run(config=DROPPING).ok().counts[0] == 0
    assert {name: copy.pointers()[name] for name in before} == before


def test_one_lost_object_of_every_kind(dropping: WorkingCopy, copy: WorkingCopy) -> None:
    """In one run that needs each of them again."""
    store, choose, layer = Store(copy.store), random.Random(3).choice, "topk/layer_02"
    listing = store.record("list_shards", "celeba", split="test")
    store.lose(
        *(
            choose(store.digests(record, output))
            for record, output in (
                (store.record("paint_world", "celeba"), "world"),
                (store.record("build_manifest", "celeba"), "manifest"),
                (store.record("build_manifest", "celeba"), "labels_test"),
                (listing, "00000"),
                (store.record("pretrain_clip", ""), "model"),
                (store.record("build_head", "celeba"), "head"),
                (store.record("train_dictionary", "topk", layer), "dictionary"),
                (store.record("feature_statistics", "topk", layer), "statistics"),
                (store.record("select_features", "topk", layer), "selection"),
                (store.record("ablate_features", "vanilla", "vanilla/layer_00"), "ablation"),
                (store.record("make_table", "celeba"), "csv"),
            )
        ),
    )
    # what is computed again, as if its configuration had changed
    for record in (
        store.record("ablate_features", "topk", layer),
        store.record("make_table", "waterbirds"),
    ):
        store.actions.forget(record["key"])
    for name in ("artifacts", "results"):
        shutil.rmtree(copy.folder / name)
    outcome = copy.run(config=DROPPING).ok()
    again = [
        ("paint_world", "celeba", ""),
        ("build_manifest", "celeba", ""),
        ("list_shards", "celeba", ""),
        ("pretrain_clip", "", ""),
        ("build_head", "celeba", ""),
        ("train_dictionary", "topk", layer),
        ("feature_statistics", "topk", layer),
        ("select_features", "", ""),
        ("ablate_features", "", ""),
        ("make_table", "celeba", ""),
        ("extract_activations", "waterbirds", "test/00000"),
        *shards("celeba", "general"),
    ]
    # on so few images several dictionaries have the same selection and predictions: any may be taken
    found = [
        (step, "", "") if step in ("select_features", "ablate_features") else (step, *which)
        for step, *which in remade(copy)
    ]
    # a shard that is made again while another split's are dropped may go with them, and be made once more
    assert set(found) == set(again)
    twice = Counter(found) - Counter(again)
    assert {step for step, _, _ in twice} <= {"extract_activations"}
    assert outcome.counts == (2 + len(found), ACTIONS - 2)
    assert results(copy) == results(dropping)
    assert copy.pointers() == dropping.pointers()
    # only what a table had made again for itself is left: no drop comes after it
    assert set(Store(copy.store).values().values()) <= {"waterbirds test/00000"}
    assert copy.leftovers() == []


class Splits:
    """A working copy `mine` with made-up splits, and the script's own part on them."""

    def __init__(self, root: Path) -> None:
        self.root, self.objects, self.said = root, ObjectStore(root / "store"), io.StringIO()
        self.arrays: dict[str, dict[str, str]] = {}
        self.effect = loaded(BASE / "workflow_scripts/drop_activations.py").effect

    def add(self, name: str) -> None:
        """One shard of two arrays."""
        self.arrays[name] = {}
        for array in ("shard", "embedding", "resid_post"):
            folder = self.root / name / array
            (folder / "c").mkdir(parents=True)
            (folder / "c/0").write_text(name + array)
            (folder / "zarr.json").write_text("the same in all")
            self.arrays[name][array] = put_tree(self.objects, folder)

    def here(self, name: str) -> list[str]:
        """The arrays whose values are in the store; all metadata must be."""
        trees = {a: StoreTree(self.objects, digest) for a, digest in self.arrays[name].items()}
        assert all(self.objects.exists(tree.digest("zarr.json")) for tree in trees.values())
        return [a for a, tree in trees.items() if self.objects.exists(tree.digest("c/0"))]

    def drop(self, name: str) -> list[str]:
        """Run the script's effect for one split, and keep the marker; what is there afterwards."""
        outputs = {a: Output(digest, 9, "tree") for a, digest in self.arrays[name].items()}
        pointer = Pointer("extract_activations", {"train/00000": Member(outputs)})
        job = Job({}, {"activations": pointer}, Runtime(name=name))
        facts = self.effect(job, self.objects, Log(terminal=self.said))
        listed = sorted(self.arrays[name][array] for array in ("embedding", "resid_post"))
        assert facts == {DROPPED: {name: listed}}
        self.point(self.root / "mine", f"dropped/{name}", Member(facts=facts))
        return self.here(name)

    def point(self, copy: Path, name: str, member: Member) -> None:
        place = copy / f"artifacts/refs/{name}.json"
        keep_pointer(self.objects.root, copy, place, pointer_bytes(Pointer("x", {"x": member})))

    def make_again(self, name: str) -> None:
        for array in self.arrays[name]:
            put_tree(self.objects, self.root / name / array)


@pytest.fixture
def splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Splits:
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    found = Splits(tmp_path)
    found.add("faces/train")
    found.add("faces/test")
    return found


def test_readers_of_this_run_and_other_working_copies_are_spared(splits: Splits) -> None:
    everything, theirs = ["shard", "embedding", "resid_post"], splits.root / "theirs"
    expect({"faces/train": ["artifacts/refs/control.json"]})
    assert splits.drop("faces/train") == everything
    assert "still reads it for artifacts/refs/control.json" in splits.said.getvalue()
    expect({"faces/train": []})
    kept = Output(splits.arrays["faces/train"]["embedding"], 9, "tree")
    splits.point(theirs, "part", Member({"x": kept}))
    assert splits.drop("faces/train") == ["shard", "embedding"]
    assert f"what {theirs} keeps stays" in splits.said.getvalue()
    assert splits.here("faces/test") == everything
    splits.point(theirs, "marker", Member(facts={DROPPED: {"their/train": [kept.digest]}}))
    assert splits.drop("faces/train") == ["shard"]


def test_what_was_made_again_goes_with_the_next_drop(splits: Splits) -> None:
    expect({"faces/train": [], "faces/test": []})
    assert splits.drop("faces/train") == ["shard"]
    splits.make_again("faces/train")  # for a lost dictionary, say
    assert len(splits.here("faces/train")) == 3
    splits.point(splits.root / "mine", "old", Member(facts={DROPPED: {"faces/test": []}}))
    assert splits.drop("faces/test") == ["shard"]
    assert splits.here("faces/train") == ["shard"]
    # but not what this run is still to read, nor what it knows nothing of
    for known in ({"faces/train": ["artifacts/refs/x.json"]}, {}):
        splits.make_again("faces/train")
        expect({"faces/test": [], **known})
        splits.drop("faces/test")
        assert len(splits.here("faces/train")) == 3
