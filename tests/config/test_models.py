"""Several models in one configuration: whose data sets and dictionaries are whose, and what is amiss of that."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.config.check import validate
from clipsteer.config.lengths import config_warnings
from clipsteer.config.model import layers_of, vision
from clipsteer.config.used import dictionary_model, models, needed_datasets, used_models
from clipsteer.errors import ClipsteerError

BASE = Path(__file__).parents[2]
Config = dict[str, Any]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The default with its faces once more, as a SigLIP of three layers sees them; both have a table."""
    shape = {"num_hidden_layers": 3, "hidden_size": 64, "image_size": 64, "patch_size": 16}
    (tmp_path / "siglip").mkdir()
    content = {"model_type": "siglip", "vision_config": shape}
    (tmp_path / "siglip/config.json").write_text(json.dumps(content))
    found: Config = json.loads(json.dumps(yaml.safe_load((BASE / "config.yaml").read_text())))
    seen = found["datasets"].items()  # less what another model sees
    found["datasets"] = {name: dataset for name, dataset in seen if "model" not in dataset}
    found["typographic"]["benchmarks"] = []
    del found["dictionaries"]["signs_topk"]
    found["models"] = {"second": {"label": "SigLIP", "source": str(tmp_path / "siglip")}}
    found["datasets"]["faces"] = {**found["datasets"]["celeba"], "model": "second"}
    learnt = {**found["dictionaries"]["celeba_topk"], "trained_on": "faces"}
    found["dictionaries"]["faces_topk"] = copy.deepcopy(learnt)
    found["tables"]["faces"] = ["faces_topk", "neurons"]
    return found


def faults(config: Config) -> str:
    with pytest.raises(ClipsteerError) as caught:
        validate(config, BASE)
    return str(caught.value)


def test_a_data_set_that_names_no_model_has_that_of_the_section(config: Config) -> None:
    filled = validate(config, BASE)
    named = {name: dataset["model"] for name, dataset in filled["datasets"].items()}
    assert named == {
        **dict.fromkeys(("celeba", "waterbirds", "general", "web"), "model"),
        "faces": "second",
    }
    assert [model["name"] for model in models(filled).values()] == ["tiny-clip", "SigLIP"]
    assert dictionary_model(filled, "faces_topk") == "second"
    assert dictionary_model(filled, "topk") == "model"


def test_each_model_has_layers_and_tokens_of_its_own(config: Config) -> None:
    filled = validate(config, BASE)
    assert layers_of(filled, BASE) == [0, 1, 2, 3, 4, 5]
    assert layers_of(filled, BASE, "second") == [0, 1, 2]
    tokens = [vision(filled, BASE, name) for name in models(filled)]
    assert [(tower.n_tokens, tower.cls) for tower in tokens if tower] == [(17, 0), (16, None)]
    config["models"]["second"]["layers"] = [2, 0]
    filled = validate(config, BASE)
    assert layers_of(filled, BASE, "second") == [0, 2]
    assert layers_of(filled, BASE) == [0, 1, 2, 3, 4, 5]


