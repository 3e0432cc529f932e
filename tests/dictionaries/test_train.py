"""Training as a whole: it learns, it is reproducible, it complains."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.state import TrainState
from clipsteer.dictionaries.train import LOG_SCHEMA, Data, train
from clipsteer.errors import ClipsteerError
from clipsteer.snapshots import Snapshots
from tests.dictionaries import helpers

D = 16
ATOMS = helpers.unit_rows(32, D, seed=1)
SAMPLE = next(helpers.planted(ATOMS, batch=500, active=2, seed=6))
CONFIG: dict[str, Any] = {"expansion": 4, "lr": 3e-3, "warmup_steps": 10, "dead_window": 20}
KINDS: dict[str, dict[str, Any]] = {"vanilla": {"l1": 2e-4}, "topk": {"k": 4}}


def run(
    kind: str, steps: int = 40, batch: int = 256, **more: Any
) -> tuple[Dictionary, pl.DataFrame]:
    """Train on planted mixtures of `ATOMS`."""
    architecture = more.pop("architecture", kind)
    config = {"architecture": architecture, **CONFIG, **KINDS[kind], **more.pop("config", {})}

    def batches(done: int) -> Generator[NDArray[np.float32], None, None]:
        return helpers.planted(ATOMS, batch=batch, active=2, seed=5)

    data = Data(more.pop("batches", batches), more.pop("sample", lambda: SAMPLE))
    snapshots = Snapshots(more.pop("resume", None), more.pop("offer", None))
    return train(data, config, steps=steps, **({"seed": 7} | more), snapshots=snapshots)


@pytest.mark.parametrize(
    ("kind", "steps", "config"),
    [("vanilla", 1200, {"l1": 0.02, "lr": 0.01}), ("topk", 600, {"k": 2})],
)
def test_planted_atoms_are_recovered(kind: str, steps: int, config: dict[str, Any]) -> None:
    def recovered(dictionary: Dictionary) -> float:
        cosines = ATOMS @ dictionary.W_dec.double().numpy().T
        return float((cosines.max(axis=1) > 0.95).mean())

    config = config | {"ghost_grads": False}
    dictionary, log = run(kind, steps=steps, config=config)
    start, _ = run(kind, steps=1, config=config)
    assert recovered(start) < 0.1
    assert recovered(dictionary) > 0.85
    assert log["explained_variance"][-1] > 0.85


@pytest.mark.parametrize("kind", ["vanilla", "topk"])
def test_one_and_two_threads_give_the_same_bytes(kind: str) -> None:
    # Large enough that torch splits every operation between threads.
    rng = np.random.default_rng(0)
    d, before = 96, torch.get_num_threads()
    data = [rng.standard_normal((1024, d), dtype=np.float32) for _ in range(3)]
    config = {"expansion": 16, "warmup_steps": 2, "dead_window": 1} | KINDS[kind]
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            results.append(
                train(
                    Data(lambda done: (data[i % 3] for i in itertools.count()), lambda: data[0]),
                    {"architecture": kind, **config},
                    steps=6,
                    seed=3,
                    log_every=1,
                )
            )
        finally:
            torch.set_num_threads(before)
    (one, log_one), (two, log_two) = results
    for name, tensor in one.tensors().items():
        assert torch.equal(tensor, two.tensors()[name]), name
    assert log_one.equals(log_two)
    if kind == "topk":
        assert log_one["ghost"].max() > 0, "ghost gradients must take part"  # type: ignore[operator]


def test_rows_stay_of_unit_norm_after_every_step() -> None:
    norms: list[float] = []

    def look(step: int, snapshot: Callable[[], bytes]) -> None:
        rows = TrainState.from_bytes(snapshot()).parameters["W_dec"]
        norms.append(float((torch.linalg.vector_norm(rows, dim=1) - 1).abs().max()))

    run("topk", steps=15, config={"lr": 0.05, "warmup_steps": 0}, offer=look)
    assert len(norms) == 15
    assert max(norms) < 1e-6


def test_log_has_a_row_for_the_first_every_nth_and_the_last_step() -> None:
    done: list[int] = []
    dictionary, log = run("topk", steps=24, batch=64, log_every=10, progress=done.append)
    assert log.schema == pl.Schema(LOG_SCHEMA)
    assert log["step"].to_list() == [1, 11, 21, 24]
    assert log["tokens"].to_list() == [64, 704, 1344, 1536]
    assert sum(done) == 24
    assert dictionary.m == 64
    assert (log["loss"] - log["mse"] - log["l1"] - log["ghost"]).abs().max() < 1e-12  # type: ignore[operator]
    assert log["l0"].max() <= 4  # type: ignore[operator]
    assert log.null_count().sum_horizontal().item() == 0


def test_ghost_gradients_revive_dead_features() -> None:
    """With biases that keep features silent at first, fewer stay silent with ghost gradients."""

    def dead(ghost: bool) -> float:
        state = TrainState.initial(64, SAMPLE, 7)
        state.parameters["b_enc"][32:] = -1.5
        config = {"ghost_grads": ghost, "dead_window": 5, "lr": 1e-2}
        _, log = run("vanilla", steps=250, config=config, resume=state.to_bytes)
        return float(log["dead"][-1])

    without, having = dead(False), dead(True)
    assert without > 0.3
    assert having < without / 2


def test_seed_matters() -> None:
    one, _ = run("topk", steps=2)
    two, _ = run("topk", steps=2, seed=8)
    assert not torch.equal(one.W_dec, two.W_dec)


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("topk", {"config": {"k": 65}}, "^k: found 65, expected at most m = 64"),
        ("topk", {"config": {"k": None}}, "^k: missing"),
        ("vanilla", {"config": {"k": 3}}, "^k: found 3, but architecture 'vanilla'"),
        ("vanilla", {"architecture": "neurons"}, "^architecture: found 'neurons'"),
        (
            "vanilla",
            {"config": {"lr": 1e25, "warmup_steps": 0}},
            "^training step [23]: .* Lower lr",
        ),
    ],
)
def test_errors_name_the_key_or_the_step(kind: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ClipsteerError, match=message):
        run(kind, steps=5, **more)


@pytest.mark.parametrize("kind", ["vanilla", "topk"])
def test_nan_activations_are_named_by_step(kind: str) -> None:
    good = next(helpers.planted(ATOMS, batch=32, active=2, seed=5))
    bad = good.copy()
    bad[3, 2] = np.nan
    with pytest.raises(ClipsteerError, match=r"^training activations, batch of step 3: found NaN"):
        run(kind, steps=5, batches=lambda done: (b for b in [good, good, bad]))


def test_too_few_batches_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="ended after 3 of 5 steps"):
        run(
            "topk",
            steps=5,
            batches=lambda done: (SAMPLE[:8] for _ in range(3)),
        )
