"""Recovery and collateral of ablated sets, image by image and feature by feature in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from clipsteer.steering.pairs import Pairs
from clipsteer.steering.recovery import recoveries
from tests.steering.test_ablation import CLASSES, KINDS, N, Network, data, evaluating, make


def margin64(network: Network, head: np.ndarray, image: np.ndarray, target: int) -> float:
    """The class margin of one image's activations (T, d): of cosines, by the definition."""
    hidden = np.tanh(
        image.reshape(-1) @ network.inner.double().numpy() + network.bias.double().numpy()
    )
    embedding = hidden @ network.outer.double().numpy()
    cosines = [float(embedding @ row / np.linalg.norm(embedding)) for row in head]
    own = cosines.pop(target)
    return own - max(cosines)


@pytest.mark.parametrize("kind", KINDS)
def test_recovery_of_sets_as_by_their_definition(kind: str) -> None:
    dictionary, network, x = make(kind), Network(), data()
    rng = np.random.default_rng(7)
    targets, caused = rng.integers(0, CLASSES, N), rng.random(N) < 0.6
    head = torch.nn.functional.normalize(network.head.T.contiguous(), dim=1)
    rows64 = head.double().numpy()
    before = np.array([margin64(network, rows64, x[i].astype(float), targets[i]) for i in range(N)])
    pair = [None if rng.random() < 0.2 else float(m + rng.normal() / 3) for m in before]
    images = pl.DataFrame(
        {"target": targets, "spurious": caused.astype(int), "group": targets, "margin": before}
    )
    table = pl.DataFrame(
        {"margin": pair, "prediction": [None if m is None else 0 for m in pair]},
        schema={"margin": pl.Float64(), "prediction": pl.Int16()},
    )
    pairs = Pairs.of(images, table, 1)
    assert pairs is not None
    sets = {"some": np.array([3, 0, 5]), "none": np.zeros(0, int), "one": np.array([6])}
    found = recoveries(evaluating(dictionary, network, x), head, sets, pairs)
    assert list(found) == list(sets)

    rows = dictionary.W_dec.double().numpy()
    for name, features in sets.items():
        sums: dict[Any, float] = {}
        for i in range(N):
            image = x[i].astype(np.float64)
            code = dictionary.encode(torch.from_numpy(x[i].astype(np.float32))).double().numpy()
            for t in range(len(image)):
                for j in features:
                    image[t] -= code[t, j] * rows[j]
            after, c = margin64(network, rows64, image, targets[i]), targets[i]
            true = pair[i]
            if caused[i] and true is not None:
                sums["left", c] = sums.get(("left", c), 0.0) + (after - true) ** 2
                sums["all", c] = sums.get(("all", c), 0.0) + (before[i] - true) ** 2
                sums["n", c] = sums.get(("n", c), 0.0) + 1
            elif not caused[i]:
                sums["moved", c] = sums.get(("moved", c), 0.0) + (after - before[i]) ** 2
                sums["others", c] = sums.get(("others", c), 0.0) + 1
        for c in range(CLASSES):
            effect = sums["all", c] / sums["n", c]
            recovery = 1 - sums["left", c] / sums["all", c]
            collateral = sums["moved", c] / sums["others", c] / effect
            assert found[name][f"recovery_{c}"] == pytest.approx(recovery, rel=1e-4, abs=1e-5)
            assert found[name][f"pair_collateral_{c}"] == pytest.approx(
                collateral, rel=1e-4, abs=1e-5
            )
            if not len(features):
                assert recovery == collateral == 0.0
