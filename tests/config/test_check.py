"""The configuration check: every fault at once, each with its key and a way out."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.config.check import validate
from clipsteer.config.lengths import config_warnings
from clipsteer.config.model import layers_of, vision
from clipsteer.config.used import used_dictionaries, valued
from clipsteer.errors import ClipsteerError
from clipsteer.report.paper import quality_rows
from clipsteer.store.digest import canonical_json
from tests.data.small_trees import celeba

BASE = Path(__file__).parents[2]


@pytest.fixture
def config() -> dict[str, Any]:
    # through JSON, so that YAML anchors do not tie one dictionary's settings to another's
    return json.loads(json.dumps(yaml.safe_load((BASE / "config.yaml").read_text())))


def faults(config: dict[str, Any], base: Path = BASE) -> str:
    with pytest.raises(ClipsteerError) as caught:
        validate(config, base)
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
    validate(config, BASE)
    assert layers_of(config, BASE) == list(range(6))
    assert "waterbirds_topk" in used_dictionaries(config)


def test_all_faults_at_once(config: dict[str, Any]) -> None:
    put(config, "steering.agregate", "mean")
    put(config, "raw.watch", "label")
    put(config, "dictionaries.topk.training.lr", "fast")
    del config["jobs"]["layers_per_job"]
    text = faults(config)
    assert "4 faults" in text
    assert "steering.agregate: unknown key" in text
    assert "Did you mean aggregate?" in text
    assert "raw.watch: found 'label'" in text
    assert "Did you mean labels?" in text
    assert "dictionaries.topk.training.lr: found 'fast', expected a number." in text
    assert "jobs.layers_per_job: missing" in text


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("activations.layers", [5, 6], "layer 6 is out of range; tiny has layers 0 to 5"),
        (
            "activations.layers",
            [0, -1],
            "layer -1 is out of range; tiny has layers 0 to 5, counted",
        ),
        ("activations.layers", ["0", "-2"], "layer -2 is out of range"),
        ("activations.layers", [0, "1.5"], "layers.1: found 1.5, expected a whole number."),
        ("activations.layers", [2, 2.0], "expected each once"),
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
        ("steering.strict", "largest_sun", "Did you mean largest_sum?"),
        ("steering.strict_slack", -1, "at least 0"),
        ("vocabulary.source", "words.txt", "found no file words.txt, expected `model` or a file"),
        ("vocabulary.size", 1, "at least 2"),
        ("vocabulary.template", "a photo", "expected text with {} in it"),
        ("steerability.features", 1, "found 1, expected `all`, a share below 1, or a whole"),
        ("steerability.features", 2.5, "found 2.5, expected `all`, a share below 1, or a whole"),
        ("steerability.features", "most", "expected 'all' or a number above 0"),
        ("steerability.features", 0, "expected 'all' or a number above 0"),
        ("steerability.strengths", [-1, 0], "found none above 0"),
        ("steerability.strengths", [5, 5.0], "expected each once"),
        ("models.signs.tiny.worlds", ["sings"], "Did you mean signs?"),
        ("models.signs.tiny.text_heads", 5, "signs.tiny.text_heads: 5 does not divide text_width"),
        ("datasets.signs_ends.attack.fonts", ["DejaVuSanz"], "found no font 'DejaVuSanz'"),
        ("datasets.signs_ends.attack.look", "end", "Did you mean ends?"),
        ("datasets.celeba.painted.worded", 0.5, "has no effect on the world faces"),
        ("datasets.signs.painted.counts.train", [1, 2, 3, 4], "the world signs has no groups"),
        ("datasets.signs.layout", "imagenet", "the world signs is painted in the layout folder"),
        ("typographic.tuned_on", "signs", "found signs, which has no attack"),
        ("typographic.benchmarks", ["signs_end"], "Did you mean signs_ends?"),
        ("typographic.benchmarks", ["signs"], "found signs, on whose images are no words"),
        ("typographic.dictionaries", [], "found none, expected one at least"),
        ("typographic.dictionaries", ["topk"], "topk is of the model model, but the data sets"),
        ("typographic.thresholds.low", 5.0, "low 5.0 must be below high 3.0"),
        ("typographic.lambdas", [1.5], "lambdas.0: found 1.5, expected a number"),
        ("dictionaries.signs_topk.training.k", 1025, "only m = expansion * d = 1024 features"),
        ("seed", -1, "at least 0"),
        ("datasets.celeba.templates", ["a photo"], "expected text with {} in it"),
        ("datasets.celeba.group_names", ["a", "b", "c"], "at least 4"),
        ("datasets.celeba.attribute_value", -1, "at least 0"),
        ("datasets.celeba.attribute_value", 2, "found 2, expected 0 or 1: datasets.celeba.layout"),
        ("datasets.general.attribute_value", 0, "has no effect on layout imagenet, whose images"),
    ],
)
def test_each_fault(config: dict[str, Any], key: str, value: object, expected: str) -> None:
    put(config, key, value)
    text = faults(config)
    assert expected in text
    assert key.rsplit(".", 1)[0] in text


def test_each_table_has_a_spurious_value_that_its_images_have(config: dict[str, Any]) -> None:
    """One number for all tables would not do for a folder of three values beside CelebA."""
    put(config, "steering.attribute_value", 2)
    text = faults(config)
    assert "2 faults" in text
    assert (
        "steering.attribute_value: found 2, expected 0 or 1: datasets.celeba.layout, celeba, has no other. Correct it, "
        "or give datasets.celeba.attribute_value." in text
    )
    put(config, "datasets.celeba.attribute_value", 0)
    put(config, "tables.waterbirds", [])  # of data sets without a table nothing is asked
    validate(config, BASE)
    classes, places = ["cow", "ant"], ["air", "land", "sea"]
    config["datasets"]["mine"] = {
        **{"layout": "folder", "root": "docs", "templates": ["a photo of a {}."]},
        **{"class_names": classes, "group_names": [f"{a} {p}" for a in classes for p in places]},
    }
    config["tables"]["mine"] = ["topk", "neurons"]
    validate(config, BASE)
    put(config, "datasets.mine.attribute_value", 3)
    assert (
        "datasets.mine.attribute_value: found 3, expected 0 or 1 or 2: datasets.mine.group_names has no other. Correct "
        "it." in faults(config)
    )
    put(config, "datasets.mine.group_names", ["a", "b", "c", "d", "e"])  # which is told by itself
    assert "1 fault" in faults(config)


def test_slack_of_another_rule_is_refused(config: dict[str, Any]) -> None:
    put(config, "steering.strict_slack", 2)
    validate(config, BASE)
    put(config, "steering.strict", "largest_sum")
    assert "steering.strict_slack: 2 has no effect on largest_sum" in faults(config)


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        # --config 'steering={random_seeds:3}' and the like
        ({"steering": {"random_seeds:3": ""}}, "a space after it: {random_seeds: VALUE}."),
        ({"steering": {"random_seeds=3": ""}}, "a space after it: {random_seeds: VALUE}."),
        ({"steering.random_seeds": 3}, "Dots do not work"),
        ({"random_seeds": 3}, "mean steering.random_seeds or typographic.random_seeds?"),
        ({"lr": 3}, "or dictionaries.<name>.training.lr or dictionaries.<name>.grid.lr or"),
        ({"steering": {1: 2, "agregate": "max"}}, "2 faults"),
        ({"steering": 5}, "steering: found 5, expected keys with values."),
        ({"steering": None}, "steering: found null, expected keys with values. An empty key takes"),
        (
            {"datasets": {"CelebA": {}}},
            "datasets.CelebA: found the name 'CelebA', expected a name of",
        ),
        ({"datasets": {1: {}}}, "datasets.1: found the name 1, expected text."),
        (
            {"datasets": {"celeba": {"class_names": ["no", True]}}},
            "found true, expected text. YAML reads yes",
        ),
        ({"datasets": {"celeba": {"class_names": ["a", "a"]}}}, "expected each once"),
        ({"datasets": {"celeba": {"class_names": ["a", ""]}}}, "expected text that is not empty"),
        (
            {"datasets": {"celeba": {"unconcerned": {"Smiling": ["a"]}}}},
            "unconcerned.Smiling: found ['a'], expected at least 2 of them.",
        ),
        (
            {"datasets": {"celeba": {"unconcerned": {"Smiling": ["a", "a"]}}}},
            "expected each once.",
        ),
        (
            {"datasets": {"celeba": {"unconcerned": {"Smiling": 3}}}},
            "found 3, expected a list or null.",
        ),
        ({"model": {"revision": 1234567}}, 'text or null. In quotes it is text: "1234567".'),
        ({"model": {"name": ""}}, "expected text that is not empty"),
        ({"raw": {"watch": True}}, "found true, expected one of files, labels, off."),
        ({"runtime": {"warm_worker": 1}}, "found 1, expected true or false."),
        (
            {"datasets": {"celeba": {"painted": {"counts": {"train": [1, 2]}}}}},
            "at least 4 of them",
        ),
        (
            {"datasets": {"celeba": {"painted": {"counts": {"train": -2}}}}},
            "found -2, expected a whole",
        ),
    ],
)
def test_advice_fits(config: dict[str, Any], overlay: dict[str, Any], expected: str) -> None:
    assert expected in faults(merge(config, overlay))


def test_a_name_under_which_two_figures_would_be_one(config: dict[str, Any]) -> None:
    config["datasets"]["celeba_steerability"] = config["datasets"]["celeba"]
    assert "datasets.celeba_steerability: its figure of layers" in faults(config)


KEYS = {  # of each kind of number, with its value in words that people use for it
    "seed": [3, 3.0, "3", "3.0", "3e0", "+3"],
    "activations.batch_size": [40, 4.0e1, "4e1", "4.0e+1", "4_0"],
    "activations.layers": [[0, 2], [0.0, 2.0], ["0", "2"], ["0", 2e0]],
    "jobs.layers_per_job": [3, 3.0, "3."],
    "datasets.celeba.evaluation.test": [100, 1e2, "1e2", "100"],
    "datasets.waterbirds.painted.counts.test": [[5, 6, 7, 8], ["5", 6.0, "7e0", 8]],
    "dictionaries.topk.training.lr": [1e-5, "1e-5", "1.0e-5", "0.00001", "1E-05"],
    "dictionaries.topk.training.clip_norm": [1.0, 1, "1", "1.", "1e0"],
    "steering.thresholds.high": [0.5, ".5", "5e-1"],
    "model.tiny.weight_decay": [0.0, 0, "0", -0.0],
}


def test_random_is_no_dictionary_of_a_table(config: dict[str, Any]) -> None:
    """Its rows of steerability would be the control's."""
    config["dictionaries"]["random"] = config["dictionaries"]["topk"]
    config["tables"]["celeba"] = ["random", "neurons"]
    assert "keep this name for random directions" in faults(config)


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, many in KEYS.items() for v in many])
def test_all_spellings_of_a_number_are_one(config: dict[str, Any], key: str, value: object) -> None:
    put(config, key, value)
    given = copy.deepcopy(config)
    found: Any = validate(config, BASE)
    assert config == given  # it is a copy that has changed
    for part in key.split("."):
        found = found[part]
    # as recipes see it: 1 and 1.0 would be two keys
    assert canonical_json(found) == canonical_json(KEYS[key][0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("runtime.warm_worker", False),
        ("datasets.celeba.evaluation.test", None),
        ("dictionaries.topk.training.clip_norm", None),
        ("model.revision", None),
        ("raw.watch", False),
    ],
)
def test_words_of_the_command_line(config: dict[str, Any], key: str, value: object) -> None:
    """Snakemake hands on all that stands in the braces of --config as text."""
    put(config, key, json.dumps(value))
    found: Any = validate(config, BASE)
    for part in key.split("."):
        found = found[part]
    assert found is value


