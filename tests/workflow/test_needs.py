"""What jobs ask of a cluster, by where they will run; tests/lineage/test_resources.py has how it grows with work."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipsteer.lineage.resources import Model, known_images
from clipsteer.workflow.needs import Needs
from clipsteer.workflow.recipes import Recipes
from clipsteer.workflow.sources import Sources
from tests.workflow.outlines import outline

TRAIN = {"dictionary": "topk", "block": "layers_00-02"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["snakemake"])


def needs(
    overridden: dict[str, Any] | None = None,
    for_all: dict[str, Any] | None = None,
    device: str = "auto",
) -> Needs:
    """Those of the default, with set-resources and default-resources."""
    made = outline({"runtime": {"device": device}}, Path.cwd())
    settings = SimpleNamespace(
        overwrite_resources=overridden or {}, default_resources=for_all or None
    )
    chains: Any = SimpleNamespace(current=Path.exists)
    workflow = SimpleNamespace(resource_settings=settings)
    return Needs(workflow, made, Sources(made, Recipes(made), scans=True), chains)


def job(step: str = "train_dictionary", **wildcards: str) -> Any:
    return SimpleNamespace(rule=SimpleNamespace(name=step), wildcards=wildcards or TRAIN)


def seconds(*, gpu: bool) -> float:
    config = outline().config
    model = Model(config, Path.cwd(), known_images(config, Path("nowhere")))
    return model.cost("train_dictionary", TRAIN, gpu=gpu).seconds


def test_a_retry_asks_for_twice_as_much() -> None:
    asked = needs().of("train_dictionary")
    assert set(asked) == {"mem_mb", "runtime", "disk_mb"}
    for name in ("mem_mb", "runtime"):
        first, second = (asked[name](TRAIN, attempt=attempt) for attempt in (1, 2))
        assert first < second <= 2 * first
    assert asked["disk_mb"](TRAIN) >= 1


def test_a_job_is_reckoned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = Model.cost

    def cost(self: Model, step: str, names: Any, *, gpu: bool) -> Any:
        asked.append(step)
        return real(self, step, names, gpu=gpu)

    monkeypatch.setattr(Model, "cost", cost)
    of = needs().of("train_dictionary")
    of["mem_mb"](TRAIN, attempt=1)
    of["runtime"](TRAIN, attempt=1)
    of["disk_mb"](TRAIN)
    assert asked == ["train_dictionary"]


@pytest.mark.parametrize(
    ("given", "gpu"),
    [
        ({}, False),
        ({"overridden": {"train_dictionary": {"gpu": 1}}}, True),
        ({"overridden": {"train_dictionary": {"gpu": SimpleNamespace(raw="1")}}}, True),
        ({"overridden": {"select_features": {"gpu": 1}}}, False),
        ({"for_all": {"gres": "gpu:a100:1"}}, True),
        ({"for_all": {"gpu": 1}, "overridden": {"train_dictionary": {"gpu": 0}}}, False),
        ({"overridden": {"train_dictionary": {"gpu": 1}}, "device": "cpu"}, False),
    ],
)
def test_a_job_is_as_fast_as_where_it_will_run(given: dict[str, Any], gpu: bool) -> None:
    assert seconds(gpu=True) != seconds(gpu=False)
    assert needs(**given).seconds(job()) == seconds(gpu=gpu)


@pytest.mark.parametrize(
    ("words", "device", "gpu"),
    [
        ([], "auto", True),  # as in profiles/slurm
        ([], "cpu", False),
        (["--workflow-profile", "mine"], "auto", False),
        (["--workflow-profile=mine"], "auto", False),
        (["--profile", "mine"], "auto", False),
    ],
)
def test_a_plan_takes_slurms_profile_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, words: list[str], device: str, gpu: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["snakemake", *words])
    found = needs(device=device).expected(job())
    assert found["gpu"] is gpu
    assert found["seconds"] == seconds(gpu=gpu)
    assert found["known"]
