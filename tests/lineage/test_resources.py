"""The model of what jobs take: what was measured of the embedded default, and how it scales."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.cli.budget_words import lines
from clipsteer.lineage.budget import Share, budget, total
from clipsteer.lineage.foreseen import DagJob, Forecast, PlannedAction, PlannedJob, Remade
from clipsteer.lineage.resources import (
    GPU_STEPS,
    Cost,
    Model,
    Sizes,
    asks_for_gpu,
    known_images,
)

BASE = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((BASE / "config.yaml").read_text(encoding="utf-8"))
JOB = {
    "dataset": "celeba",
    "split": "train",
    "part": "0",
    "dictionary": "celeba_topk",
    "block": "layers_00-02",
}


def model(**changes: Any) -> Model:
    """Of the default with some keys changed: `dictionaries__topk__training__k=3`."""
    config = copy.deepcopy(DEFAULT)
    for path, value in changes.items():
        *above, last = path.split("__")
        place = config
        for key in above:
            place = place[key]
        place[last] = value
    return Model(config, BASE, known_images(config, Path("nowhere")))


def cost(step: str, *, gpu: bool = False, **changes: Any) -> Cost:
    return model(**changes).cost(step, JOB, gpu=gpu)


# ---- against what was measured


def measured() -> list[list[str]]:
    """Rows of docs/performance.md, "What jobs take".

    Step, jobs, seconds and MB as measured and by the model, MB asked for.
    """
    page = (BASE / "docs/performance.md").read_text(encoding="utf-8")
    text = page.partition("\n## What jobs take\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if len(row) == 7 and row[1].isdigit()]


def test_the_table_in_the_docs_is_the_models() -> None:
    rows = measured()
    assert len(rows) >= 10
    for step, _, _, seconds, _, memory, asked in rows:
        found = cost(step)
        assert (seconds, memory) == (f"{found.seconds:.0f}", f"{found.memory_mb:.0f}"), step
        assert asked == str(found.request(1)[0]), step


def test_what_was_measured_fits_into_what_is_asked_for() -> None:
    for step, _, seconds, _, memory, *_ in measured():
        found = cost(step)
        asked_mb, minutes = found.request(1)
        assert float(memory) < asked_mb, step
        assert float(seconds) < 60 * minutes, step
        # neither far below nor, where it matters, far above
        assert 0.75 * float(memory) < found.memory_mb < 2 * float(memory), step
        if float(seconds) > 10:
            assert 0.5 * float(seconds) < found.seconds < 2 * float(seconds), step


# ---- how it scales


def test_each_retry_asks_for_twice_as_much() -> None:
    found = Cost(seconds=4000, memory_mb=3000)
    assert [found.request(attempt) for attempt in (1, 2, 3)] == [
        (4500, 200),
        (9000, 400),
        (18000, 800),
    ]
    assert Cost(1, 1).request(1) == (1000, 15)


def test_training_follows_tokens_and_features() -> None:
    here = cost("train_dictionary").seconds
    more = cost("train_dictionary", dictionaries__celeba_topk__training__epochs=40).seconds
    assert more / here == pytest.approx(10, rel=0.1)
    wide = cost("train_dictionary", dictionaries__celeba_topk__training__expansion=160)
    assert wide.seconds / here == pytest.approx(10, rel=0.1)
    # parameters, gradients, both means, checkpoints: ten matrices of 8 m d bytes
    assert wide.memory_mb > cost("train_dictionary").memory_mb + 10 * 8 * 15000 * 96 / 1e6
    assert cost("train_dictionary", runtime__threads=4).seconds < here / 3


def test_extraction_follows_images_and_parts() -> None:
    whole = cost("extract_activations")
    assert whole.disk_mb == pytest.approx(5000 * 6 * 17 * 96 * 2 / 1e6)
    one_of_ten = cost("extract_activations", jobs__extraction_parts=10)
    assert one_of_ten.disk_mb == pytest.approx(whole.disk_mb / 5)  # there are 5 shards
    both = cost("extract_activations", activations__hook_points=["resid_post", "mlp_out"])
    assert both.disk_mb == pytest.approx(whole.disk_mb * 2)


@pytest.mark.parametrize("parts", [1, 2, 4, 7, 60])
@pytest.mark.parametrize("size", [1000, 700, 9999])
def test_the_parts_of_an_extraction_together_are_the_whole(parts: int, size: int) -> None:
    found = model(jobs__extraction_parts=parts, activations__images_per_shard=size)
    costs = [found.cost("extract_activations", {**JOB, "part": str(i)}) for i in range(parts)]
    disk = sum(part.disk_mb for part in costs)
    assert disk == pytest.approx(cost("extract_activations").disk_mb)


@pytest.mark.parametrize(
    ("dtype", "token"), [("float32", 384), ("float16", 192), ("bfloat16", 192), ("int8", 100)]
)
def test_disk_follows_the_number_format(dtype: str, token: int) -> None:
    """Bytes of a token of 96 numbers; int8 has a scale of four bytes behind them."""
    found = cost("extract_activations", activations__dtype=dtype)
    assert found.disk_mb == pytest.approx(5000 * 6 * 17 * token / 1e6)


def test_a_gpu_is_faster_and_its_driver_takes_memory() -> None:
    on_cpu, on_gpu = cost("train_dictionary"), cost("train_dictionary", gpu=True)
    assert on_gpu.seconds < on_cpu.seconds / 3
    assert on_gpu.memory_mb > on_cpu.memory_mb + 2000


def test_steering_grows_with_features_images_and_the_layers_above() -> None:
    def seconds(block: str = "layers_00-02", **changes: Any) -> float:
        names = {**JOB, "block": block}
        return model(**changes).cost("measure_steerability", names).seconds

    base = {"steerability__features": 400, "steerability__curves": 1}
    few, many = seconds(**base), seconds(**base | {"steerability__features": 800})
    assert many > 1.8 * few - 10  # less what it takes to start
    assert seconds(**base, steerability__images=96) < 0.6 * few + 10
    assert seconds("layers_03-05", **base) < few / 2


def test_trying_sets_costs_what_lies_above_the_layer() -> None:
    """Behind the last layer nothing is resumed, so more pairs of tau and lambda cost next to nothing there."""

    def seconds(layer: int, points: int) -> float:
        block = f"layers_{layer:02d}-{layer:02d}"
        names = {"dataset": "signs_tuning", "dictionary": "signs_topk", "block": block}
        made = model(
            typographic__thresholds__points=points,
            jobs__layers_per_job=1,
            datasets__signs_tuning__evaluation={"validation": None, "test": None},
            datasets__signs_tuning__augment=0,
        )
        return made.cost("tune_defences", names).seconds

    assert seconds(3, 1200) == seconds(3, 12)
    first, second = (seconds(layer, 1200) - seconds(layer, 12) for layer in (0, 1))
    assert first == pytest.approx(1.5 * second)  # three layers above, or two


def test_every_step_has_a_cost() -> None:
    steps = {path.stem for path in (BASE / "workflow_scripts").glob("*.py")}
    for step in steps:
        found = cost(step)
        assert found.seconds > 0
        assert found.memory_mb > 100
    assert set(GPU_STEPS) < steps


def scanned(files: int, names: int = 0, watch: str = "files") -> Any:
    """What the scan of any folder has found."""
    return lambda dataset: {"files": files, "names": names, "watch": watch}


def listed(refs: Path, images: int) -> Path:
    """A manifest's pointer of celeba."""
    (refs / "celeba").mkdir(exist_ok=True)
    facts = {"members": {"all": {"facts": {"images_train": images}}}}
    (refs / "celeba/manifest.json").write_text(json.dumps(facts))
    return refs / "celeba/manifest.json"


