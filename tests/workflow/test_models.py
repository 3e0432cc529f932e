"""Two models in one run share what does not depend on the model, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import clipsteer
from clipsteer.config.check import validate
from clipsteer.errors import ClipsteerError
from clipsteer.workflow.commands import Commands
from clipsteer.workflow.inputs import Inputs
from clipsteer.workflow.outline import Outline
from clipsteer.workflow.readers import Readers
from clipsteer.workflow.recipes import Recipes
from tests.workflow.outlines import DEFAULT, RESULTS, RULES, jobs, recipes, wildcards
from tests.workflow.real_trees import make_model, real_config
from tests.workflow.runs import BASE, TINY, WorkingCopy, merged

REFS = "artifacts/refs"
TABLE, OTHER = "results/celeba_table.csv", "results/faces_table.csv"


def with_second(config: dict[str, Any], **second: Any) -> dict[str, Any]:
    """The same, and its faces once more as another model sees them, with a dictionary and a table of their own."""
    faces = {**config["datasets"]["celeba"], "model": "second"}
    learnt = {**config["dictionaries"]["celeba_topk"], "trained_on": "faces"}
    return merged(
        config,
        {
            "models": {"second": {"label": "SigLIP", **second}},
            "datasets": {"faces": faces},
            "dictionaries": {"faces_topk": learnt},
            "tables": {"faces": ["faces_topk"]},
        },
    )


def shape(folder: Path, **sizes: int) -> Path:
    """A folder that says of itself what rules need to know of a model."""
    folder.mkdir(parents=True)
    vision = {"num_hidden_layers": 12, "hidden_size": 768} | sizes
    content = {"model_type": "clip", "vision_config": vision}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def outlined(config: dict[str, Any], folder: Path) -> Outline:
    return Outline(validate(json.loads(json.dumps(config)), folder), BASE, folder)


@pytest.mark.usefixtures("one_code")
@pytest.mark.parametrize("overlay", ["config.yaml", "config/tiny.yaml", "config/paper.yaml"])
def test_a_second_model_changes_no_job_of_the_first(overlay: str, tmp_path: Path) -> None:
    """Recipes, inputs of rules and the words of commands, but for the new model's own folder."""
    config = merged(DEFAULT, yaml.safe_load((BASE / overlay).read_text()))
    for dataset in config["datasets"].values():
        if dataset["root"] != "painted":
            (tmp_path / dataset["root"]).mkdir(parents=True, exist_ok=True)
    if config["model"]["source"] != "tiny":
        shape(tmp_path / config["model"]["source"])
    alone = outlined(config, tmp_path)
    second = shape(tmp_path / "second", num_hidden_layers=7)
    both = outlined(with_second(config, source=str(second)), tmp_path)
    before, after = recipes(alone), recipes(both)
    assert len(before) > 50
    assert [job for job in before if before[job] != after[job]] == [
        ("best_per_layer", ())
    ]  # of all tables
    assert after.keys() > before.keys()
    one, other = Inputs(alone), Inputs(both)
    for job in jobs(alone):
        at = wildcards(**dict(job[1]))
        assert one.model(at) == other.model(at)
        if "dataset" in dict(job[1]):
            for name in ("of_table", "of_trained", "of_imported"):
                mine, theirs = (getattr(inputs, name)("selection")(at) for inputs in (one, other))
                assert mine == theirs
            mine, theirs = (inputs.of_directions("baselines")(at) for inputs in (one, other))
            assert mine == theirs
            assert one.trained_of_table(at) == other.trained_of_table(at)
    for result in ("table", "negative_control", "baselines", "features", "steerability"):
        for table in alone.tables:
            assert Readers(alone).of(table, result) == Readers(both).of(table, result)
    said, now = (Commands(made, "python").shell_words("build_head") for made in (alone, both))
    root = "" if both.is_painted("faces") else f"--root faces={both.root('faces')} "
    assert now.replace(f"--root model-second={second} ", "").replace(root, "") == said


def test_each_data_set_has_its_own_model_layers_and_label(tmp_path: Path) -> None:
    config = merged(DEFAULT, yaml.safe_load(TINY.read_text()))
    config["activations"]["layers"] = "all"
    config["jobs"]["layers_per_job"] = 3
    config["model"]["tiny"]["vision_layers"] = 4
    second = shape(tmp_path / "second", num_hidden_layers=3)
    config = with_second(config, source=str(second), dtype="bfloat16")
    made = outlined(config, tmp_path)
    assert made.blocks("celeba") == ["layers_00-02", "layers_03-03"]
    assert made.blocks("faces") == ["layers_00-02"]
    inputs, recipe = Inputs(made), Recipes(made)
    for dataset, model, dtype, label in (
        ("celeba", "model", "float32", "tiny-clip-for-tests"),
        ("faces", "second", "bfloat16", "SigLIP"),
    ):
        here = wildcards(dataset=dataset, split="test", part=0)
        assert inputs.model(here) == f"{REFS}/model/{model}.json"
        extracted = json.loads(recipe.of("extract_activations")(here))["config"]
        assert (extracted["layers"], extracted["model_dtype"]) == (made.layers(model), dtype)
        shown = json.loads(recipe.of("make_table")(here))["config"]
        assert (shown["model"], shown["source"]) == (label, "painted")
    # what does not depend on the model is the same work
    for step in ("paint_world", "paint_pairs", "build_manifest", "list_shards"):
        one, other = (
            json.loads(recipe.of(step)(wildcards(dataset=dataset, split="train")))
            for dataset in ("celeba", "faces")
        )
        assert one == other, step
    assert inputs.of_table("selection")(wildcards(dataset="faces")) == [
        f"{REFS}/faces/faces_topk/layers_00-02/selection.json"
    ]
    assert json.loads(recipe.of("import_clip")(wildcards(model="second")))["config"] == {
        "hub": None
    }
    trained = wildcards(dictionary="faces_topk", block="layers_00-02")
    assert made.block(trained) == [0, 1, 2]
    with pytest.raises(ClipsteerError, match="no such block of layers of the model second"):
        made.block(wildcards(dictionary="faces_topk", block="layers_03-03"))


