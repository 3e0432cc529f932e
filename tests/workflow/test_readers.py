"""What may not be dropped before it was read."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.workflow.inputs import Inputs
from clipsteer.workflow.readers import DROPPED, Readers
from tests.workflow.outlines import outline, wildcards

REFS = "artifacts/refs"
# What each kind of pointer reads of its own data set's activations.
READS = {
    "evaluation": {"validation"},
    "spliced": {"validation"},
    "statistics": {"train"},
    "selection": {"validation"},
    "ablation": {"test"},
    "control": {"train", "validation", "test"},
    "baselines": {"validation", "test"},
    "top_images": {"validation"},
    "steerability": {"validation"},
}
# Of those, what a result of a table needs, of its trained dictionaries and of the neuron basis.
OF_TRAINED = {
    "table": {"evaluation", "statistics", "selection", "ablation"},
    "dictionaries": {"evaluation", "spliced"},
    "negative_control": {"control"},
    "baselines": {"statistics", "baselines"},
    "features": {"statistics", "selection", "top_images"},
    "steerability": {"steerability"},
}
OF_NEURONS = {**OF_TRAINED, "negative_control": set(), "baselines": set()}

BLOCKS = ("layers_00-02", "layers_05-05")


@given(
    names=st.lists(st.sampled_from(["topk", "vanilla", "waterbirds_topk", "neurons"]), unique=True),
    result=st.sampled_from(sorted(OF_TRAINED)),
    augment=st.booleans(),
)
def test_a_split_goes_only_after_all_that_read_it(
    names: list[str], result: str, *, augment: bool
) -> None:
    made = outline(
        {
            "activations": {"layers": [0, 2, 5], "keep": False},
            "jobs": {"layers_per_job": 2},
            "tables": {"waterbirds": names},
            "datasets": {"waterbirds": {"augment": int(augment)}},
        }
    )
    found = Readers(made)
    expected: dict[tuple[str, str], set[str]] = {}
    for name, block in product(names, BLOCKS):
        trained_on = made.dictionaries[name].get("trained_on")
        for kind in (OF_TRAINED if trained_on else OF_NEURONS)[result]:
            for split in READS[kind]:
                pointer = f"{REFS}/waterbirds/{name}/{block}/{kind}.json"
                expected.setdefault(("waterbirds", split), set()).add(pointer)
        if result != "negative_control" and trained_on:
            augmented = ["train_augmented"] if made.datasets[trained_on]["augment"] else []
            for split in ["train", *augmented]:
                pointer = f"{REFS}/dictionaries/{name}/{block}.json"
                expected.setdefault((trained_on, split), set()).add(pointer)
    if result == "steerability" and names:
        for block in BLOCKS:
            pointer = f"{REFS}/waterbirds/directions/resid_post/{block}/steerability.json"
            expected["waterbirds", "validation"].add(pointer)
    if result == "baselines" and names:
        for block in BLOCKS:
            place = f"{REFS}/waterbirds/directions/resid_post/{block}"
            expected.setdefault(("waterbirds", "train"), set()).add(f"{place}/directions.json")
            for split in ("validation", "test"):
                expected.setdefault(("waterbirds", split), set()).add(f"{place}/baselines.json")
        for split in ("train", "validation", "test"):
            expected["waterbirds", split].add(f"{REFS}/waterbirds/readout.json")
    assert {
        split: set(files) for split, files in found.of("waterbirds", result).items()
    } == expected
    markers = found.dropped(result)(wildcards(dataset="waterbirds"))
    assert set(markers) == {
        DROPPED.format(table="waterbirds", result=result, dataset=dataset, split=split)
        for dataset, split in expected
    }
    for dataset, split in expected:
        at = wildcards(table="waterbirds", result=result, dataset=dataset, split=split)
        assert set(found.before_drop(at)) == expected[dataset, split]


@pytest.mark.parametrize(
    ("result", "evaluated"),
    [
        ("attacked_table", ["signs_tuning", "signs_ends", "photographs"]),
        ("attacked_examples", ["signs_ends", "photographs"]),
        ("attacked_top_images", []),
    ],
)
def test_activations_of_attacked_images_go_after_all_that_read_them(
    result: str, evaluated: list[str]
) -> None:
    theirs = {"architecture": "imported", "hook_point": "resid_post", "source": "hub:who/{layer}"}
    names, benchmarks = ["signs_topk", "theirs", "neurons"], ["signs_ends", "photographs"]
    made = outline(
        {
            "activations": {"keep": False},
            "datasets": {"photographs": {"layout": "scam", "root": "data", "model": "signs"}},
            "dictionaries": {"theirs": theirs},
            "typographic": {"benchmarks": benchmarks, "dictionaries": names},
        }
    )
    found, blocks = Readers(made), ("layers_00-02", "layers_03-03")
    places = [f"{name}/{block}" for name in names for block in blocks]
    learnt = ("prefix", "projection") if evaluated else ("prefix",)
    trained = {f"{REFS}/signs_tuning/{name}.json" for name in learnt}
    tuning = {f"{REFS}/signs_tuning/{place}/tuning.json" for place in places}
    check = {f"{REFS}/signs_tuning/theirs/{block}/check.json" for block in blocks}
    expected = {
        ("signs", "train"): {f"{REFS}/dictionaries/signs_topk/{block}.json" for block in blocks},
        ("signs_tuning", "train"): trained | tuning,
        ("signs_tuning", "train_attacked"): trained | tuning,
        ("signs_tuning", "validation"): tuning | check,
        ("signs_tuning", "validation_attacked"): tuning,
    }
    if not evaluated:
        shown = {f"{REFS}/signs_tuning/{place}/top_attacked.json" for place in places}
        expected["signs_tuning", "validation_attacked"] |= shown
    for dataset in evaluated:
        for view in ("test", "test_attacked")[: 1 if dataset == "photographs" else 2]:
            attacked = {f"{REFS}/{dataset}/{place}/attacked.json" for place in places}
            expected[dataset, view] = attacked
    assert {
        split: set(files) for split, files in found.of("typographic", result).items()
    } == expected
    assert set(found.dropped(result)(wildcards())) == {
        DROPPED.format(table="typographic", result=result, dataset=dataset, split=split)
        for dataset, split in expected
    }
    at = wildcards(table="typographic", result=result, dataset="signs", split="train")
    assert set(found.before_drop(at)) == expected["signs", "train"]
    switched_off = Readers(outline({"typographic": {"benchmarks": []}}))
    assert switched_off.of("typographic", result) == {}


def test_kept_activations_have_no_markers() -> None:
    kept = {"activations": {"layers": [0], "keep": True}, "tables": {"celeba": ["topk"]}}
    assert Readers(outline(kept)).dropped("table")(wildcards(dataset="celeba")) == []


def job(rule: str, output: str, *paths: str) -> Any:
    return SimpleNamespace(rule=SimpleNamespace(name=rule), input=paths, output=[output])


@pytest.mark.parametrize("parts", [1, 3])
def test_a_run_waits_for_the_jobs_that_it_has(parts: int) -> None:
    made = outline(
        {
            "activations": {"layers": [0, 2, 5]},
            "jobs": {"layers_per_job": 2, "extraction_parts": parts},
            "tables": {"celeba": ["celeba_topk"], "waterbirds": []},
            "typographic": {"benchmarks": []},
        }
    )
    found = Inputs(made)
    train, test = found.parts("celeba", "train"), found.parts("celeba", "test")
    other = found.parts("elsewhere", "train")  # of no table: asked for by itself
    jobs = [
        job("feature_statistics", "statistics.json", "manifest.json", *train),
        job("shuffle_control", "control.json", *train, *test),
        job("train_dictionary", "dictionary.json", *other),
        job("drop_activations", "dropped.json", *train, *test),
        job("list_shards", "shards.json", "manifest.json"),
    ]
    assert Readers(made).among(jobs) == {
        "celeba/train": ["statistics.json", "control.json"],
        "celeba/validation": [],
        "celeba/test": ["control.json"],
        "elsewhere/train": ["dictionary.json"],
    }