def test_text_stays_text(config: dict[str, Any]) -> None:
    put(config, "datasets.celeba.class_names", ["1", "true"])
    put(config, "model.name", "1e5")
    put(config, "datasets.general.options", {"val_labels": "1.0"})
    found = validate(config, BASE)
    assert found["datasets"]["celeba"]["class_names"] == ["1", "true"]
    assert found["model"]["name"] == "1e5"
    assert found["datasets"]["general"]["options"] == {"val_labels": "1.0"}


@pytest.mark.parametrize(
    ("key", "kind"), [("seed", "a whole number"), ("steering.relaxed_drop", "a number")]
)
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, "nan", "inf", "1e400", "x", "1 0", "", True, None, [1]]
)
def test_what_is_no_number(config: dict[str, Any], key: str, kind: str, value: object) -> None:
    put(config, key, value)
    text = faults(config)
    assert "1 fault:" in text
    assert f"{key}: found " in text
    assert f"expected {kind}" in text


@pytest.mark.parametrize("value", [1.5, "1.5", "15e-1", -0.5])
def test_what_is_not_whole(config: dict[str, Any], value: object) -> None:
    put(config, "seed", value)
    assert "expected a whole number" in faults(config)


def test_a_number_that_no_float_holds(config: dict[str, Any]) -> None:
    put(config, "dictionaries.topk.training.lr", 10**400)
    assert "expected a number" in faults(config)


