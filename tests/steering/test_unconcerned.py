from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.steering.unconcerned import Unconcerned, balanced_accuracies, collateral


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(2, 30), st.integers(0, 9999))
def test_balanced_accuracies_by_plain_counting(n_names: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, answers = rng.integers(0, 2, (n, n_names)), rng.integers(0, 2, (3, n, n_names))
    found = Unconcerned([f"a{i}" for i in range(n_names)], labels, None)
    before = found.counts(answers[0])
    correct = found.correct(answers)
    assert correct.shape == (3, 2 * n_names)
    assert before["correct"].to_list() == correct[0].tolist()
    counts = (before[name].to_list() for name in ("attribute", "images"))
    got = balanced_accuracies(*counts, correct[1].tolist())
    whole = []
    for i, name in enumerate(found.names):
        shares = [
            [(row[labels[:, i] == v, i] == v).mean() for v in (0, 1)]
            for row in answers[:2]
            if {*labels[:, i].tolist()} == {0, 1}
        ]
        if not shares:
            assert got[name] is None
            continue
        assert got[name] == pytest.approx(100 * np.mean(shares[1]))
        whole.append((100 * (np.mean(shares[1]) - np.mean(shares[0])), name))
    changed = collateral(before, correct[1].tolist())
    if not whole:
        assert set(changed.values()) == {None}
        return
    assert changed["collateral_mean_change"] == pytest.approx(np.mean([c for c, _ in whole]))
    assert changed["collateral_largest_fall"] == pytest.approx(max(0.0, -min(whole)[0]))
    assert (changed["collateral_attribute"] is None) == (min(whole)[0] >= 0)


def test_without_attributes_there_is_nothing_to_say() -> None:
    none = Unconcerned([], np.zeros((5, 0), dtype=np.int8), None)
    before = none.counts(np.zeros((5, 0), dtype=np.int8))
    assert before.schema["attribute"] == pl.String
    assert none.correct(np.zeros((2, 5, 0))).shape == (2, 0)
    assert collateral(before, []) == {
        "collateral_mean_change": None,
        "collateral_largest_fall": None,
        "collateral_attribute": None,
    }
