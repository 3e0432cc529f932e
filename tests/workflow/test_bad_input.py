"""Bad input through the whole workflow: one clear message, and nothing half-written."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

from tests.backbones.tiny import make_tiny
from tests.data.small_trees import celeba_text, face_name, write
from tests.workflow.real_trees import FACES, celeba_tree, photo, real_config
from tests.workflow.runs import BASE, TINY, Outcome, WorkingCopy, merged, nested

REFS = "artifacts/refs"
MANIFEST = f"{REFS}/celeba/manifest.json"
TRAIN = f"{REFS}/celeba/activations/train/part_0.json"
MODEL = f"{REFS}/model/model.json"


def nothing_done(copy: WorkingCopy, target: str, step: str | None = None) -> None:
    """No pointer, no table, no action of the step, no half-written file."""
    assert not (copy.folder / target).exists()
    assert copy.results() == []
    assert copy.leftovers() == []
    if step is None:
        assert not (copy.store / "actions").exists(), "a run that could not be planned has acted"
    else:
        assert step not in copy.steps()


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    return celeba_tree(tmp_path / "celeba")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("model") / "clip")


# ------------------------------------------------------------------------- found before the DAG


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steering.agregate", "max", ("steering.agregate: unknown key", "Did you mean aggregate?")),
        ("activations.layers", [0, 3], ("activations.layers: layer 3 is out of range", "0 to 2")),
        (
            "dictionaries.topk.training.k",
            129,
            ("dictionaries.topk.training.k: found 129", "m = expansion * d = 128"),
        ),
        ("seed", 1.5, ("seed: found 1.5", "expected a whole number")),
    ],
)
def test_faults_of_the_configuration(
    fresh: WorkingCopy, key: str, value: object, message: tuple[str, ...]
) -> None:
    fresh.run(config=nested(key, value)).refused(*message)
    nothing_done(fresh, "results/celeba_table.csv")


def test_a_key_that_stands_twice(fresh: WorkingCopy, tmp_path: Path) -> None:
    """In an overlay, and in config.yaml itself: nothing runs."""
    mine = write(tmp_path / "mine.json", '{"steering": {"random_seeds": 7, "random_seeds": 1}}')
    outcome = fresh.run(overlays=(TINY, mine))
    outcome.refused("mine.json: steering.random_seeds stands twice, in line 1")
    nothing_done(fresh, "results/celeba_table.csv")
    config = fresh.folder / "config.yaml"
    lines = config.read_text().splitlines()
    config.write_text("\n".join([*lines, "jobs: {}"]))
    first = lines.index(next(line for line in lines if line.startswith("jobs:"))) + 1
    outcome = fresh.run()
    outcome.refused(f"config.yaml: jobs stands twice, in lines {first} and {len(lines) + 1}")
    nothing_done(fresh, "results/celeba_table.csv")


def test_a_config_that_is_no_yaml(fresh: WorkingCopy) -> None:
    (fresh.folder / "config.yaml").write_text("seed: 0\nruntime:\n\tdevice: cpu\n")
    fresh.run().refused("config.yaml, line 3: found a tab")
    nothing_done(fresh, "results/celeba_table.csv")


def test_paper_configuration_without_data_and_weights(fresh: WorkingCopy) -> None:
    """What to put where, for the model and for all data sets, in one go."""
    overlays = (BASE / "config/paper.yaml",)
    outcome = fresh.run("results/celeba_table.csv", overlays=overlays)
    wanted = yaml.safe_load(overlays[0].read_text())
    outcome.refused("model.source", wanted["model"]["source"], "model.safetensors")
    outcome.refused("datasets.celeba.root", "data/celeba")
    outcome.refused("datasets.waterbirds.root", "data/waterbirds")
    outcome.refused("datasets.general.root", "data/imagenet")
    assert "list_attr_celeba.txt" in outcome.text
    assert "metadata.csv" in outcome.text
    assert "train/<wnid>/" in outcome.text
    nothing_done(fresh, "results/celeba_table.csv")


@pytest.mark.parametrize(
    "content",
    [
        {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2},
        {"model_type": "clip_text_model", "hidden_size": 8, "num_hidden_layers": 2},
    ],
    ids=["bert", "text tower"],
)
def test_model_without_a_vision_tower(
    fresh: WorkingCopy, tmp_path: Path, content: dict[str, Any]
) -> None:
    write(tmp_path / "text/config.json", json.dumps(content))
    config = nested("model.source", str(tmp_path / "text"))
    fresh.run(config=config).refused("model.source", "config.json", "vision tower")
    nothing_done(fresh, "results/celeba_table.csv")


def test_a_buffer_too_small_for_the_model(fresh: WorkingCopy, celeba: Path, tmp_path: Path) -> None:
    """With the dictionary's name and the size that works, before the weights are even looked at."""
    shape = {"num_hidden_layers": 2, "hidden_size": 64, "image_size": 336, "patch_size": 14}
    write(tmp_path / "clip/config.json", json.dumps({"model_type": "clip", "vision_config": shape}))
    config = merged(real_config(tmp_path / "clip", celeba), nested("tables.waterbirds", []))
    outcome = fresh.run(config=config)
    outcome.refused("dictionaries.celeba_topk.training.buffer_mb: found 1", "at least 2 (1772544")
    nothing_done(fresh, "results/celeba_table.csv")


