"""An interrupted and resumed training ends in the very bytes of an uninterrupted one."""

from __future__ import annotations

from collections.abc import Generator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipsteer.activations.batches import Shuffle, token_batches, tokens_per_epoch
from clipsteer.dictionaries.state import TrainState
from clipsteer.dictionaries.train import Data, train
from clipsteer.snapshots import Snapshots
from tests.dictionaries import helpers
from tests.keeper import Keeper, Killed

D, BATCH, EPOCHS = 12, 48, 3
KINDS: dict[str, dict[str, Any]] = {"vanilla": {"l1": 1.0}, "topk": {"k": 2}}
CHUNK = 4  # images
BUFFERS = {"whole": 1 << 20, "several": 2 * 4 * D * (BATCH + 30 * CHUNK)}


class Source:
    """150 images of 5 tokens."""

    start, stop, n_tokens, width, dtype = 0, 150, 5, D, "float32"
    atoms = helpers.unit_rows(24, D, seed=1)
    values = next(helpers.planted(atoms, batch=750, active=2, seed=2)).reshape(150, 5, D)

    def read_stored(self, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        if out is None:
            return self.values[start:stop]
        out[:] = self.values[start:stop]
        return out


STEPS = EPOCHS * (tokens_per_epoch(Source()) // BATCH)


class Training(Keeper):
    def run(self, kind: str, buffers: str) -> tuple[Any, ...]:
        """What a training gives: its tensors and the log, as values that `==` compares."""

        def batches(done: int) -> Generator[NDArray[np.float32], None, None]:
            shuffle = Shuffle(BATCH, 4, BUFFERS[buffers], chunk_images=CHUNK)
            return token_batches(Source(), shuffle, epochs=EPOCHS, start=done)

        config = {"expansion": 4, "lr": 0.01, "warmup_steps": 8, "dead_window": 3}
        dictionary, log = train(
            Data(batches, self.sample),
            {"architecture": kind, **config, **KINDS[kind]},
            steps=STEPS,
            seed=7,
            log_every=4,
            snapshots=Snapshots(self.resume, self.offer),
        )
        tensors = {name: t.numpy().tobytes() for name, t in dictionary.tensors().items()}
        return tensors, log.columns, log.rows()

    def sample(self) -> NDArray[np.float32]:
        assert self.snapshot is None, "asked for although nothing begins"
        return Source.values[::3].reshape(-1, D)


@cache
def whole(kind: str, buffers: str) -> tuple[tuple[Any, ...], dict[int, bytes]]:
    """The uninterrupted training, and its snapshot after each step."""
    keeper = Training(1)
    result = keeper.run(kind, buffers)
    ghosts = [row[result[1].index("ghost")] for row in result[2]]
    assert max(ghosts) > 0, "there must be dead features, and gradients for them"
    assert len(keeper.seen) == STEPS == 45
    return result, keeper.seen


@pytest.mark.parametrize("buffers", BUFFERS)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(stops=st.lists(st.integers(1, STEPS), max_size=4), every=st.integers(1, 9))
def test_killed_at_any_steps_it_ends_in_the_same_bytes(
    kind: str, buffers: str, stops: list[int], every: int
) -> None:
    result, snapshots = whole(kind, buffers)
    snapshot: bytes | None = None
    for stop in stops:
        done = 0 if snapshot is None else TrainState.from_bytes(snapshot).step
        if stop > done:
            keeper = Training(every, stop, snapshot)
            with pytest.raises(Killed):
                keeper.run(kind, buffers)
            snapshot = keeper.snapshot
            for step, data in keeper.seen.items():
                assert data == snapshots[step], f"snapshot of step {step}"
    assert Training(every, None, snapshot).run(kind, buffers) == result


def test_a_snapshot_of_the_last_step_needs_no_batch() -> None:
    result, snapshots = whole("topk", "several")
    assert Training(1, None, snapshots[STEPS]).run("topk", "several") == result


def test_the_generator_goes_on_where_it_was() -> None:
    _, snapshots = whole("topk", "whole")
    one, other = (TrainState.from_bytes(snapshots[9]).generator for _ in range(2))
    fresh = torch.Generator()
    drawn = torch.rand(5, generator=one)
    assert torch.equal(drawn, torch.rand(5, generator=other))
    assert not torch.equal(drawn, torch.rand(5, generator=fresh))


def test_each_step_changes_the_snapshot() -> None:
    _, snapshots = whole("vanilla", "several")
    assert all(snapshots[a] != snapshots[b] for a, b in pairwise(sorted(snapshots)))
