from __future__ import annotations

from typing import Any

import pytest

from clipsteer.cli.config_keys import config_key
from clipsteer.cli.words import (
    config_words,
    duration,
    fold,
    ranges,
    raw_words,
    reason_words,
    value_words,
)
from clipsteer.lineage.reasons import ABSENT, Reason
from clipsteer.runner.scan import FORMAT as TOKEN_FORMAT
from clipsteer.store.digest import digest_bytes

DIGEST = digest_bytes(b"1")
TOKEN = {"digest": DIGEST, "files": 2, "format": TOKEN_FORMAT, "names": 9, "watch": "labels"}


def test_labels_that_differ_in_their_number_are_one() -> None:
    labels = [
        "train topk/layer_00",
        "train topk/layer_02",
        "train topk/layer_01",
        "train topk/layer_10",
        "train vanilla/layer_00",
        "extract celeba train/00000",
        "extract celeba train/00001",
        "paint birds2",  # a name's own number
        "train topk/layer_00",
    ]
    assert fold(labels) == [
        "train topk: layers 00-02, 10",
        "train vanilla: layer 00",
        "extract celeba train: shards 00000-00001",
        "paint birds2",
    ]


def test_ranges_are_by_number() -> None:
    assert ranges("shard", ["9", "10", "100", "11", "9"]) == "shards 9-11, 100"
    assert ranges("layer", ["03", "03"]) == "layer 03"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (9.96, "10.0 s"),
        (42.4, "42 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"k": 16, "l1": None, "on": True}, "{k 16, l1 null, on true}"),
        ([0, 1], "[0, 1]"),
        ([], "[]"),
        ([{"name": "topk", "k": 16}, {"name": "vanilla"}], "[topk, vanilla]"),
        ([DIGEST, DIGEST], "2 files"),
        ("a\n  b", "a b"),
        ("x" * 70, "x" * 57 + "..."),
    ],
)
def test_values(value: Any, words: str) -> None:
    assert value_words(value) == words


def test_config_goes_by_section() -> None:
    recipe = {"training": {"k": 16}, "architecture": "topk", "seed": 0, "layer": 3}
    recipe["token"] = TOKEN
    record = {"step": "train_dictionary", "recipe": recipe}
    assert config_words(record, "t") == (
        "dictionaries.t: training {k 16}, architecture topk; activations: layers 3; seed 0"
    )
    assert "layers" not in config_words(record, "t", without=("layer",))


def test_raw_files_in_words() -> None:
    found = {"folder": "/data/c", "key": DIGEST, "name": "celeba", "token": TOKEN}
    text = raw_words(found)
    assert text.startswith("celeba: 2 files and the names of 9 more in /data/c (label files")
    assert raw_words({**found, "folder": None}).startswith(
        "celeba: 2 files and the names of 9 more ("
    )


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason("config", "training.k", 16, 8), "dictionaries.t.training.k: 16 -> 8"),
        (
            Reason("module", "__main__", ABSENT, DIGEST),
            f"code of workflow_scripts/x.py: (absent) -> {DIGEST[7:19]}",
        ),
        (
            Reason("module", "__main__.compute", "1f" * 16, ABSENT),
            "code of workflow_scripts/x.py, compute: 1f1f1f1f1f1f -> (absent)",
        ),
        (Reason("module", "a.b", DIGEST, ABSENT), f"code of a.b: {DIGEST[7:19]} -> (absent)"),
        (Reason("package", "torch", "torch 1", "torch 2"), "package torch: torch 1 -> torch 2"),
        (Reason("python", "", "3.11", "3.12"), "Python: 3.11 -> 3.12"),
        (Reason("semantics", "store", 1, 2), "the store's semantics: 1 -> 2"),
        (Reason("input", "x/y", DIGEST, ABSENT), f"input x/y: {DIGEST[7:19]} -> (absent)"),
        (
            Reason("input", "token", ABSENT, TOKEN),
            f"files of t: (absent) -> 11 files ({DIGEST[7:19]})",
        ),
    ],
)
def test_reasons_in_words(reason: Reason, words: str) -> None:
    assert reason_words(reason, "train_dictionary", "t", "workflow_scripts/x.py") == words


def test_a_place_without_a_config_key_keeps_its_name() -> None:
    reason = Reason("config", "paper", [DIGEST], [])
    assert reason_words(reason, "make_table", "celeba") == "paper (of make_table): 1 file -> []"


@pytest.mark.parametrize(
    ("step", "path", "key"),
    [
        ("build_manifest", "options.target", "datasets.n.options.target"),
        ("build_manifest", "source", "datasets.n.root"),
        ("build_manifest", "token.watch", "raw.watch"),
        ("import_clip", "hub.source", "model.source"),
        ("import_clip", "hub.revision", "model.revision"),
        ("import_dictionary", "release.tokens", "dictionaries.n.tokens"),
        ("import_dictionary", "release.model", "model.source"),
        ("import_dictionary", "token", "dictionaries.n.source"),
        ("check_dictionary", "stops", "dictionaries.n.check"),
        ("extract_activations", "model_dtype", "model.dtype"),
        ("extract_activations", "crop", "model.crop"),
        ("extract_activations", "layers", "activations.layers"),
        ("list_shards", "augment", "datasets.n.augment"),
        ("list_shards", "split", ""),
        ("train_dictionary", "training.l1", "dictionaries.n.training.l1"),
        ("select_features", "thresholds.low", "steering.thresholds.low"),
        ("ablate_features", "seed", "seed"),
        ("make_table", "steering.aggregate", "steering.aggregate"),
        ("make_table", "dictionaries", "tables.n"),
        ("make_table", "dictionaries.topk.k", "dictionaries.topk.training.k"),
        ("make_table", "dictionaries.topk.trained_on", "dictionaries.topk.trained_on"),
        ("make_table", "dictionaries.topk.painted", ""),
        ("control_table", "source", ""),
        ("a step of somebody's", "anything", ""),
    ],
)
def test_config_keys(step: str, path: str, key: str) -> None:
    assert config_key(step, "n", path) == key


def test_the_key_of_one_of_several_models_is_of_its_own_section() -> None:
    assert config_key("import_clip", "model", "hub.source") == "model.source"
    assert config_key("import_clip", "model-large", "hub.source") == "models.large.source"
    assert config_key("import_clip", "model-large", "token") == "models.large.source"


def test_the_key_of_a_step_on_all_tables_names_none_of_them() -> None:
    assert config_key("best_per_layer", "", "datasets") == "tables"
    reason = Reason("config", "datasets", ["celeba", "birds"], ["celeba"])
    said = reason_words(reason, "best_per_layer", "")
    assert said.startswith("tables: ")
