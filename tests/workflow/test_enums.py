"""Every word that the schema allows can be asked for.

A dry run with tables builds all recipes, requests and commands. A few rows hold all words: row i has the
i-th word of each key, as far as there are so many.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.config.check import validate
from clipsteer.data.forms import PRINTED
from tests.data.small_trees import write
from tests.workflow.real_trees import photo
from tests.workflow.runs import BASE, TINY, WorkingCopy, merged, nested

SCHEMA = yaml.safe_load((BASE / "schemas/config.schema.yaml").read_text())
TABLES = ("celeba", "waterbirds", "mine")


def leaves(part: dict[str, Any], value: Any, key: str = "") -> Iterator[tuple[str, list[Any], Any]]:
    """(key, its words, its value) of whatever in the config must be one of some words.

    `value`: of the config; None goes through the whole schema, with <name> for names.
    """
    while "$ref" in part:
        part = SCHEMA["$defs"][part["$ref"].rpartition("/")[2]]
    if words := part.get("enum", [part["const"]] if "const" in part else []):
        yield key, words, value
    for option in part.get("anyOf", part.get("oneOf", [])):
        yield from leaves(option, value, key)
    if "items" in part and (value is None or isinstance(value, list)):
        for item in value or [None]:
            yield from leaves(part["items"], item, key)
    for name, below in part.get("properties", {}).items():
        if value is None or name in value:
            deeper = None if value is None else value[name]
            yield from leaves(below, deeper, f"{key}.{name}".lstrip("."))
    if others := part.get("additionalProperties"):
        for item in [None] if value is None else value.values():
            yield from leaves(others, item, f"{key}.<name>")


WORDS = {key: words for key, words, _ in leaves(SCHEMA, None)}
ROWS = range(max(map(len, WORDS.values())))


def row(number: int, mine: Path) -> dict[str, Any]:
    """The tiny configuration with the `number`-th word of each key; `mine` is a folder with a manifest."""
    word = {key: words[number % len(words)] for key, words in WORDS.items()}
    config = merged(
        yaml.safe_load((BASE / "config.yaml").read_text()), yaml.safe_load(TINY.read_text())
    )
    for key, chosen in word.items():
        if "<name>" not in key and key != "activations.hook_points":
            layers = key == "activations.layers" and number % 2  # the one word of it, and a list
            config = merged(config, nested(key, [0, 2] if layers else chosen))
    point = word["dictionaries.<name>.hook_point"]
    own = {"layout": "folder", "root": str(mine), "class_names": ["cat", "dog"]}
    birds = config["datasets"]["waterbirds"]
    # data that no table needs, of another model
    layers = [0, 2] if number % 2 else word["models.<name>.layers"]
    other = {key: word[f"models.<name>.{key}"] for key in ("dtype", "crop")}
    config["models"]["other"] = {"label": "other", "source": "a/clip", "layers": layers, **other}
    config["datasets"]["general"]["class_words"] = word["datasets.<name>.class_words"]
    unseen = {**config["datasets"]["general"], "model": "other"}
    config = merged(config, {"datasets": {"mine": {**birds, **own}, "unseen": unseen}})
    config["datasets"] |= {
        "web": {
            **{"layout": "folder", "root": "painted"},
            "painted": {"world": "web", "size": 32, "counts": {"train": 8}},
        },
        "words": {"layout": PRINTED[number % len(PRINTED)], "root": str(mine)},
        "pictures": {"layout": "imagenet", "root": str(mine), "attack": {"look": "published"}},
    }
    config["models"]["signs"]["tiny"]["hidden_act"] = word["models.<name>.tiny.hidden_act"]
    del config["datasets"]["mine"]["painted"]
    for dictionary in config["dictionaries"].values():
        dictionary["hook_point"] = point
        if "training" in dictionary:
            dictionary["training"]["mse"] = word["dictionaries.<name>.training.mse"]
    choose = word["dictionaries.<name>.choose"]
    config["dictionaries"]["vanilla"] |= {
        "grid": {"lr": [1e-3, 2e-3], "mse": [word["dictionaries.<name>.grid.mse"]]},
        "choose": choose,
        **({"rule": {"max_l0": 20}} if choose == "rule" else {}),
    }
    theirs = {"architecture": "imported", "hook_point": point, "source": "hub:who/sae-{layer}"}
    words = {
        k: word[f"dictionaries.<name>.{k}"] for k in ("format", "normalize", "tokens", "check")
    }
    # a commit, which needs no look at the hub
    config["dictionaries"]["theirs"] = theirs | words | {"revision": "0123456789" * 4}
    config["activations"]["hook_points"] = [point]
    batchwise = merged(config["dictionaries"]["topk"], {"architecture": "batchtopk"})
    nested_too = {"architecture": "matryoshka", "training": {"prefixes": [0.25, 1]}}
    config["dictionaries"] |= {"batchwise": batchwise, "nested": merged(batchwise, nested_too)}
    names = ["topk", "vanilla", "batchwise", "nested", "theirs", "neurons"]
    config["tables"] = dict.fromkeys(TABLES, names)
    return json.loads(json.dumps(config))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    lines = [f"{split},{g // 2},{g % 2}" for split in ("train", "val", "test") for g in range(4)]
    for i in range(len(lines)):
        write(tmp_path / f"mine/{i}.jpg", photo("plain", i))
    rows = [f"{i}.jpg,{line}" for i, line in enumerate(lines)]
    write(tmp_path / "mine/manifest.csv", "\n".join(["path,split,target,spurious", *rows]))
    return tmp_path / "mine"


def test_the_rows_hold_every_word(mine: Path) -> None:
    asked: set[tuple[str, str]] = set()
    for number in ROWS:
        found = leaves(SCHEMA, validate(row(number, mine), BASE))
        asked |= {(key, json.dumps(value)) for key, words, value in found if value in words}
    every = {(key, json.dumps(word)) for key, words in WORDS.items() for word in words}
    assert every - asked == set()
    assert len(every) > 50


@pytest.mark.parametrize("number", ROWS)
def test_every_word_passes_a_dry_run(fresh: WorkingCopy, mine: Path, number: int) -> None:
    targets = [f"results/{name}_table.csv" for name in TABLES]
    config = row(number, mine)
    del config["store"]
    outcome = fresh.run(
        *targets,
        *("results/celeba_negative_control.csv", "results/general_dictionaries.csv"),
        config=config,
        overlays=(),
        options=["--dry-run", "--quiet", "rules"],
    ).ok()
    rules = ("train_dictionary", "ablate_features", "make_table", "control_table", "name_classes")
    for rule in (*rules, "import_dictionary", "check_dictionary"):
        assert rule in outcome.text