@pytest.mark.parametrize(
    ("world", "layout", "split", "count", "splits"),
    [
        ("general", "imagenet", "train", [1, 1, 1, 1], "train and validation"),
        ("general", "imagenet", "test", 4, "train and validation"),
        ("web", "folder", "train", [1, 1, 1, 1], "train"),
        ("web", "folder", "validation", 4, "train"),
    ],
)
def test_worlds_without_groups(
    config: dict[str, Any], world: str, layout: str, split: str, count: Any, splits: str
) -> None:
    """They are painted as so many images in all, for the splits that they have."""
    painted = {"world": world, "size": 64, "counts": {"train": 5000}}
    config["datasets"]["learnt"] = {"layout": layout, "root": "painted", "painted": painted}
    config["model"]["tiny"]["worlds"] = ["learnt"]
    validate(config, BASE)
    painted["counts"][split] = count
    text = faults(config)
    assert f"learnt.painted.counts.{split}: found {count}, but the world {world} has no" in text
    assert f"expected one number of images for {splits}." in text


def test_shares_of_painted_groups_are_not_known(config: dict[str, Any]) -> None:
    """Of one number for all groups, the smallest has a quarter at most."""
    put(config, "datasets.celeba.painted.counts.test", 403)
    put(config, "datasets.celeba.evaluation.test", 100)
    validate(config, BASE)
    put(config, "datasets.celeba.evaluation.test", 101)
    assert "datasets.celeba.evaluation.test: found 101" in faults(config)
    idle = merge(copy.deepcopy(config), {"tables": {"celeba": []}})
    validate(merge(idle, {"model": {"tiny": {"worlds": ["general"]}}}), BASE)
    put(config, "datasets.celeba.evaluation.test", None)
    del config["datasets"]["celeba"]["painted"]["counts"]["test"]
    validate(config, BASE)


