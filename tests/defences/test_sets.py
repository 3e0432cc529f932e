"""F and F* against a plain loop over features, and the choice against all candidates (Section 7.2)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.defences import tuning
from clipsteer.defences.sets import Expanded, expanded_sets, random_cosine
from clipsteer.dictionaries.topk import TopK
from clipsteer.steering.choose import AttackedUnderCleanDrop
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.selection import nested_sets


def dictionary(m: int, d: int, seed: int) -> TopK:
    rows = np.random.default_rng(seed).normal(size=(m, d))
    unit = torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()
    return TopK(unit.T.contiguous(), torch.zeros(m), unit, torch.zeros(d), k=2)


@settings(deadline=None, max_examples=40)
@given(
    m=st.integers(2, 24),
    d=st.integers(2, 6),
    seed=st.integers(0, 1000),
    cosines=st.lists(st.floats(0.05, 0.95), min_size=1, max_size=3, unique=True),
)
def test_f_star_is_that_of_a_plain_loop(m: int, d: int, seed: int, cosines: list[float]) -> None:
    """Every j whose direction has a cosine above lambda with one of F, and F itself."""
    differences = np.random.default_rng(seed + 1).normal(size=m)
    thresholds = np.array([0.05, 0.5, 1.5])
    directions = dictionary(m, d, seed)
    sweep = nested_sets(differences, thresholds)
    found = {(s.threshold, s.cosine): s for s in expanded_sets(sweep, directions, [None, *cosines])}
    n = directions.W_dec.double().numpy()
    for tau in thresholds.tolist():
        members = [j for j in range(m) if differences[j] > tau]
        if not members:
            assert not any(key[0] == tau for key in found)
            continue
        for cosine in (None, *cosines):
            near = [[float(n[j] @ n[i]) for i in members] for j in range(m)]
            if cosine is not None and any(abs(c - cosine) < 1e-6 for row in near for c in row):
                continue  # within rounding of the bound
            more = [j for j in range(m) if cosine is not None and max(near[j]) > cosine]
            mine = found[tau, cosine]
            assert set(mine.features.tolist()) == {*members, *more}
            assert mine.features[: len(members)].tolist() == sorted(
                members, key=lambda j: (-differences[j], j)
            )
            assert mine.n_features == len(members)
            assert len(set(mine.features.tolist())) == len(mine.features)


def test_random_directions_have_the_cosine_that_is_said() -> None:
    drawn = dictionary(400, 64, 0).W_dec.double().numpy()
    cosines = (drawn @ drawn.T)[np.triu_indices(400, 1)]
    assert cosines.std() == pytest.approx(random_cosine(64), rel=0.02)
    assert random_cosine(768) == pytest.approx(1 / math.sqrt(768))


COUNTS = st.tuples(st.integers(0, 20), st.integers(0, 20))


@given(
    found=st.lists(st.tuples(st.integers(1, 9), COUNTS), min_size=1, max_size=12),
    base=COUNTS,
    drop=st.sampled_from([0.0, 2.0, 5.0, 12.5]),
)
def test_the_choice_is_the_best_that_clean_images_allow(
    found: list[tuple[int, tuple[int, int]]], base: tuple[int, int], drop: float
) -> None:
    sets = [Expanded(10.0 - n, None, size, np.arange(size)) for n, (size, _) in enumerate(found)]
    trials = tuning.Trials(
        GroupCounts(base, (20, 20)), [GroupCounts(counts, (20, 20)) for _, counts in found]
    )
    taken = tuning.choose_set(sets, trials, AttackedUnderCleanDrop(drop))
    allowed = [
        (-attacked, size, n)
        for n, (size, (clean, attacked)) in enumerate(found)
        if Fraction(base[0] - clean, 20) * 100 <= Fraction(str(drop)) and attacked > base[1]
    ]
    if not allowed:
        assert taken is None
    else:
        assert taken is not None
        assert taken is sets[min(allowed)[2]]


def test_of_equal_scales_the_smallest() -> None:
    counts = [GroupCounts(pair, (10, 10)) for pair in ((10, 6), (10, 8), (10, 8), (2, 10))]
    trials = tuning.Trials(GroupCounts((10, 5), (10, 10)), counts)
    rule = AttackedUnderCleanDrop(2.0)
    assert tuning.choose_scale([0.5, 2.0, 1.0, 3.0], trials, rule) == 1.0
    none = tuning.Trials(GroupCounts((10, 9), (10, 10)), counts[:1])
    assert tuning.choose_scale([1.0], none, rule) is None