def with_folders() -> Any:
    config = copy.deepcopy(DEFAULT)
    config["datasets"]["celeba"]["root"] = config["datasets"]["general"]["root"] = "data"
    return config


def test_images_come_from_the_config_where_it_paints(tmp_path: Path) -> None:
    images = known_images(DEFAULT, tmp_path)
    for dataset, split, number in (
        ("celeba", "train", 5000),
        ("celeba", "test", 2000),
        ("general", "validation", 990),
    ):
        found = images(dataset, split)
        assert (found.images, found.known, found.note) == (number, True, "")


def test_images_come_from_manifest_or_scan(tmp_path: Path) -> None:
    images = known_images(with_folders(), tmp_path, Path.exists, scanned(1000))
    assert [images("celeba", split).images for split in ("train", "test")] == [800, 200]
    assert [images("general", split).images for split in ("train", "test")] == [1000, 0]
    assert "of its 1,000 files, 4/5" in images("celeba", "train").note
    labels = scanned(files=3, names=997, watch="labels")  # the images count by their names
    assert (
        known_images(with_folders(), tmp_path, Path.exists, labels)("celeba", "train").images == 800
    )
    pointer = listed(tmp_path, 7)
    found = images("celeba", "train")
    assert (found.images, found.note) == (7, "")
    pointer.write_text("half")
    assert images("celeba", "train").images == 800


