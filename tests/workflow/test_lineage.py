"""Lineages of real runs: nothing is missing, nothing is invented, and config keys are the config's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.cli.config_keys import config_key
from clipsteer.cli.difference import lines
from clipsteer.cli.lineage_tree import places
from clipsteer.lineage.compare import compare
from clipsteer.lineage.graph import Lineage, Node, lineage
from clipsteer.lineage.listing import Names
from clipsteer.lineage.targets import resolve
from clipsteer.store.actions import ActionStore
from tests.workflow.runs import BASE, REFS, TINY, WorkingCopy, merged

TABLES = ("celeba", "waterbirds")
Lineages = Callable[[str | Path], Lineage]
Own = Callable[[WorkingCopy], Lineages]
_COMPUTED = re.compile(r"^computed .* (blake3:[0-9a-f]{64})$", re.M)


def computed(copy: WorkingCopy) -> set[str]:
    """Keys of the actions that the runs of a working copy computed, as its logs say."""
    logs = (copy.folder / "logs").rglob("*.log")
    return {key for log in logs for key in _COMPUTED.findall(log.read_text())}


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """Lineages of a working copy's results from the records of its own run: others share its store."""

    def lineages(copy: WorkingCopy) -> Lineages:
        theirs, ours = ActionStore(copy.store), ActionStore(tmp_path / "records")
        for key in computed(copy):
            Path(ours.file(key)).parent.mkdir(exist_ok=True)
            shutil.copy2(theirs.file(key), ours.file(key))
        return lambda name: lineage_of(copy, name, ours.root)

    return lineages


def lineage_of(copy: WorkingCopy, name: str | Path, store: Path) -> Lineage:
    names = Names(store)
    return lineage(resolve(str(copy.folder / name), names), names.index)


def leaves(found: Lineage) -> list[Node]:
    return [node for node in found.nodes.values() if not node.inputs]


def test_every_action_of_a_run_is_in_the_lineage_of_its_tables(
    finished: WorkingCopy, own: Own
) -> None:
    found = [own(finished)(f"results/{name}_table.csv") for name in TABLES]
    assert set().union(*(one.nodes for one in found)) == computed(finished)
    for one in found:
        assert one.unknown() == []
        shown = [node.key for place in places(one) for node in place.nodes]
        assert sorted(shown) == sorted(one.nodes)  # each of them once


def test_commands_find_the_store_that_an_overlay_named(finished: WorkingCopy) -> None:
    for words in ("why results/celeba_table.csv", "store ls --step make_table"):
        done = subprocess.run(
            [sys.executable, "-m", "clipsteer", *words.split()],
            cwd=finished.folder,
            env={**os.environ, "PYTHONPATH": str(BASE)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "make_table" in done.stdout


def test_each_leaf_is_a_painters_recipe(finished: WorkingCopy, own: Own) -> None:
    for name in TABLES:
        found = own(finished)(f"results/{name}_table.csv")
        assert found.raw() == []
        assert {node.record["step"] for node in leaves(found)} == {"paint_world"}
        assert {node.record["recipe"]["world"] for node in leaves(found)} == {
            {"celeba": "faces", "waterbirds": "birds"}[name],
            "general",
            "web",
        }


def test_all_exports_and_the_pointer_of_a_table_have_one_lineage(
    finished: WorkingCopy, own: Own
) -> None:
    of = own(finished)
    names = [f"results/{name}" for name in finished.results() if name.startswith("celeba_")]
    assert len(names) > 3
    pointer = of(REFS / "celeba/table.json")
    for name in names:
        assert list(of(name).nodes) == list(pointer.nodes)


def test_users_own_files_are_the_leaves_of_a_real_run(real: WorkingCopy, own: Own) -> None:
    found = own(real)("results/celeba_table.csv")
    assert {node.record["step"] for node in leaves(found)} == {"build_manifest", "import_clip"}
    place = real.folder.parent
    for raw in found.raw():
        token = json.loads((real.folder / REFS / f"raw/{raw['name']}.json").read_text())
        assert raw["token"] == token
    assert {raw["name"]: raw["folder"] for raw in found.raw()} == {
        "celeba": str(place / "celeba"),
        "model": str(place / "clip"),
    }
    assert found.unknown() == []


def test_the_difference_of_two_runs_is_the_key_that_was_changed(twin: WorkingCopy) -> None:
    before = lineage_of(twin, "results/celeba_table.csv", twin.store)
    twin.run("results/celeba_table.csv", config={"steering": {"random_seeds": 3}}).ok()
    found = compare(before, lineage_of(twin, "results/celeba_table.csv", twin.store))
    _, change, where, last = lines(found, full=False)
    assert change.strip() == "steering.random_seeds: 2 -> 3"
    assert where.split("; ") == [
        "      make_table celeba",
        "ablate_features neurons: layers 00, 02",
        "ablate_features topk: layers 00, 02",
    ]
    assert "0 merely follow" in last


# ---- config keys

CONFIG = merged(
    yaml.safe_load((BASE / "config.yaml").read_text()), yaml.safe_load(TINY.read_text())
)
# What a step is given is derived from the key's value, not equal to it.
DERIVED = {
    "activations.hook_points",  # and resid_post
    "datasets.celeba.root",
    "datasets.general.root",
    "datasets.waterbirds.root",
    "datasets.celeba.augment",  # only for the augmented copies
    "datasets.general.augment",
    "datasets.waterbirds.augment",
}
ABSENT_KEYS = {"class_names": [], "options": {}}  # may be left out of the config


def recipe_places(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of all that is no mapping; named mappings in lists by their names."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = {item["name"]: {k: v for k, v in item.items() if k != "name"} for item in value}
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from recipe_places(item, f"{path}.{key}" if path else key)
    else:
        yield path, value


def configured(key: str) -> Any:
    value: Any = CONFIG
    for part in key.split("."):
        if part not in value:
            return ABSENT_KEYS.get(part)
        value = value[part]
    return value


def test_config_keys_hold_what_recipes_say(finished: WorkingCopy, own: Own) -> None:
    compared = set()
    for name in TABLES:
        for node in own(finished)(f"results/{name}_table.csv").nodes.values():
            step = str(node.record["step"])
            for path, value in recipe_places(node.record["recipe"]):
                key = config_key(step, node.name, path)
                if not key or key in DERIVED:
                    continue
                expected = configured(key)
                if path == "layer":
                    assert value in expected
                elif (step, path) != ("extract_activations", "seed"):
                    assert value == expected, f"{node.label}: {path} is not {key}"
                compared.add((step, path))
    assert len(compared) > 80
    assert {step for step, _ in compared} == {
        *("paint_world", "build_manifest", "pretrain_clip", "build_head", "list_shards"),
        *("extract_activations", "train_dictionary", "evaluate_dictionary"),
        *("feature_statistics", "select_features", "ablate_features", "make_table"),
    }