def test_vanilla_needs_l1(config: dict[str, Any]) -> None:
    del config["dictionaries"]["vanilla"]["training"]["l1"]
    assert "dictionaries.vanilla.training.l1: missing" in faults(config)


def test_layers_come_from_the_models_own_config(config: dict[str, Any], tmp_path: Path) -> None:
    config["model"]["source"] = "clip"
    (tmp_path / "clip").mkdir()
    assert "clip: no config.json" in faults(config, tmp_path)
    shape = {"model_type": "clip", "vision_config": {"num_hidden_layers": 3, "hidden_size": 8}}
    (tmp_path / "clip/config.json").write_text(json.dumps(shape))
    assert "m = expansion * d = 128" not in faults_or_nothing(config, tmp_path)
    assert layers_of(config, tmp_path) == [0, 1, 2]
    (tmp_path / "clip/config.json").write_text('{"model_type": "bert"}')
    assert "model_type 'bert', no model of images and texts" in faults(config, tmp_path)


def faults_or_nothing(config: dict[str, Any], base: Path) -> str:
    try:
        validate(config, base)
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
    shape = {"model_type": "clip", "vision_config": {"num_hidden_layers": 3, "hidden_size": 64}}
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip/config.json").write_text(json.dumps(shape))
    (tmp_path / "faces").mkdir()
    validate(config, BASE)