def test_a_warm_up_longer_than_the_training(fresh: WorkingCopy, celeba: Path, model: Path) -> None:
    """Warned of at once where images are counted in the config; by the job that trains where they are not."""
    options = {"topk": {"training": {"warmup_steps": 21, "dead_window": 21}}}
    outcome = fresh.run(config={"dictionaries": options}, options=["--dry-run"]).ok()
    for key in ("warmup_steps", "dead_window"):
        told = [line for line in outcome.text.splitlines() if key in line]
        assert len(told) == 1
        assert told[0].startswith(f"clipsteer: warning: dictionaries.topk.training.{key}: 21, but")
    longer = nested("dictionaries.celeba_topk.training.warmup_steps", 300)
    config = merged(
        merged(real_config(model, celeba), longer), nested("activations.layers", [0, 1])
    )
    target = f"{REFS}/dictionaries/celeba_topk/layers_00-01.json"
    assert "warning" not in fresh.run(target, config=config, options=["--dry-run"]).ok().text
    fresh.run(target, config=config).ok()
    log = (fresh.folder / "logs/train_dictionary/celeba_topk_layers_00-01.log").read_text()
    assert log.count("warning: dictionaries.celeba_topk.training.warmup_steps: 300, but") == 1


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 605156676\n"


def test_files_of_a_model_that_git_lfs_has_not_fetched(
    fresh: WorkingCopy, celeba: Path, tmp_path: Path
) -> None:
    """Each is named with the user's folder before anything runs; also a config.json that is one."""
    clip = make_tiny(tmp_path / "clip")
    for name in ("model.safetensors", "tokenizer.json"):
        write(clip / name, LFS)
    outcome = fresh.run("results/celeba_table.csv", config=real_config(clip, celeba))
    for name in ("model.safetensors", "tokenizer.json"):
        outcome.refused(f"model.source: {clip / name}", "a Git LFS pointer", "git lfs pull")
    write(clip / "config.json", LFS)
    outcome = fresh.run("results/celeba_table.csv", config=real_config(clip, celeba))
    outcome.refused(f"model.source: {clip}/config.json", "a Git LFS pointer", "git lfs pull")
    nothing_done(fresh, "results/celeba_table.csv")


def test_folder_that_is_not_there(fresh: WorkingCopy) -> None:
    config = nested("datasets.celeba.root", "data/celebaa")
    outcome = fresh.run("results/celeba_table.csv", config=config)
    outcome.refused("datasets.celeba.root", "data/celebaa")
    assert "list_attr_celeba.txt" in outcome.text
    nothing_done(fresh, "results/celeba_table.csv")


@pytest.mark.parametrize("found", ["nothing", "other files"])
def test_a_folder_without_the_data_set(
    fresh: WorkingCopy, model: Path, tmp_path: Path, found: str
) -> None:
    """The job's own sentence names the key and the folder, too."""
    (root := tmp_path / "empty").mkdir()
    if found != "nothing":
        write(root / "readme.txt", "x")
    outcome = fresh.run("results/celeba_table.csv", config=real_config(model, root))
    outcome.refused(f"datasets.celeba.root {root}: the data set's folder has no list_attr_celeba")


def test_names_that_belong_to_other_attributes(fresh: WorkingCopy, celeba: Path) -> None:
    dataset = {"root": str(celeba), "options": {"target": "Blond_Hair", "spurious": "Male"}}
    outcome = fresh.run(MANIFEST, config={"datasets": {"celeba": dataset}}, cores=1)
    outcome.refused("datasets.celeba.class_names", "found woman, man", "target Blond_Hair")
    outcome.refused("datasets.celeba.group_names", "2 * target + spurious")
    nothing_done(fresh, MANIFEST)


def test_an_unknown_option_is_found_before_the_folder_is_looked_at(
    fresh: WorkingCopy, tmp_path: Path
) -> None:
    write(tmp_path / "mine/manifest.csv", "path,split\n")
    own = folder_dataset(
        {"root": str(tmp_path / "mine"), "layout": "folder", "options": {"manifst": "manifest.csv"}}
    )
    outcome = fresh.run(f"{REFS}/mine/manifest.json", config=own, cores=1)
    outcome.refused("datasets.mine.options.manifst", "Did you mean manifest?")
    assert "looking at" not in outcome.text
    assert not (fresh.folder / ".snakemake/clipsteer/scan-mine").exists()
    nothing_done(fresh, f"{REFS}/mine/manifest.json")


