"""A sweep has the model without any edit beside it, whatever happens to the error term."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from clipsteer.steering.ablation import Batch
from clipsteer.steering.intervention import ErrorTerm
from clipsteer.steering.sweep import predict_sweep, sweep_passes
from tests.steering.test_ablation import Network, batches, data, make, plain_loop


@pytest.mark.parametrize("error_term", ["keep", "drop"])
@pytest.mark.parametrize("sizes", [[0, 2, 9], [1, 24], [0], []])
def test_the_empty_set_is_no_intervention(error_term: ErrorTerm, sizes: list[int]) -> None:
    dictionary, network, x = make("vanilla"), Network(), data()
    order, starts = np.random.default_rng(2).permutation(24), []

    def again() -> Iterator[Batch]:
        starts.append(1)
        return batches(x)

    resumed, predictions = predict_sweep(
        dictionary, again, network.embed, network.classify, order, sizes, error_term=error_term
    )
    assert len(starts) == sweep_passes(error_term)
    untouched = [int(network.logits64(image.astype(np.float64)).argmax()) for image in x]
    assert resumed.tolist() == untouched
    filled = [size for size in sizes if size]
    edited = plain_loop(dictionary, x, None, [order[:s] for s in filled], "all", error_term)
    expected = iter(edited.tolist())
    assert predictions.shape == (len(sizes), len(x))
    for size, row in zip(sizes, predictions.tolist(), strict=True):
        assert row == (next(expected) if size else untouched)
    assert not filled or (edited != untouched).any()