def test_a_manifest_of_another_configuration_is_not_believed(tmp_path: Path) -> None:
    pointer = listed(tmp_path, 7)
    asked: list[Path] = []

    def never(path: Path) -> bool:
        asked.append(path)
        return False

    images = known_images(with_folders(), tmp_path, never, scanned(1000))
    assert images("celeba", "train").images == 800
    assert asked == [pointer]


def test_what_nobody_knows_is_said_to_be_unknown(tmp_path: Path) -> None:
    config = with_folders()
    off = scanned(files=2, watch="off")
    found = Model(config, BASE, known_images(config, tmp_path, Path.exists, off))
    for step in ("extract_activations", "train_dictionary", "build_manifest", "pretrain_clip"):
        unknown = found.cost(step, JOB)
        assert not unknown.known
        missing = "general" if step == "pretrain_clip" else "celeba"
        assert f"datasets.{missing}" in unknown.notes[0]
        assert "raw.watch is off" in unknown.notes[0]
    # CelebA's size is asked for, not the least that there is
    assert found.cost("train_dictionary", JOB).seconds > 20 * cost("train_dictionary").seconds
    evaluated = found.cost("extract_activations", {**JOB, "split": "test"})
    assert (evaluated.known, evaluated.notes) == (True, ())  # the config says how many it draws
    assert found.cost("make_table", JOB).known


def test_each_model_has_costs_of_its_own(tmp_path: Path) -> None:
    """Half as many layers of twice the width: of the work of a layer and of the numbers to be stored."""
    shape = {"num_hidden_layers": 3, "hidden_size": 192, "image_size": 64, "patch_size": 16}
    content = {"model_type": "clip", "vision_config": shape}
    (tmp_path / "config.json").write_text(json.dumps(content))
    config = copy.deepcopy(DEFAULT)
    config["models"] = {"wide": {"label": "wide", "source": str(tmp_path)}}
    config["datasets"]["faces"] = {**config["datasets"]["celeba"], "model": "wide"}
    config["dictionaries"]["of_wide"] = {**config["dictionaries"]["topk"], "trained_on": "faces"}
    found = Model(config, BASE, known_images(config, Path("nowhere")))
    first, second = (
        Sizes(found, {**JOB, "dataset": name}, gpu=False) for name in ("celeba", "faces")
    )
    assert (first.model, second.model) == ("model", "wide")
    assert [sizes.vision for sizes in (first, second)] == [
        {"layers": 6, "width": 96, "tokens": 17, "pixels": 64},
        {"layers": 3, "width": 192, "tokens": 17, "pixels": 64},
    ]
    assert second.stored(10, 1) == 2 * first.stored(10, 1)
    assert (first.extracted, second.extracted) == (6, 3)
    trained = Sizes(found, {"dictionary": "of_wide", "block": "layers_00-02"}, gpu=False)
    assert (trained.model, trained.block) == ("wide", 3)
    assert Sizes(found, {"model": "wide"}, gpu=False).weights_mb == 2 * first.weights_mb


def test_a_model_of_the_hub_is_taken_for_the_papers() -> None:
    found = cost("train_dictionary", model__source="who/clip", activations__layers=[1, 2])
    assert found.known
    assert [note for note in found.notes if "who/clip" in note and "ViT-B/32" in note]
    assert cost("train_dictionary").notes == ()
    assert cost("build_manifest", model__source="who/clip", activations__layers=[1]).notes == ()


def test_a_released_dictionary_counts_with_its_true_size() -> None:
    """Of the paper's CLIP 302 MB a layer: on disk as it comes and in our form, in memory at most twice."""
    released = {"architecture": "imported", "hook_point": "resid_post", "source": "prisma:vanilla"}
    config = copy.deepcopy(DEFAULT)
    config["model"]["source"] = "who/clip"
    config["activations"]["layers"] = list(range(12))
    config["dictionaries"]["theirs"] = {**released, "trained_on": "imagenet"}
    found = Model(config, BASE, known_images(config, Path("nowhere")))
    names = {"dictionary": "theirs", "block": "layers_00-11"}
    file = 2 * 768 * 49_152 * 4 / 1e6
    assert file == pytest.approx(302, abs=0.5)
    cost = found.cost("import_dictionary", names)
    assert cost.disk_mb == pytest.approx(12 * 2 * file)
    idle = found.cost("fit_directions", {**JOB, "dictionary": "theirs"}).memory_mb
    assert 2 * file <= cost.memory_mb < 2 * file + idle