# --------------------------------------------------------------------------- found in the data


def manifest_of(copy: WorkingCopy, dataset: dict[str, Any]) -> Outcome:
    outcome = copy.run(MANIFEST, config={"datasets": {"celeba": dataset}}, cores=1)
    nothing_done(copy, MANIFEST, "build_manifest")
    return outcome


def test_missing_image(fresh: WorkingCopy, celeba: Path) -> None:
    (celeba / "img_align_celeba/000003.jpg").unlink()
    outcome = manifest_of(fresh, {"root": str(celeba)})
    outcome.refused("build_manifest", "img_align_celeba/000003.jpg", "missing")


@pytest.mark.parametrize("archive", ["img_align_celeba.zip", "img_align_celeba_png.7z.001"])
def test_images_still_in_their_archive(fresh: WorkingCopy, celeba: Path, archive: str) -> None:
    for image in (celeba / "img_align_celeba").iterdir():
        image.unlink()
    write(celeba / archive, "PK")
    outcome = manifest_of(fresh, {"root": str(celeba)})
    outcome.refused("36 of 36 listed images are missing", f"holds {archive!r}: unpack")
    assert "'drop'" not in outcome.text


def test_unknown_attribute(fresh: WorkingCopy, celeba: Path) -> None:
    outcome = manifest_of(fresh, {"root": str(celeba), "options": {"target": "Mael"}})
    outcome.refused("list_attr_celeba.txt", "no attribute 'Mael'", "Did you mean Male?")


def test_split_that_lacks_a_group(fresh: WorkingCopy, celeba: Path) -> None:
    faces = [(s, m, 0 if s == 1 and m == 1 else b) for s, m, b in FACES]
    write(celeba / "list_attr_celeba.txt", celeba_text(faces)[0])
    outcome = manifest_of(fresh, {"root": str(celeba)})
    outcome.refused("split 'validation'", "lacks group 3 (target 1, spurious 1)")


def test_group_too_small_for_the_evaluation(fresh: WorkingCopy, celeba: Path) -> None:
    sizes = {"validation": 2, "test": 4}
    outcome = manifest_of(fresh, {"root": str(celeba), "evaluation": sizes})
    outcome.refused("split 'test' has 3 images of group 0", "asks for 4")


def test_path_that_leaves_the_folder(fresh: WorkingCopy, tmp_path: Path) -> None:
    write(tmp_path / "secret.jpg", photo("plain", 0))
    root = tmp_path / "mine"
    write(root / "a.jpg", photo("plain", 1))
    rows = "a.jpg,train,0,0\n../secret.jpg,train,0,1\n"
    write(root / "manifest.csv", f"path,split,target,spurious\n{rows}")
    own = folder_dataset({"root": str(root), "layout": "folder"})
    target = f"{REFS}/mine/manifest.json"
    outcome = fresh.run(target, config=own, cores=1)
    outcome.refused("manifest.csv", "row 2", "'../secret.jpg'")
    nothing_done(fresh, target, "build_manifest")


def test_a_spurious_value_that_no_image_has(fresh: WorkingCopy, tmp_path: Path) -> None:
    """Before anything is extracted or trained: six group names allow for it, the manifest does not."""
    root = tmp_path / "mine"
    rows = []
    for number, split in enumerate(("train", "val", "test")):
        for target, spurious in ((0, 0), (0, 2), (1, 0), (1, 2)):
            name = f"{split}{target}{spurious}.jpg"
            write(root / name, photo("plain", 10 * number + 3 * target + spurious))
            rows.append(f"{name},{split},{target},{spurious}\n")
    write(root / "manifest.csv", "path,split,target,spurious\n" + "".join(rows))
    own = folder_dataset({"root": str(root), "layout": "folder"})
    own["datasets"]["mine"]["group_names"] = ["a", "b", "c", "d", "e", "f"]
    target_file = f"{REFS}/mine/manifest.json"
    outcome = fresh.run(target_file, config=own, cores=1)
    outcome.refused(
        "datasets.mine.attribute_value", "steering.attribute_value", "found 1", "(0, 2)"
    )
    nothing_done(fresh, target_file, "build_manifest")


