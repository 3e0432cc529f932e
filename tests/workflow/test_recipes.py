"""What reaches each step's recipe, and what does not."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.config.grid import with_points
from clipsteer.errors import ClipsteerError
from clipsteer.runner.declared import SCRIPTS, declared
from clipsteer.runner.fingerprint import code_fingerprint
from clipsteer.store.digest import digest_file
from clipsteer.workflow.derived import Derived
from clipsteer.workflow.outline import Outline, blocks
from clipsteer.workflow.recipes import Recipes
from tests.workflow.outlines import DEFAULT, Job, outline, recipes, wildcards
from tests.workflow.runs import BASE

STEPS = {path.stem for path in SCRIPTS.glob("*.py")}
PAGE = (BASE / "docs/configuration.md").read_text(encoding="utf-8")
# Of each key the steps that the page says run again: the first that see it.
SAID = {
    key: {step for step in re.findall(r"\w+", cell) if step in STEPS}
    for key, cell in re.findall(r"^\| `([a-z0-9_.<>]+)` \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)
}
# keys of a further tiny model are explained as those of the first
SAID |= {
    f"models.<name>.{key.removeprefix('model.')}": steps
    for key, steps in SAID.items()
    if key.startswith("model.tiny.")
}
# Steps that see a key too, and come after those anyway. A table has the whole of `steering`, besides.
_APPLIED = {
    *("evaluate_dictionary", "feature_statistics", "select_features", "ablate_features"),
    *("shuffle_control", "make_table", "evaluate_subspaces", "control_table", "storage_effect"),
    *("top_images", "image_views", "feature_page", "top_images_figure", "edited_images"),
    *("measure_steerability", "steerability_table", "nearest_directions"),
    *("splice_dictionary", "dictionary_table", "sparsity_figure"),
    "measure_recovery",
}
_DEFENDED = {
    *("tune_defences", "evaluate_defences"),
    *("typographic_table", "typographic_examples", "top_attacked", "typographic_top_images"),
}
_CHOSEN = {"evaluate_directions", "evaluate_subspaces"}
_VALUED = {"dictionary_table", "sparsity_figure"}
_SHOWN = {"feature_page", "top_images_figure"}
_PAIRED = {"pair_margins"}
_RECOVERED = {"measure_recovery"}
_RULED = _CHOSEN | {
    *("shuffle_control", "evaluate_readout", "baseline_table", "control_table"),
    *("top_images_figure", "edited_images"),
}
AFTER = {
    "datasets.<name>.layout": {"make_table", "unconcerned_attributes", "dictionary_table"},
    "datasets.<name>.templates": {"dictionary_table"},
    "datasets.<name>.class_words": {"dictionary_table"},
    "head.logit_scale": {"dictionary_table"},
    "datasets.<name>.options.target": {"make_table", "unconcerned_attributes"},
    "datasets.<name>.options.spurious": {"make_table", "unconcerned_attributes"},
    "datasets.<name>.augment": {"list_shards"},
    "model.tiny.vision_width": {"make_table", "dictionary_table"},
    "activations.images_per_shard": {"list_shards", "list_attacked"},
    "dictionaries.<name>.architecture": (_APPLIED - {"control_table"}) | _DEFENDED,
    "dictionaries.<name>.hook_point": _APPLIED | {"baseline_table"} | _DEFENDED,
    "dictionaries.<name>.training.expansion": {"make_table"} | _VALUED | _SHOWN,
    "dictionaries.<name>.training.k": {"make_table"} | _VALUED | _SHOWN,
    "dictionaries.<name>.training.l1": _VALUED,
    "dictionaries.<name>.training.mse": _VALUED,
    "steering.aggregate": {"shuffle_control", "fit_directions", "feature_page"},
    "steering.attribute_value": {"shuffle_control", "top_images", "baseline_table"}
    | _CHOSEN
    | _RECOVERED,
    "steering.balance": {"shuffle_control", "evaluate_subspaces", "baseline_table", "top_images"},
    "steering.thresholds.low": {"shuffle_control"} | _CHOSEN,
    "steering.thresholds.high": {"shuffle_control"} | _CHOSEN,
    "steering.thresholds.points": {"shuffle_control"} | _CHOSEN,
    "steering.tokens": {"shuffle_control", "storage_effect", "image_views", "edited_images"}
    | _CHOSEN
    | _RECOVERED,
    "steering.error_term": {"shuffle_control", "storage_effect", "image_views", "edited_images"}
    | _CHOSEN
    | _RECOVERED,
    "steering.strict": _RULED,
    "steering.strict_slack": _RULED,
    "steering.relaxed_drop": _RULED,
    "steering.random_pool": {"evaluate_subspaces"},
    "steering.random_seeds": {"evaluate_subspaces"},
    "model.name": {"baseline_table", "storage_effect", "pairs_figure", "steerability_table"}
    | _VALUED
    | {"edited_images"}
    | _SHOWN,
    "model.crop": {"storage_effect", "image_views", "edited_images"} | _SHOWN | _PAIRED,
    "activations.batch_size": _PAIRED,
    "datasets.<name>.class_names": {"baseline_table", "pairs_figure"},
    "datasets.<name>.group_names": {"baseline_table", "control_table", "feature_page"}
    | {"edited_images"},
    "explorer.split": _SHOWN | {"edited_images"},
    **{
        f"explorer.examples.{key}": {"feature_page"}
        for key in ("top", "quantiles", "per_quantile", "random")
    },
}
# Keys whose change is another DAG, not another recipe of the same jobs, or that count by what a scan finds.
OTHERWISE = {
    *("model.source", "datasets.<name>.root", "tables.<name>", "dictionaries.<name>.trained_on"),
    *("activations.layers", "model.tiny.vision_layers", "model.tiny.worlds", "model.revision"),
    "vocabulary.source",
    # as in the section `model`, where they are looked at
    *("models.<name>.label", "models.<name>.revision", "models.<name>.dtype"),
    *("models.<name>.crop", "datasets.<name>.model"),
    *("models.<name>.source", "models.<name>.tiny.worlds", "models.<name>.tiny.vision_layers"),
    *("typographic.tuned_on", "typographic.benchmarks", "typographic.dictionaries"),
    *("jobs.layers_per_job", "jobs.extraction_parts", "raw.watch", "sweep.steer"),
}
WORD = {"datasets.<name>.layout": "folder", "dictionaries.<name>.architecture": "vanilla_too"}


def leaves(part: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(part, dict) and path[-1:] != ("unconcerned",):  # its names are the user's
        for name, below in part.items():
            yield from leaves(below, (*path, name))
    else:
        yield path, part


def pattern(path: tuple[str, ...]) -> str:
    named = path[0] in ("datasets", "models", "dictionaries", "tables")
    return ".".join((path[0], "<name>", *path[2:]) if named else path)


def other(key: str, value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, dict):
        return {**value, "Young": ["old", "young"]}
    if key.endswith(".fonts"):
        return [*value, "DejaVuSans"]
    if isinstance(value, list):
        return [*value, f"{value[-1]}_too"] if value else [1]
    return 1 if value is None else WORD.get(key, f"{value}_too")


def changed(path: tuple[str, ...], value: Any) -> list[Job]:
    """The jobs whose recipes are others, once one key of the default has another value."""
    config = copy.deepcopy(DEFAULT)
    part = config
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    before, after = recipes(outline()), recipes(Outline(config, BASE, BASE))
    assert before.keys() == after.keys()
    return [job for job in before if before[job] != after[job]]


KEYS: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
for _path, _value in leaves(DEFAULT):
    KEYS.setdefault(pattern(_path), []).append((_path, _value))


@pytest.mark.usefixtures("one_code")
@pytest.mark.parametrize("key", sorted(KEYS.keys() - OTHERWISE))
def test_a_key_reaches_the_steps_that_its_page_names(key: str) -> None:
    found: set[str] = set()
    for path, value in KEYS[key]:
        # nothing to train, or no target: with another value there would be
        if value in ("neurons", "imagenet"):
            continue
        jobs = changed(path, other(key, value))
        found |= {step for step, _ in jobs}
        if path[0] == "dictionaries":  # no other dictionary's
            assert {dict(words).get("dictionary", path[1]) for _, words in jobs} <= {path[1]}
        if path[0] == "datasets":
            assert {dict(words)["dataset"] for _, words in jobs} <= {path[1]}
    expected = SAID[key] | AFTER.get(key, set())
    if key.startswith("steering.") and not key.startswith(
        ("steering.shuffles", "steering.baselines")
    ):
        expected = expected | {"make_table"}
    assert found == expected


@pytest.mark.usefixtures("one_code")
def test_a_data_sets_own_spurious_value_reaches_its_steps_alone() -> None:
    """As the one of all tables does; and the same number written out changes nothing."""
    path = ("datasets", "celeba", "attribute_value")
    jobs = changed(path, 0)
    everywhere = changed(("steering", "attribute_value"), 0)
    assert jobs == [job for job in everywhere if dict(job[1])["dataset"] == "celeba"] != []
    assert {step for step, _ in jobs} >= SAID["datasets.<name>.attribute_value"]
    assert changed(path, 1) == []
    own = outline({"datasets": {"celeba": {"attribute_value": 0}}})
    recipe = json.loads(Recipes(own).of("make_table")(wildcards(dataset="celeba")))["config"]
    assert recipe["attribute_value"] == 0
    assert "attribute_value" not in recipe["steering"]


def test_all_keys_of_the_default_are_looked_at() -> None:
    assert KEYS.keys() >= OTHERWISE
    assert AFTER.keys() <= KEYS.keys()
    assert len(KEYS.keys() - OTHERWISE) > 60


@pytest.mark.usefixtures("one_code")
def test_a_point_of_a_grid_has_the_recipe_of_a_dictionary_with_its_settings() -> None:
    grid = {"lr": [1e-3, 1e-2], "seed": [0, 5]}
    made = outline({"dictionaries": {"topk": {"grid": grid}}})
    points = Outline(with_points(made.config), BASE, BASE)
    names = points.dictionaries.keys() - made.dictionaries.keys()
    assert len(names) == 4
    training = DEFAULT["dictionaries"]["topk"]["training"]

    def recipe(of: Outline, name: str) -> str:
        at = wildcards(dictionary=name, block="layers_00-02")
        return Recipes(of).of("train_dictionary")(at)

    by_hand = {
        recipe(outline({"seed": seed, "dictionaries": {"topk": {"training": {"lr": lr}}}}), "topk")
        for lr in grid["lr"]
        for seed in grid["seed"]
    }
    assert training["lr"] not in grid["lr"]
    assert {recipe(points, name) for name in names} == by_hand
    assert recipe(points, "topk") == recipe(outline(), "topk")


@pytest.mark.usefixtures("one_code")
def test_how_work_is_cut_into_jobs_changes_the_cut_alone() -> None:
    def whole(overlay: dict[str, Any]) -> set[str]:
        """The recipes without what says which part of the work a job does."""
        found = set()
        for (step, _), text in recipes(outline(overlay)).items():
            recipe = json.loads(text)
            cut = declared(SCRIPTS / f"{step}.py").cut
            recipe["config"] = {k: v for k, v in recipe["config"].items() if k not in cut}
            found.add(json.dumps(recipe))
        return found

    assert whole({}) == whole({"jobs": {"layers_per_job": 5, "extraction_parts": 3}})


def test_what_recipes_derive_is_named_by_scripts_and_nothing_else() -> None:
    named = {use.function for step in STEPS for use in declared(SCRIPTS / f"{step}.py").uses}
    cut = {name for step in STEPS for name in declared(SCRIPTS / f"{step}.py").cut}
    assert (named | cut) - {""} == {name for name in vars(Derived) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("uses", "said"),
    [
        (
            '("steering.balanc",)',
            r"step\.py: USES: found steering\.balanc, which the configuration",
        ),
        ('("datasets.painted.colour",)', r"or give datasets\.celeba\.painted\.colour a value"),
        ('("copy(datasets.augment)",)', r"step\.py: USES or CUT: found copy, expected a method"),
    ],
)
@pytest.mark.usefixtures("one_code")
def test_a_setting_that_is_not_there_is_named(tmp_path: Path, uses: str, said: str) -> None:
    (tmp_path / "workflow_scripts").mkdir()
    (tmp_path / "workflow_scripts/step.py").write_text(f"USES = {uses}\n")
    with pytest.raises(ClipsteerError, match=said):
        Recipes(Outline(DEFAULT, tmp_path, BASE)).of("step")(wildcards(dataset="celeba"))


def test_each_recipe_has_its_step_and_its_code() -> None:
    one_of_each = {job[0]: text for job, text in recipes(outline()).items()}
    assert len(one_of_each) > 10
    for step, text in one_of_each.items():
        recipe = json.loads(text)
        assert recipe["step"] == step
        assert sorted(recipe) == ["code", "config", "modules", "semantics", "step"]
        script = BASE / "workflow_scripts" / f"{step}.py"
        assert recipe["code"] == code_fingerprint(script, BASE, recipe["modules"])


@pytest.mark.usefixtures("one_code")
def test_modules_by_name_are_those_of_the_settings() -> None:
    found = {job: json.loads(text)["modules"] for job, text in recipes(outline()).items()}
    for (step, words), modules in found.items():
        at = dict(words)
        if step in ("paint_world", "paint_pairs"):
            world = DEFAULT["datasets"][at["dataset"]]["painted"]["world"]
            assert modules == [f"clipsteer.data.painters.{world}"]
        elif step in ("build_manifest", "unconcerned_attributes"):
            layout = DEFAULT["datasets"][at["dataset"]]["layout"]
            assert modules == [f"clipsteer.data.layouts.{layout}"]
        elif "dictionary" in at:
            architecture = DEFAULT["dictionaries"][at["dictionary"]]["architecture"]
            assert modules == [f"clipsteer.dictionaries.{architecture}"]
        elif step == "evaluate_directions":  # on the layer's own basis
            assert modules == ["clipsteer.dictionaries.neurons"]
        elif step in ("storage_effect", "edited_images", "nearest_directions"):
            names = DEFAULT["tables"][at["dataset"]]
            kinds = {DEFAULT["dictionaries"][name]["architecture"] for name in names}
            kinds -= {"neurons"} if step == "nearest_directions" else set()
            assert modules == sorted(f"clipsteer.dictionaries.{kind}" for kind in kinds)
        else:
            assert modules == []


@pytest.mark.usefixtures("one_code")
def test_a_model_counts_by_its_name_on_the_hub_or_by_its_files(tmp_path: Path) -> None:
    def settings(**model: Any) -> Any:
        words = {"activations": {"layers": [0, 1]}, "model": model}
        found = recipes(outline(words, tmp_path))
        return json.loads(found["import_clip", (("model", "model"),)])["config"]

    assert settings(source="some/clip", revision="v1") == {
        "hub": {"source": "some/clip", "revision": "v1"}
    }
    (tmp_path / "some/clip").mkdir(parents=True)  # a folder of that name comes first
    shape = {"num_hidden_layers": 2, "hidden_size": 8}
    content = {"model_type": "clip", "vision_config": shape}
    (tmp_path / "some/clip/config.json").write_text(json.dumps(content))
    assert settings(source="some/clip", revision=None) == {"hub": None}


@pytest.mark.usefixtures("one_code")
def test_a_vocabulary_counts_by_what_its_file_holds(tmp_path: Path) -> None:
    def words_from(of: str = "model", **overlay: Any) -> Any:
        made = outline({"activations": {"layers": [0, 1]}, **overlay}, tmp_path)
        job = "embed_vocabulary", (("model", of),)
        return json.loads(recipes(made)[job])["config"]["words_from"]

    assert words_from() == "captions"
    assert words_from(model={"source": "some/clip"}) == "tokenizer"
    second = {"label": "L", "source": "some/clip", "revision": None}
    assert words_from("second", models={"second": second}) == "tokenizer"
    found = []
    for name, text in (("a.txt", "cat\n"), ("b.txt", "cat\n"), ("b.txt", "dog\n")):
        (tmp_path / name).write_text(text)
        found.append(words_from(vocabulary={"source": name}))
    assert found[0] == found[1] != found[2]
    assert found[2] == digest_file(tmp_path / "b.txt")


@given(st.lists(st.integers(0, 99), unique=True, min_size=1).map(sorted), st.integers(1, 120))
def test_blocks_hold_all_layers_once_in_their_order(layers: list[int], size: int) -> None:
    found = blocks(layers, size)
    assert [layer for run in found.values() for layer in run] == layers
    assert all(len(run) == size for run in list(found.values())[:-1])
    assert all(1 <= len(run) <= size for run in found.values())
    for name, run in found.items():
        assert re.fullmatch(r"layers_(\d\d)-(\d\d)", name)
        assert [int(word) for word in name[7:].split("-")] == [run[0], run[-1]]