def test_one_that_no_table_needs_is_not_looked_for(config: Config) -> None:
    assert used_models(validate(config, BASE)) == ["model", "second"]
    alone = copy.deepcopy(config)
    alone["tables"] = {"faces": ["faces_topk"], "celeba": [], "waterbirds": []}
    alone["activations"]["layers"] = [2]
    alone["model"]["tiny"] |= {"vision_layers": 1, "warmup_steps": 10**6}  # no layer 2, no effect
    filled = validate(alone, BASE)
    assert (used_models(filled), needed_datasets(filled)) == (["second"], ["faces"])
    assert config_warnings(filled, BASE) == []
    config["tables"]["faces"] = []
    config["models"]["second"]["source"] = "nowhere/at/all"
    assert used_models(validate(config, BASE)) == ["model"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"datasets": {"faces": {"model": "secnd"}}},
            ["datasets.faces.model: found secnd, expected model or second. Did you mean second?"],
        ),
        (
            {"datasets": {"faces": {"model": "model"}}},
            ["models.second: found no data set of this model, expected one with datasets.<name>"],
        ),
        (
            {"models": {"model": {"label": "x", "source": "a/b"}}},
            ["models.model: found the name of the section `model`, which is one of the models"],
        ),
        (
            {"models": {"second": {"label": "tiny-clip"}}},
            ["models.second.label: found tiny-clip, which model.name has too, expected another"],
        ),
        (
            {"tables": {"celeba": ["faces_topk"]}},
            [
                "tables.celeba: faces_topk is of the model second (it learns from faces), but "
                "datasets.celeba.model is model, expected dictionaries of that model."
            ],
        ),
        ({"steering": {"tokens": "cls"}}, ["steering.tokens: found cls, but", "is a siglip"]),
        ({"models": {"second": {"crop": "openai"}}}, ["models.second.crop: openai has no effect"]),
        (
            {"models": {"second": {"layers": [0, 3]}}},
            ["models.second.layers: layer 3 is out of range", "has layers 0 to 2"],
        ),
        ({"activations": {"layers": [5]}}, ["activations.layers: layer 5 is out of range"]),
        (
            {"models": {"second": {"source": "tiny"}}},
            ["models.second.tiny: missing, but models.second.source is `tiny`."],
        ),
        (
            {"models": {"second": {"source": "openai/clip-vit-base-patch32"}}},
            ["models.second.source: found openai/clip", "set activations.layers to a list such as"],
        ),
        (
            {"models": {"second": {"revision": "v1"}}},
            ["models.second.revision: found 'v1', but models.second.source is not a hub name"],
        ),
        ({"models": {"second": {"name": "x"}}}, ["models.second.name: unknown key"]),
        (
            {"dictionaries": {"topk": {"model": "second"}}},
            ["dictionaries.topk.model: has no effect on topk; remove it"],
        ),
        (
            {"dictionaries": {"faces_topk": {"training": {"k": 1025}}}},
            ["only m = expansion * d = 1024 features"],
        ),
    ],
)
def test_faults_of_models_are_one_sentence_each(
    config: Config, changes: Config, expected: list[str]
) -> None:
    text = faults(merged(config, changes))
    assert "has 1 fault:" in text, text
    for part in expected:
        assert part in text


def test_a_released_dictionary_names_its_model_or_has_that_of_its_first_table(
    config: Config,
) -> None:
    theirs = {"architecture": "imported", "hook_point": "resid_post", "source": "hub:who/{layer}"}
    config["dictionaries"]["theirs"] = theirs
    config["tables"]["faces"].append("theirs")
    filled = validate(config, BASE)
    assert dictionary_model(filled, "theirs") == "second"
    theirs["model"] = "secnd"
    text = faults(config)
    assert "dictionaries.theirs.model: found secnd, expected model or second." in text
    assert "Did you mean second?" in text
    theirs["model"] = "model"
    assert "theirs is of the model model (dictionaries.theirs.model), but datasets.faces" in faults(
        config
    )
    del theirs["model"]
    config["tables"]["celeba"].append("theirs")
    text = faults(config)
    assert "tables.faces: theirs is of the model model (the first table that it stands in" in text


def test_a_released_dictionary_of_typographic_attacks_is_of_the_model_of_these() -> None:
    config: Config = yaml.safe_load((BASE / "config.yaml").read_text())
    theirs = {"architecture": "imported", "hook_point": "resid_post", "source": "hub:who/{layer}"}
    config["dictionaries"]["theirs"] = theirs
    assert dictionary_model(config, "theirs") == "model"
    config["typographic"]["dictionaries"].append("theirs")
    assert dictionary_model(validate(config, BASE), "theirs") == "signs"
    theirs["model"] = "model"
    assert "typographic.dictionaries: theirs is of the model model, but the data sets" in faults(
        config
    )


def merged(config: Config, changes: Config) -> Config:
    for key, value in changes.items():
        below = config.get(key)
        config[key] = merged(below, value) if isinstance(below, dict) else value
    return config
