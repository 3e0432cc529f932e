"""The configuration check: every fault at once, each with its key and a way out."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.config import layers_of, used_dictionaries, validate
from clipsteer.errors import ClipsteerError

BASE = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((BASE / "schemas/config.schema.yaml").read_text())


@pytest.fixture
def config() -> dict[str, Any]:
    # through JSON, so that YAML anchors do not tie one dictionary's settings to another's
    return json.loads(json.dumps(yaml.safe_load((BASE / "config.yaml").read_text())))


def faults(config: dict[str, Any], base: Path = BASE) -> str:
    with pytest.raises(ClipsteerError) as caught:
        validate(config, SCHEMA, base)
    return str(caught.value)


def put(config: dict[str, Any], key: str, value: object) -> None:
    *path, last = key.split(".")
    for part in path:
        config = config[part]
    config[last] = value


def merge(into: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    for key, value in overlay.items():
        into[key] = merge(into[key], value) if isinstance(value, dict) and key in into else value
    return into


def test_default_is_valid(config: dict[str, Any]) -> None:
    validate(config, SCHEMA, BASE)
    assert layers_of(config, BASE) == list(range(6))
    assert "waterbirds_topk" in used_dictionaries(config)


def test_all_faults_at_once(config: dict[str, Any]) -> None:
    put(config, "steering.agregate", "mean")
    put(config, "raw.watch", "label")
    put(config, "dictionaries.topk.training.lr", "1e-4")
    del config["jobs"]["layers_per_job"]
    text = faults(config)
    assert "4 faults" in text
    assert "steering.agregate: unknown key" in text
    assert "Did you mean aggregate?" in text
    assert "raw.watch: found 'label'" in text
    assert "Did you mean labels?" in text
    assert "dictionaries.topk.training.lr: found '1e-4'" in text
    assert "1.0e-4" in text  # the hint on YAML's floats
    assert "jobs.layers_per_job: missing" in text


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("activations.layers", [5, 6], "layer 6 is out of range; tiny has layers 0 to 5"),
        ("activations.layers", "al", "expected 'all' or a list"),
        ("dictionaries.topk.training.k", 1537, "only m = expansion * d = 1536 features"),
        ("dictionaries.topk.training.l1", 0.1, "has no effect on topk"),
        ("dictionaries.vanilla.training.k", 4, "has no effect on vanilla"),
        ("dictionaries.neurons.trained_on", "celeba", "the neuron basis is not trained"),
        ("dictionaries.topk.trained_on", "generl", "Did you mean general?"),
        ("dictionaries.topk.hook_point", "mlp_out", "not among activations.hook_points"),
        ("dictionaries.topk.architecture", "topp", "Did you mean topk?"),
        ("tables.celeba", ["vanila"], "Did you mean vanilla?"),
        ("tables.celebb", ["vanilla"], "Did you mean celeba?"),
        ("model.source", "models/none", "There is no folder"),
        ("model.tiny.worlds", ["celebaa"], "Did you mean celeba?"),
        ("model.tiny.vision_heads", 7, "7 does not divide vision_width = 96"),
        ("steering.thresholds.low", 2.0, "must be below high"),
        ("seed", -1, "at least 0"),
        ("datasets.celeba.templates", ["a photo"], "expected text that matches"),
        ("datasets.celeba.group_names", ["a", "b", "c"], "at least 4"),
    ],
)
def test_each_fault(config: dict[str, Any], key: str, value: object, expected: str) -> None:
    put(config, key, value)
    text = faults(config)
    assert expected in text
    assert key.rsplit(".", 1)[0] in text


def test_vanilla_needs_l1(config: dict[str, Any]) -> None:
    del config["dictionaries"]["vanilla"]["training"]["l1"]
    assert "dictionaries.vanilla.training.l1: missing" in faults(config)


def test_layers_come_from_the_models_own_config(config: dict[str, Any], tmp_path: Path) -> None:
    config["model"]["source"] = "clip"
    (tmp_path / "clip").mkdir()
    assert "has no config.json" in faults(config, tmp_path)
    shape = {"vision_config": {"num_hidden_layers": 3, "hidden_size": 8}}
    (tmp_path / "clip/config.json").write_text(json.dumps(shape))
    assert "m = expansion * d = 128" not in faults_or_nothing(config, tmp_path)
    assert layers_of(config, tmp_path) == [0, 1, 2]
    (tmp_path / "clip/config.json").write_text('{"model_type": "bert"}')
    assert "expected a CLIP model with a vision tower" in faults(config, tmp_path)


def faults_or_nothing(config: dict[str, Any], base: Path) -> str:
    try:
        validate(config, SCHEMA, base)
    except ClipsteerError as error:
        return str(error)
    return ""


def test_home_folder(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(config, "model.source", "~/clip")
    put(config, "datasets.celeba.root", "~/faces")
    assert "2 faults" in faults(config)
    shape = {"vision_config": {"num_hidden_layers": 3, "hidden_size": 64}}
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip/config.json").write_text(json.dumps(shape))
    (tmp_path / "faces").mkdir()
    validate(config, SCHEMA, BASE)


def test_hub_name_needs_layers(config: dict[str, Any]) -> None:
    config["model"]["source"] = "openai/clip-vit-base-patch32"
    assert "set activations.layers to a list such as" in faults(config)
    config["activations"]["layers"] = [7, 8]
    validate(config, SCHEMA, BASE)
    assert layers_of(config, BASE) == [7, 8]


def test_paper_overlay(config: dict[str, Any], tmp_path: Path) -> None:
    overlay = yaml.safe_load((BASE / "config/paper.yaml").read_text())
    merged = merge(copy.deepcopy(config), overlay)
    text = faults(merged, tmp_path)
    assert "4 faults" in text
    assert "model.source: found models/CLIP-ViT-B-32" in text
    for name in ("celeba", "waterbirds", "general"):
        root = overlay["datasets"][name]["root"]
        assert f"datasets.{name}.root: found no folder at {root}" in text
        (tmp_path / root).mkdir(parents=True)
    model = tmp_path / overlay["model"]["source"]
    model.mkdir(parents=True)
    shape = {"vision_config": {"num_hidden_layers": 12, "hidden_size": 768}}
    (model / "config.json").write_text(json.dumps(shape))
    validate(merged, SCHEMA, tmp_path)
    for name, training in ((n, d.get("training")) for n, d in merged["dictionaries"].items()):
        if name in used_dictionaries(merged) and training:
            assert training["expansion"] * 768 == 49_152