@pytest.mark.parametrize(
    ("resources", "has"),
    [
        ({}, False),
        ({"gpu": 1}, True),
        ({"gpu": "2"}, True),
        ({"gpu": 0}, False),
        ({"gpu": None}, False),
        ({"gres": "gpu:a100:1"}, True),
        ({"gres": "'gpu:1'"}, True),
        ({"gres": "lustre:1,gpu:1"}, True),
        ({"gres": "lustre:1"}, False),
        ({"slurm_partition": "gpu"}, False),
    ],
)
def test_a_profile_gives_a_gpu(resources: dict[str, Any], has: bool) -> None:
    assert asks_for_gpu(resources) is has


# ---- the budget


def planned(
    rule: str, *verdicts: Any, seconds: float = 60.0, gpu: bool = False, note: str = ""
) -> PlannedJob:
    """A job; with a `note` nobody knows its size."""
    expected = {
        "known": not note,
        "notes": [note] if note else [],
        "gpu": gpu,
        "seconds": seconds,
        "memory_mb": 10 * seconds,
        "requested_mb": 15 * seconds,
        "disk_mb": 5.0,
    }
    actions = [PlannedAction(rule, "celeba", "all", verdict) for verdict in verdicts]
    return PlannedJob(DagJob(rule, {}, "python x.py", True, {}, expected), actions)


def test_a_budget_counts_what_computes() -> None:
    found = Forecast(
        [
            planned("train_dictionary", "computed", "restored", gpu=True),
            planned("train_dictionary", "computed", seconds=7200, gpu=True),
            planned("train_dictionary", "restored", seconds=9999),
            planned("evaluate_dictionary", "pending"),
            planned("make_table", "fresh"),
        ]
    )
    shares = budget(found)
    assert shares == {
        "train_dictionary": Share(2, 0, 0.0, 7260.0, 72000.0, 108000.0, 10.0),
        "evaluate_dictionary": Share(1, 1, 60.0, 0.0, 600.0, 900.0, 5.0),
    }
    assert total(shares.values()) == Share(3, 1, 60.0, 7260.0, 72000.0, 108000.0, 15.0)


def test_a_budget_in_words(tmp_path: Path) -> None:
    found = Forecast([planned("train_dictionary", "pending", seconds=7200, gpu=True)])
    text = "\n".join(lines(budget(found), tmp_path / "not/yet/there"))
    assert re.search(r"train_dictionary +1 +72\.0 GB +108\.0 GB +- +2 h 00 min +5 MB", text)
    assert "1 job of these may turn out to be restored" in text
    assert "Disk at peak: 5 MB more than now" in text
    assert "free at" in text
    assert "GPU hours: 2.0." in text


def said(*jobs: PlannedJob, remade: Any = ()) -> str:
    return "\n".join(lines(budget(Forecast(list(jobs))), Path("nowhere"), remade))


def test_a_budget_of_unknown_size() -> None:
    extract = planned("extract_activations", "computed", gpu=True, note="mine: unknown")
    train = planned("train_dictionary", "computed", seconds=7200, gpu=True)
    text = said(extract, extract)
    row = r"extract_activations +2 +unknown +900 MB +- +unknown +unknown"
    assert re.search(row, text)
    assert text.count("Sizes: mine: unknown.") == 1
    assert "Disk at peak: unknown, at least 0 MB more than now" in text
    assert "GPU hours: unknown." in text
    text = said(extract, train, planned("make_table", "computed"))
    assert re.search(row.replace("2", "1"), text)
    assert re.search(
        r"all +3 +72\.0 GB or more +108\.0 GB +1 min 00 s +2 h 00 min or more +10 MB or more", text
    )
    assert "GPU hours: 2.0 or more." in text


def test_little_is_not_nothing_and_nothing_is_said() -> None:
    assert "GPU hours: 0.02." in said(planned("train_dictionary", "computed", gpu=True))
    assert "GPU hours: 0.0." in said(planned("make_table", "computed"))
    assert said(planned("make_table", "fresh")).startswith("Nothing would be computed")


def test_what_is_executed_again_is_not_counted_but_said() -> None:
    record = {"key": "k", "step": "extract", "run": {"seconds": 30.0}}
    text = said(planned("make_table", "computed"), remade=[Remade(record, "x", True, False)])
    assert "Not counted: 1 recorded action executed again for lost objects (30 s when" in text