def test_hub_name_needs_layers(config: dict[str, Any]) -> None:
    config["model"]["source"] = "openai/clip-vit-base-patch32"
    assert "set activations.layers to a list such as" in faults(config)
    config["activations"]["layers"] = [7, 8]
    validate(config, BASE)
    assert layers_of(config, BASE) == [7, 8]


def clip_of_577_tokens(folder: Path, **changes: Any) -> None:
    shape = {"num_hidden_layers": 6, "hidden_size": 64, "image_size": 336, "patch_size": 14}
    (folder / "clip").mkdir(exist_ok=True)
    content = {"model_type": "clip", "vision_config": shape | changes}
    (folder / "clip/config.json").write_text(json.dumps(content))


def test_a_buffer_too_small_for_the_model(config: dict[str, Any]) -> None:
    """Painted images are counted: the size that is named is the smallest that works."""
    put(config, "dictionaries.topk.training.buffer_mb", 1)
    text = faults(config)
    assert "topk.training.buffer_mb: found 1 (1048576 bytes), expected at least 2" in text
    assert "a batch of 1024 tokens and 64 images of 17 tokens of width 96" in text
    assert "vanilla" not in text
    put(config, "dictionaries.topk.training.buffer_mb", 2)
    validate(config, BASE)
    # a split that fits needs no more
    put(config, "dictionaries.topk.training.buffer_mb", 1)
    put(config, "datasets.general.painted.counts.train", 2**20 // (4 * 96 * 17))
    validate(config, BASE)
    put(config, "datasets.general.augment", 1)
    assert "topk.training.buffer_mb: found 1" in faults(config)


@pytest.mark.parametrize("training", [7, 8])
def test_a_buffer_too_small_for_a_folder(
    config: dict[str, Any], tmp_path: Path, training: int
) -> None:
    """Its labels say how many images it trains on; 7 of 577 tokens of width 64 fit into 1 MiB."""
    clip_of_577_tokens(tmp_path)
    config = merge(config, {"model": {"source": "clip"}, "tables": {"waterbirds": []}})
    config["tables"]["celeba"] = ["celeba_topk"]
    put(config, "datasets.celeba.root", "faces")
    put(config, "dictionaries.celeba_topk.training.buffer_mb", 1)
    celeba(tmp_path / "faces", [(0, i % 2, 0) for i in range(training)] + [(2, 0, 0)] * 20)
    if training == 7:
        validate(config, tmp_path)
        return
    text = faults(config, tmp_path)
    assert "1 fault:" in text
    assert "celeba_topk.training.buffer_mb: found 1 (1048576 bytes), expected at least 2" in text
    put(config, "dictionaries.celeba_topk.training.buffer_mb", 2)
    validate(config, tmp_path)
    (tmp_path / "faces/list_attr_celeba.txt").unlink()  # for the manifest's step to say
    put(config, "dictionaries.celeba_topk.training.buffer_mb", 1)
    validate(config, tmp_path)


def test_sizes_of_a_model(config: dict[str, Any], tmp_path: Path) -> None:
    """As transformers reads them: defaults, and the older name that overrules."""

    def sizes() -> tuple[int, int, int]:
        found = vision(config, tmp_path)
        assert found is not None
        return found.n_layers, found.width, found.n_tokens

    assert sizes() == (6, 96, 17)
    config["model"]["source"] = "clip"
    clip_of_577_tokens(tmp_path)
    assert sizes() == (6, 64, 577)
    shape = {"num_hidden_layers": 12, "hidden_size": 768}
    content = {"model_type": "clip", "vision_config": shape, "vision_config_dict": None}
    file = tmp_path / "clip/config.json"
    file.write_text(json.dumps(content))
    assert sizes() == (12, 768, 50)
    older = {"num_hidden_layers": 24, "patch_size": 16}
    file.write_text(json.dumps({**content, "vision_config_dict": older}))
    assert sizes() == (24, 768, 197)
    file.write_text(json.dumps({"model_type": "siglip", "vision_config": {}}))
    assert sizes() == (12, 768, 196)
    for unusable in (0, "16", 400):
        clip_of_577_tokens(tmp_path, patch_size=unusable)
        assert "patch_size of the vision tower" in faults(config, tmp_path)
    config["model"]["source"] = "openai/clip-vit-base-patch32"
    assert vision(config, tmp_path) is None


def test_what_a_siglip_does_not_have_is_said_at_once(
    config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "siglip").mkdir()
    content = {"model_type": "siglip", "vision_config": {"num_hidden_layers": 3}}
    (tmp_path / "siglip/config.json").write_text(json.dumps(content))
    put(config, "model.source", "siglip")
    validate(config, tmp_path)
    put(config, "steering.tokens", "cls")
    put(config, "steering.aggregate", "cls")
    put(config, "model.crop", "openai")
    text = faults(config, tmp_path)
    assert "steering.tokens: found cls, but siglip is a siglip and has no CLS token" in text
    assert "steering.aggregate: found cls" in text
    assert "model.crop: openai has no effect on siglip" in text
    assert "3 faults" in text


def test_each_section_asks_for_cls_of_its_own_models(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """A SigLIP that sees typographic attacks alone, beside a CLIP of the tables."""
    (tmp_path / "siglip").mkdir()
    shape = {"num_hidden_layers": 3, "hidden_size": 64, "image_size": 64, "patch_size": 16}
    content = {"model_type": "siglip", "vision_config": shape}
    (tmp_path / "siglip/config.json").write_text(json.dumps(content))
    config["models"]["signs"] = {"label": "SigLIP", "source": "siglip"}
    put(config, "steering.tokens", "cls")
    validate(config, tmp_path)
    put(config, "typographic.tokens", "cls")
    put(config, "typographic.aggregate", "cls")
    text = faults(config, tmp_path)
    assert "2 faults" in text
    for key in ("aggregate", "tokens"):
        assert f"typographic.{key}: found cls, but siglip is a siglip and has no CLS" in text
    put(config, "typographic.benchmarks", [])
    validate(config, tmp_path)


def test_a_batch_of_more_tokens_than_there_are(config: dict[str, Any]) -> None:
    put(config, "dictionaries.topk.training.batch_size", 4000 * 17 + 1)
    assert (
        "topk.training.batch_size: found 68001, but the training split has only 68000 tokens"
        in (faults(config))
    )


def test_warnings_before_a_run(config: dict[str, Any], tmp_path: Path) -> None:
    """Of trainings whose length is known: 4 epochs of 4000 * 17 tokens are 264 steps."""
    assert config_warnings(config, BASE) == []
    put(config, "dictionaries.topk.training.warmup_steps", 264)
    put(config, "dictionaries.vanilla.training.dead_window", 264)
    put(config, "dictionaries.waterbirds_topk.training.warmup_steps", 527)  # and the copies
    put(config, "model.tiny.warmup_steps", 900)
    validate(config, BASE)  # no fault
    found = [warning.split(":")[0] for warning in config_warnings(config, BASE)]
    assert found == [
        "model.tiny.warmup_steps",
        "dictionaries.topk.training.warmup_steps",
        "dictionaries.vanilla.training.dead_window",
    ]
    put(config, "tables", {"celeba": ["celeba_topk"]})
    put(config, "model.tiny.warmup_steps", 30)
    assert config_warnings(config, BASE) == []  # of what no table needs
    put(config, "datasets.celeba.root", str(tmp_path))
    put(config, "dictionaries.celeba_topk.training.warmup_steps", 10**6)
    assert config_warnings(config, BASE) == []  # not known


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
    shape = {
        "model_type": "clip",
        "vision_config": {"num_hidden_layers": 12, "hidden_size": 768},
    }
    (model / "config.json").write_text(json.dumps(shape))
    validate(merged, tmp_path)
    for name, training in ((n, d.get("training")) for n, d in merged["dictionaries"].items()):
        if name in used_dictionaries(merged) and training:
            assert training["expansion"] * 768 == 49_152


@pytest.mark.parametrize("number", [3, 4])
def test_overlays_of_tables_3_and_4(config: dict[str, Any], tmp_path: Path, number: int) -> None:
    """ImageNet and the model are enough, and the dictionaries are those of the paper's rows."""
    for name in ("paper", f"paper_table{number}"):
        merge(config, yaml.safe_load((BASE / f"config/{name}.yaml").read_text()))
    model = tmp_path / config["model"]["source"]
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "clip", "vision_config": {}}')
    told = faults(config, tmp_path)
    assert "1 fault:" in told
    assert "datasets.general.root" in told
    (tmp_path / config["datasets"]["general"]["root"]).mkdir(parents=True)
    meant = validate(config, tmp_path)
    names = valued(meant)
    assert list(names) == ["general"]
    rows = quality_rows("vanilla" if number == 3 else "topk")
    assert layers_of(meant, tmp_path) == sorted({int(row["layer"]) for row in rows})
    used = [meant["dictionaries"][name] for name in names["general"]]
    assert {of["hook_point"] for of in used} == {row["sublayer"] for row in rows}
    if number == 3:
        weights = [of["training"]["l1"] for of in used]
        assert sorted(weights) == sorted({float(row["l1_coefficient"]) for row in rows})
    else:
        assert [str(of["training"]["k"]) for of in used] == [*{row["l0"] for row in rows}]
        assert meant["datasets"]["general"]["templates"] == ["{}"]
        assert meant["head"]["logit_scale"] == "none"


def test_whose_worth_is_told(config: dict[str, Any]) -> None:
    tables = validate(config, BASE)["tables"]
    of_general = ["topk", "vanilla"]  # those of the tables that learn from it
    assert valued(validate(config, BASE)) == {**tables, "general": of_general}
    put(config, "tables.waterbirds", [])
    put(config, "dictionary_tables", {"waterbirds": ["neurons"], "general": ["celeba_topk"]})
    found = valued(validate(config, BASE))
    assert found["waterbirds"] == ["neurons"]
    assert found["general"] == ["celeba_topk"]
    del config["datasets"]["general"]["templates"]
    put(config, "dictionary_tables", {})
    assert list(valued(validate(config, BASE))) == ["celeba"]


def test_faults_of_dictionary_tables(config: dict[str, Any]) -> None:
    lists = {"celeba": ["topk"], "generall": ["topk"], "general": ["topk", "tokp"]}
    put(config, "dictionary_tables", lists)
    put(config, "datasets.celeba.class_words", "open_clip")
    del config["datasets"]["general"]["templates"]
    text = faults(config)
    assert "5 faults" in text
    assert "dictionary_tables.celeba: found a list, but tables.celeba has dictionaries" in text
    assert "dictionary_tables.generall: no data set of that name" in text
    assert "datasets.general.templates: missing, but dictionary_tables.general needs it" in text
    assert "dictionary_tables.general: found tokp, expected one of" in text
    assert "datasets.celeba.class_words: has no effect on layout celeba" in text
