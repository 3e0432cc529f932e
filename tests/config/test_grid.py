"""A dictionary's grid: which dictionaries it stands for, what they are called, and what is said against one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.config.check import validate
from clipsteer.config.grid import in_words, points, size, swept
from clipsteer.errors import ClipsteerError
from clipsteer.sections.dictionaries import Grid, Training
from tests.workflow.runs import merged

BASE = Path(__file__).parents[2]
CONFIG = yaml.safe_load((BASE / "config.yaml").read_text(encoding="utf-8"))
OWN = CONFIG["dictionaries"]["vanilla"]["training"]


def with_grid(grid: dict[str, Any], name: str = "vanilla", **others: Any) -> dict[str, Any]:
    """The default with a grid of one dictionary, and other keys of the whole configuration."""
    config = json.loads(json.dumps(CONFIG))
    config["dictionaries"][name]["grid"] = grid
    return validate({**config, **others}, BASE)


def refused(grid: dict[str, Any], name: str = "vanilla", **others: Any) -> str:
    with pytest.raises(ClipsteerError) as caught:
        with_grid(grid, name, **others)
    return str(caught.value)


def test_a_grid_lists_any_key_of_training_and_seeds() -> None:
    assert set(Grid.model_fields) == {*Training.model_fields, "seed"}


def test_every_combination_is_an_ordinary_dictionary() -> None:
    config = with_grid({"l1": [1e-3, OWN["l1"]], "lr": [1e-3, OWN["lr"], 1e-2], "seed": [0, 7]})
    found = points(config, "vanilla")
    assert size(config["dictionaries"]["vanilla"]) == len(found) == 12
    # a plain loop: the dictionary's own settings, with these in their places
    expected = [
        {**OWN, "l1": l1, "lr": lr, "seed": seed}
        for l1, lr, seed in itertools.product([1e-3, OWN["l1"]], [1e-3, OWN["lr"], 1e-2], [0, 7])
    ]
    told = [{**p["training"], "seed": p.get("seed", config["seed"])} for p in found.values()]
    assert told == expected
    for name, settings in found.items():
        if name == "vanilla":
            continue
        assert config["dictionaries"][name] == settings
        assert settings.keys() - {"seed"} == CONFIG["dictionaries"]["vanilla"].keys()
    assert list(found).count("vanilla") == 1
    assert swept(config, "vanilla") == ["l1", "lr", "seed"]
    assert in_words(config, "vanilla", found["vanilla"]) == "l1 0.01, lr 0.003, seed 0"


def test_spellings_of_a_number_are_one_point() -> None:
    one = points(with_grid({"lr": [1e-5]}), "vanilla")
    assert points(with_grid({"lr": ["1e-5", "1.0e-5", 0.00001, "0.00001"]}), "vanilla") == one
    assert points(with_grid({"l1": [1]}), "vanilla") == points(with_grid({"l1": [1.0]}), "vanilla")


VALUES = st.lists(st.sampled_from([1e-4, 1e-3, 3e-3, 1e-2]), min_size=1, max_size=6)


@given(lr=VALUES, seed=st.lists(st.integers(0, 3), min_size=1, max_size=4), data=st.data())
def test_a_point_is_called_the_same_whatever_else_the_grid_lists_in_whichever_order(
    lr: list[float], seed: list[int], data: st.DataObject
) -> None:
    base = {**CONFIG["dictionaries"]["vanilla"]}

    def named(grid: dict[str, Any]) -> dict[str, Any]:
        return points({"seed": 0, "dictionaries": {"vanilla": {**base, "grid": grid}}}, "vanilla")

    found = named({"lr": lr, "seed": seed})
    shuffled = {"lr": data.draw(st.permutations(lr)), "seed": data.draw(st.permutations(seed))}
    assert list(named(shuffled).items()) == list(found.items())
    assert len(found) == len(set(lr)) * len(set(seed))
    assert named({"lr": [*lr, 0.5], "seed": seed}).items() >= found.items()


def test_the_runs_own_seed_is_no_other_dictionary() -> None:
    config = with_grid({"seed": [0, 1]}, seed=1)
    (first, zero), (second, one) = points(config, "vanilla").items()
    assert (first[:9], second) == ("vanilla_g", "vanilla")
    assert zero["seed"] == 0
    assert "seed" not in one
    assert points(with_grid({"seed": [1]}, seed=1), "vanilla").keys() == {"vanilla"}


def test_without_a_grid_nothing_is_added() -> None:
    plain = validate(json.loads(json.dumps(CONFIG)), BASE)
    assert plain["dictionaries"].keys() == CONFIG["dictionaries"].keys()
    assert with_grid({})["dictionaries"].keys() == CONFIG["dictionaries"].keys()
    unused = {"tables": {**CONFIG["tables"], "celeba": ["topk"], "waterbirds": ["topk"]}}
    added = with_grid({"lr": [0.1, 0.2]}, **unused)["dictionaries"]
    assert added.keys() == CONFIG["dictionaries"].keys()


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"learning": [1]}, "dictionaries.vanilla.grid.learning: unknown key; allowed here: expansion"),
        ({"batchsize": [1]}, "Did you mean batch_size?"),
        ({"lr": 0.1}, "dictionaries.vanilla.grid.lr: found 0.1, expected a list."),
        ({"lr": []}, "dictionaries.vanilla.grid.lr: found [], expected at least 1 of them."),
        ({"lr": [0.1, "fast"]}, "dictionaries.vanilla.grid.lr.1: found 'fast', expected a number."),
        ({"lr": [0]}, "dictionaries.vanilla.grid.lr.0: found 0.0, expected more than 0."),
        ({"seed": [-1]}, "dictionaries.vanilla.grid.seed.0: found -1, expected at least 0."),
        ({"mse": ["sums"]}, "Did you mean sum?"),
        (
            {"k": [4], "lr": [1, 2]},
            "dictionaries.vanilla.grid (lr 1.0), training.k: has no effect on vanilla; remove it.",
        ),
        (
            {"batch_size": [1024, 10**9]},
            "dictionaries.vanilla.grid (batch_size 1000000000), training.batch_size: found 1000000000,",
        ),
    ],
)  # fmt: skip
def test_each_fault_names_the_grid_and_the_point(grid: dict[str, Any], said: str) -> None:
    assert said in refused(grid)


def test_a_fault_of_many_points_is_told_once() -> None:
    assert "has 1 fault:" in refused({"k": [4], "lr": [1, 2, 3]})
    text = refused({"k": [2, 5000], "lr": [0.1, 0.2]}, "topk")
    assert "has 1 fault:" in text
    assert (
        "dictionaries.topk.grid (k 5000, lr 0.1), training.k: found 5000, but the dictionary"
        in text
    )


def test_a_large_grid_is_refused_by_its_number() -> None:
    values = [i + 1 for i in range(50)]
    text = refused({"lr": values, "l1": values, "seed": values})
    assert (
        "found 125,000 combinations, 750,000 dictionaries for 6 layers, expected at most 64" in text
    )
    assert "sweep.max_points" in text
    few: Callable[..., Any] = with_grid
    assert few({"lr": [1, 2, 3]}, sweep={"max_points": 3})
    assert "found 3 combinations, 18 dictionaries" in refused(
        {"lr": [1, 2, 3]}, sweep={"max_points": 2}
    )


@pytest.mark.parametrize("key", ["seed", "grid"])
def test_what_is_not_trained_has_neither_grid_nor_seed(key: str) -> None:
    config = json.loads(json.dumps(CONFIG))
    config["dictionaries"]["neurons"][key] = 3 if key == "seed" else {"seed": [1]}
    released = {"architecture": "imported", "hook_point": "resid_post", "source": "prisma:vanilla"}
    config["dictionaries"]["theirs"] = {**released, key: config["dictionaries"]["neurons"][key]}
    config["tables"]["celeba"] += ["theirs"]
    with pytest.raises(ClipsteerError) as caught:
        validate(config, BASE)
    assert f"dictionaries.neurons.{key}: has no effect, the neuron basis is not" in str(
        caught.value
    )
    assert f"dictionaries.theirs.{key}: has no effect, a released" in str(caught.value)


def test_a_name_that_a_point_has_is_taken() -> None:
    point = next(iter(points(with_grid({"lr": [0.1]}), "vanilla")))
    config = json.loads(json.dumps(CONFIG))
    config["dictionaries"]["vanilla"]["grid"] = {"lr": [0.1]}
    config["dictionaries"][point] = CONFIG["dictionaries"]["neurons"]
    with pytest.raises(ClipsteerError, match=f"dictionaries.{point}: is what a point of"):
        validate(config, BASE)


def test_the_papers_sweep_has_its_grid_for_every_kind_of_dictionary(tmp_path: Path) -> None:
    config: dict[str, Any] = {}
    for name in ("config.yaml", "config/paper.yaml", "config/paper_sweep.yaml"):
        config = merged(config, yaml.safe_load((BASE / name).read_text(encoding="utf-8")))
    for dataset in config["datasets"].values():
        (tmp_path / dataset["root"]).mkdir(parents=True, exist_ok=True)
    model = tmp_path / config["model"]["source"]
    model.mkdir(parents=True)
    shape = {"num_hidden_layers": 12, "hidden_size": 768}
    (model / "config.json").write_text(
        json.dumps({"model_type": "clip", "vision_config": shape}), encoding="utf-8"
    )
    found = validate(config, tmp_path)
    kinds: dict[tuple[str, str], set[tuple[float, float]]] = {}
    for name in config["dictionaries"]:
        for point in points(found, name).values():
            kind = (point["architecture"], point["trained_on"])
            rates = (
                point["training"]["lr"],
                point["training"].get("l1", point["training"].get("k")),
            )
            kinds.setdefault(kind, set()).add(rates)
            assert point["training"]["expansion"] == 64
    rates = [10.0**power for power in range(-5, 0)]
    swept_by = {"vanilla": [10.0**power for power in range(-12, 1)], "topk": [64, 128, 256]}
    assert kinds == {
        (architecture, dataset): {*itertools.product(rates, others)}
        for architecture, others in swept_by.items()
        for dataset in ("general", "celeba", "waterbirds")
    }
