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
from clipsteer.lineage.foreseen import DagJob, Forecast, PlannedAction, PlannedJob
from clipsteer.lineage.resources import GPU_STEPS, Cost, Model, known_images

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
    """Rows of docs/cluster.md: step, jobs, seconds and MB as measured and by the model, MB asked for."""
    text = (BASE / "docs/cluster.md").read_text(encoding="utf-8")
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
    assert whole.disk_mb == pytest.approx(6000 * 6 * 17 * 96 * 2 / 1e6)
    part = cost("extract_activations", jobs__extraction_parts=10)
    assert part.disk_mb == pytest.approx(whole.disk_mb / 10)
    both = cost("extract_activations", activations__hook_points=["resid_post", "mlp_out"])
    assert both.disk_mb == pytest.approx(whole.disk_mb * 2)


@pytest.mark.parametrize(
    ("dtype", "token"), [("float32", 384), ("float16", 192), ("bfloat16", 192), ("int8", 100)]
)
def test_disk_follows_the_number_format(dtype: str, token: int) -> None:
    """Bytes of a token of 96 numbers; int8 has a scale of four bytes behind them."""
    found = cost("extract_activations", activations__dtype=dtype)
    assert found.disk_mb == pytest.approx(6000 * 6 * 17 * token / 1e6)


def test_a_gpu_is_faster_and_its_driver_takes_memory() -> None:
    on_cpu, on_gpu = cost("train_dictionary"), cost("train_dictionary", gpu=True)
    assert on_gpu.seconds < on_cpu.seconds / 3
    assert on_gpu.memory_mb > on_cpu.memory_mb + 2000


def test_every_step_has_a_cost() -> None:
    steps = {path.stem for path in (BASE / "workflow_scripts").glob("*.py")}
    for step in steps:
        found = cost(step)
        assert found.seconds > 0
        assert found.memory_mb > 100
    assert set(GPU_STEPS) < steps


def test_images_come_from_manifest_or_scan(tmp_path: Path) -> None:
    config = copy.deepcopy(DEFAULT)
    images = known_images(config, tmp_path)
    assert images("celeba", "train") == 6000
    assert images("celeba", "test") == 2000
    assert images("general", "validation") == 0
    config["datasets"]["celeba"]["root"] = config["datasets"]["general"]["root"] = "data"
    assert images("celeba", "train") == 0
    (tmp_path / "raw").mkdir()
    for name in ("celeba", "general"):
        (tmp_path / f"raw/{name}.json").write_text(json.dumps({"files": 1000}))
    assert (images("celeba", "train"), images("celeba", "test")) == (800, 200)
    assert (images("general", "train"), images("general", "test")) == (1000, 0)
    (tmp_path / "celeba").mkdir()
    facts = {"members": {"all": {"facts": {"images_train": 7}}}}
    (tmp_path / "celeba/manifest.json").write_text(json.dumps(facts))
    assert images("celeba", "train") == 7
    (tmp_path / "celeba/manifest.json").write_text("half")
    assert images("celeba", "train") == 800


# ---- the budget


def planned(rule: str, *verdicts: Any, seconds: float = 60.0, gpu: bool = False) -> PlannedJob:
    expected = {
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