def folder_dataset(settings: dict[str, Any]) -> dict[str, Any]:
    """A data set of the user's own, with a table."""
    return {
        "datasets": {
            "mine": {
                **settings,
                "class_names": ["cat", "dog"],
                "group_names": ["a", "b", "c", "d"],
                "templates": ["a photo of a {}."],
                "evaluation": {"validation": None, "test": None},
                "augment": 0,
            }
        },
        "tables": {"mine": ["topk", "neurons"]},
    }


# -------------------------------------------------------------------------- found while computing


def test_truncated_jpeg(fresh: WorkingCopy, celeba: Path, model: Path) -> None:
    victim = celeba / "img_align_celeba" / face_name(6)
    victim.write_bytes(victim.read_bytes()[:-200])
    outcome = fresh.run(TRAIN, config=real_config(model, celeba))
    outcome.refused("extract_activations", "000007.jpg", "cut short")
    nothing_done(fresh, TRAIN, "extract_activations")


def test_nan_in_the_activations(
    fresh: WorkingCopy, celeba: Path, model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["vision_model.encoder.layers.1.mlp.fc2.bias"][3] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    outcome = fresh.run(TRAIN, config=real_config(broken, celeba))
    outcome.refused("extract_activations", "image 0", "NaN in resid_post of layer 1")
    nothing_done(fresh, TRAIN, "extract_activations")


def test_weights_of_another_model_are_named_with_the_users_folder(
    fresh: WorkingCopy, celeba: Path, tmp_path: Path
) -> None:
    """What only loading them shows is said of the folder in the config, not of links to it."""
    clip = make_tiny(tmp_path / "clip")
    config = json.loads((clip / "config.json").read_text())
    config["vision_config"]["intermediate_size"] = 48
    write(clip / "config.json", json.dumps(config))
    outcome = fresh.run(TRAIN, config=real_config(clip, celeba))
    outcome.refused("extract_activations", f"{clip}: model.safetensors has", "expected (48,)")
    assert "/scratch/" not in outcome.text
    nothing_done(fresh, TRAIN, "extract_activations")


# ------------------------------------------------------------------------------------- a full disk


def test_file_size_limit(fresh: WorkingCopy, celeba: Path, tmp_path: Path) -> None:
    """Files larger than any may be; without the limit the same command goes on."""
    limited = 'ulimit -f 32; exec "$@"'  # KiB
    # many tokens an image, so that a shard is larger than all that Snakemake itself writes
    config = real_config(make_tiny(tmp_path / "clip", image_size=224), celeba)
    config = merged(config, nested("tables.waterbirds", []))  # its buffer is for small pictures
    outcome = fresh.run(MODEL, config=config, script=limited)
    outcome.refused(str(fresh.store), "size limit", "store.root")
    nothing_done(fresh, MODEL, "import_clip")
    assert fresh.run(MODEL, MANIFEST, config=config).ok().counts == (2, 0)

    # Zarr writes its shards through a library of its own, into the scratch folder
    outcome = fresh.run(TRAIN, config=config, script=limited)
    outcome.refused("extract_activations", str(fresh.store), "store.root")
    nothing_done(fresh, TRAIN, "extract_activations")


def can_mount() -> bool:
    mount = "mount -t tmpfs -o size=64k none /tmp"
    found = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False)
    return found.returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no tmpfs can be mounted here")
def test_full_disk(fresh: WorkingCopy, celeba: Path, model: Path) -> None:
    """A store on a disk of 128 KiB, mounted for this run only."""
    fresh.store.mkdir()
    inner = f"""
        mount -t tmpfs -o size=128k none {fresh.store} || exit 77
        "$@"
        code=$?
        find {fresh.store} -type f
        exit $code
    """
    script = f'exec unshare -rm bash -c {shlex.quote(inner)} bash "$@"'
    outcome = fresh.run(MODEL, config=real_config(model, celeba), script=script)
    outcome.refused(str(fresh.store), "the disk is full", "store.root")
    listed = [line for line in outcome.text.splitlines() if line.startswith(str(fresh.store))]
    kinds = {Path(line).relative_to(fresh.store).parts[0] for line in listed}
    assert "clipsteer-store.json" in kinds, outcome.text
    assert not kinds & {"actions", "tmp", "scratch"}
    assert not (fresh.folder / MODEL).exists()


@pytest.mark.parametrize(
    "target",
    [
        "nobody/manifest.json",
        "dictionaries/topk/layers_00-07.json",
        "dictionaries/neurons/layers_00-02.json",  # nothing is trained
        "celeba/nothing/layers_00-02/ablation.json",
        "celeba/activations/test/part_1.json",
    ],
)
def test_a_pointer_that_the_configuration_does_not_have(fresh: WorkingCopy, target: str) -> None:
    outcome = fresh.run(f"artifacts/refs/{target}", options=["--dry-run"])
    outcome.refused(f"No rule to produce artifacts/refs/{target}")
