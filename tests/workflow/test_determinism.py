"""The same bytes again: from scratch, from other shards, on other numbers of threads."""

from __future__ import annotations

import shutil
from pathlib import Path

from clipsteer.store.actions import ActionStore
from tests.workflow.runs import WorkingCopy, merged, nested

# A training large enough that torch uses two threads where it is given two.
LARGE = nested(
    "dictionaries.topk.training", {"expansion": 32, "batch_size": 256, "epochs": 4, "k": 8}
)
TOPK = "dictionaries/topk/layers_00-02.json"
ACTIVATIONS = "general/activations/train"


def objects(store: Path) -> set[str]:
    return {path.name for path in (store / "objects").rglob("*") if path.is_file()}


def test_two_runs_from_scratch(finished: WorkingCopy, dropping: WorkingCopy) -> None:
    """Another store, other numbers of threads, another order: equal pointers and files."""
    first, second = finished.pointers(), dropping.pointers()
    assert {"celeba/table.json", "model/model.json", TOPK} <= set(first)
    assert {name: second[name] for name in first} == first
    assert dropping.exported() == finished.exported()
    # not only what the pointers name: every blob of the second store is in the first
    assert objects(dropping.store)
    assert objects(dropping.store) <= objects(finished.store)


def test_jobs_without_a_warm_worker(twin: WorkingCopy) -> None:
    """One of each kind of computation is done anew in its job's own process, and comes to the same bytes."""
    actions, before = ActionStore(twin.store), twin.pointers()
    records = [(key, actions.get(key) or {}) for key in list(actions.keys())]
    for step in ("pretrain_clip", "extract_activations", "train_dictionary", "ablate_features"):
        actions.forget(min(key for key, record in records if record["step"] == step))
    shutil.rmtree(twin.folder / "artifacts")
    alone = nested("runtime.warm_worker", False)
    assert twin.run(config=alone).ok().counts == (4, len(records) - 4)
    assert twin.pointers() == before


def test_shards_threads_and_parts_do_not_reach_the_dictionary(twin: WorkingCopy) -> None:
    """Shards of 40 (as the shared run), of 14 (cuts batches of 16) and of 64; one thread and two."""
    target = f"artifacts/refs/{TOPK}"
    assert twin.run(target, config=LARGE).ok().counts == (2, 0)
    dictionary, shards = twin.members(TOPK), twin.members(f"{ACTIVATIONS}/part_0.json")
    assert len(shards) == 3

    small = {
        "activations": {"images_per_shard": 14},
        "jobs": {"extraction_parts": 2},
        "runtime": {"threads": 2},
    }
    outcome = twin.run(target, config=merged(LARGE, small)).ok()
    assert outcome.counts == (1 + 8 + 2, 0)
    assert len(twin.members(f"{ACTIVATIONS}/part_1.json")) == 4
    assert twin.members(TOPK) == dictionary

    large = nested("activations.images_per_shard", 64)
    outcome = twin.run(target, config=merged(LARGE, large)).ok()
    assert outcome.counts == (1 + 2 + 2, 0)
    assert twin.members(f"{ACTIVATIONS}/part_0.json") != shards
    assert twin.members(TOPK) == dictionary