def test_a_released_dictionary_is_held_against_its_own_model(tmp_path: Path) -> None:
    theirs = {"architecture": "imported", "hook_point": "resid_post", "source": "hub:who/{layer}"}
    config = with_second(DEFAULT, source="some/clip", layers=[0, 1])
    config["dictionaries"]["theirs"] = theirs | {"model": "second"}
    config["tables"]["faces"] = ["theirs"]
    recipe = Recipes(outlined(config, tmp_path)).of("import_dictionary")
    here = wildcards(dictionary="theirs", block="layers_00-01")
    found = json.loads(recipe(here))["config"]
    assert (found["release"]["model"], found["release"]["width"]) == ("some/clip", None)
    assert found["layers"] == [0, 1]
    shape(tmp_path / "some/clip", hidden_size=32)  # a folder of that name comes first
    recipe = Recipes(outlined(config, tmp_path)).of("import_dictionary")
    assert json.loads(recipe(here))["config"]["release"]["width"] == 32


def test_every_result_of_a_data_set_is_of_its_own_model(fresh: WorkingCopy) -> None:
    """A dry run of all that there is of a data set names no other model among its jobs' inputs."""
    whole = merged(DEFAULT, yaml.safe_load(TINY.read_text()))
    config = with_second(whole, source="who/clip", layers=[0, 1])
    config = merged(config, {"runtime": {"terminal": "full"}})
    del config["store"]
    # but those of grids, of which it has none
    wanted = [
        file.format(dataset="faces")
        for file in RESULTS
        if "{dataset}" in file and not re.search("_(sweep|pareto|stability)", file)
    ]
    outcome = fresh.run(*wanted, config=config, overlays=(), options=["--dry-run"]).ok()
    assert set(re.findall(rf"{REFS}/model/(\w+)\.json", outcome.text)) == {"second"}
    made = set(re.findall(r"^rule (\w+):", outcome.text, re.M))
    assert set(RULES) - made == {
        *("pretrain_clip", "best_per_layer", "drop_activations"),
        *("import_dictionary", "check_dictionary"),
        *("choose_dictionary", "sweep_table", "compare_dictionaries", "measure_recovery"),
        "stability_table",
        *("name_classes", "nearest_directions"),
        # of no data set of a table
        *("label_attacked", "list_attacked", "train_prefix", "build_class_heads"),
        *("train_projection", "tune_defences", "evaluate_defences"),
        *("train_patching", "tune_patching", "evaluate_patching"),
        *("typographic_table", "typographic_examples", "top_attacked", "typographic_top_images"),
    }


def test_what_is_shared_is_restored_and_the_rest_computed(
    real: WorkingCopy, tmp_path: Path
) -> None:
    """A finished run of one model is given a second; then the second one is the only one, under another name."""
    place = real.folder.parent
    twin, siglip = real.twin(tmp_path), make_model(tmp_path / "siglip", family="siglip")
    first = real_config(place / "clip", place / "celeba")
    whole = merged(DEFAULT, merged(yaml.safe_load(TINY.read_text()), first))
    both = with_second(whole, source=str(siglip), layers=[0, 1])
    both = {key: both[key] for key in ("models", "datasets", "dictionaries", "tables")}
    both = merged(first, both)
    pointers = twin.pointers()
    outcome = twin.run(TABLE, OTHER, config=both).ok()
    # manifest and three lists of shards are restored; imported, head, three shards, five steps of two layers, a table
    assert outcome.counts == (1 + 1 + 3 + 5 * 2 + 1, 1 + 3)
    assert {path: twin.pointers()[path] for path in pointers} == pointers
    shared = ["manifest", *(f"activations/{s}/shards" for s in ("train", "validation", "test"))]
    for file in (*shared, "head", "activations/test/part_0"):
        mine, other = (twin.members(f"{name}/{file}.json") for name in ("faces", "celeba"))
        assert (mine == other) == (file in shared), file
    tables = [pl.read_csv(twin.folder / name, infer_schema_length=None) for name in (TABLE, OTHER)]
    labels = [table["model"].unique().to_list() for table in tables]
    assert labels == [["random-clip"], ["SigLIP"]]
    run = clipsteer.open_run(twin.folder, store=twin.store)
    assert [run.model(name).cls for name in ("model", "second")] == [0, None]
    # the array of one layer lies within that of two
    both["models"]["second"]["layers"] = [1]
    assert twin.run(OTHER, config=both).ok().counts == (1, 3 + 5)
    narrow = pl.read_csv(twin.folder / OTHER, infer_schema_length=None)
    assert narrow.equals(tables[1].filter(pl.col("layer") == 1))
    # its name is in no key: as the section `model`, it gives the same table from the same work
    alone = merged(
        real_config(siglip, place / "celeba"),
        {
            "model": {"name": "SigLIP"},
            "activations": {"layers": [0, 1]},
            "tables": {"celeba": ["celeba_topk"]},
        },
    )
    assert twin.run(TABLE, config=alone).ok().counts == (1, 1 + 1 + 3 + 5 * 2)
    names = ["dataset", "dictionary", "trained_on"]
    again = pl.read_csv(twin.folder / TABLE, infer_schema_length=None)
    assert again.drop(names).equals(tables[1].drop(names))
