"""How alike two dictionaries are: against plain loops, every assignment of a few features, and one with itself."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.dictionaries import likeness
from clipsteer.dictionaries.likeness import Side, alikeness, compare, nearest, random_alikeness

few = settings(max_examples=30)
SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(2, 5), st.integers(0, 99))


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True)


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def by_hand(a: torch.Tensor, b: torch.Tensor) -> dict[str, Any]:
    cosines = [[dot(x, y) for y in b] for x in a]
    back = [list(column) for column in zip(*cosines, strict=True)]
    best = [row.index(max(row)) for row in cosines]
    best_back = [row.index(max(row)) for row in back]
    pairs = [cosines[i][j] for i, j in enumerate(best) if best_back[j] == i]
    # every way of giving each of the smaller side a partner of its own
    small, large = (cosines, len(b)) if len(a) <= len(b) else (back, len(a))
    matched = max(
        sum(row[j] for row, j in zip(small, taken, strict=True)) / len(small)
        for taken in itertools.permutations(range(large), len(small))
    )
    return {
        "cosine": np.mean([max(row) for row in cosines]),
        "cosine_back": np.mean([max(row) for row in back]),
        "mutual": len(pairs) / len(small),
        "mutual_70": sum(c >= 0.7 for c in pairs) / len(small),
        "mutual_90": sum(c >= 0.9 for c in pairs) / len(small),
        "matched": matched,
    }


@few
@given(SHAPES)
def test_measures_are_what_plain_loops_give(shape: tuple[int, int, int, int]) -> None:
    n, k, d, seed = shape
    a, b = rows(n, d, seed), rows(k, d, seed + 1000)
    assert alikeness(a, b, *nearest(a, b)) == pytest.approx(by_hand(a, b), abs=1e-6)


def test_blocks_give_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = rows(57, 6, 0), rows(31, 6, 1)
    b[7] = b[3] = a[5] = a[9]  # equals: the first counts
    whole = nearest(a, b)
    monkeypatch.setattr(likeness, "_BLOCK", 31 * 4)
    for one, other in zip(nearest(a, b), whole, strict=True):
        np.testing.assert_array_equal(one.number, other.number)
        np.testing.assert_allclose(one.cosine, other.cosine, atol=1e-6)


def test_the_matching_is_what_overcomplete_finds() -> None:
    """Its `cosine_hungarian_loss`, version 0.3.0 (benchmarks/goldens/overcomplete_likeness.py)."""
    assert likeness.assigned(rows(200, 24, 0), rows(200, 24, 1)) == pytest.approx(
        0.5066113, abs=1e-6
    )


def test_many_features_have_no_matching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "MATCHED", 5)
    a, b = rows(6, 4, 0), rows(2, 4, 1)
    assert alikeness(a, b, *nearest(a, b))["matched"] is None


def test_random_directions_of_the_default_are_as_alike_as_was_measured_by_others() -> None:
    """0.335 at 1,536 x 96: without this number the mean cosine misleads."""
    found = random_alikeness(1536, 1536, 96, 0)
    assert found["cosine"] == pytest.approx(0.335, abs=0.004)
    assert found["mutual_70"] == 0


def side(n: int, d: int, seed: int, **sets: list[int]) -> Side:
    frequency = np.random.default_rng(seed).uniform(0.1, 1, n)
    return Side(rows(n, d, seed), frequency, sets)


def test_a_dictionary_is_itself_whatever_the_order_of_its_features() -> None:
    a = side(40, 12, 0, strict=[3, 8, 21], relaxed=[])
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5))
    back = order.argsort()
    b = Side(
        a.directions[order],
        a.frequency[order.numpy()],
        {"strict": back[[8, 3, 21]].tolist(), "relaxed": []},
    )
    found = compare(a, b, 0)
    for name in ("cosine", "cosine_back", "mutual", "mutual_90", "matched", "weighted"):
        assert found[name] == pytest.approx(1, abs=1e-6)
    assert found["strict_overlap"] == 1
    assert found["strict_subspace"] == pytest.approx(1)
    assert found["relaxed_overlap"] is None
    assert found["random_cosine"] < 0.7


def test_the_dead_do_not_count_and_those_that_fire_often_count_more() -> None:
    a, b = side(9, 4, 0), side(7, 4, 1)
    a.frequency[[0, 4]] = 0
    found = compare(a, b, 0)
    alive = [i for i in range(9) if i not in (0, 4)]
    expected = by_hand(a.directions[alive], b.directions)
    assert found["cosine"] == pytest.approx(expected["cosine"], abs=1e-6)
    assert (found["alive"], found["alive_back"]) == (7, 7)
    best = [max(dot(a.directions[i], row) for row in b.directions) for i in alive]
    weights = a.frequency[alive]
    weighted = sum(w * c for w, c in zip(weights, best, strict=True)) / sum(weights)
    assert found["weighted"] == pytest.approx(weighted, abs=1e-6)
    a.frequency[:] = 0
    assert compare(a, b, 0) == {"alive": 0, "alive_back": 7}


def test_sets_overlap_after_matching_and_spans_by_their_principal_angles() -> None:
    from scipy.linalg import subspace_angles

    a = side(30, 10, 0, strict=[1, 2, 3, 4])
    near = a.directions + 0.05 * rows(30, 10, 7)
    b = Side(near / near.norm(dim=1, keepdim=True), a.frequency, {"strict": [3, 4, 5]})
    found = compare(a, b, 0)
    assert found["mutual"] == 1  # so every feature's partner has its number
    assert found["strict_overlap"] == pytest.approx(2 / 5)
    by_chance = 30 * (4 / 30) * (3 / 30)
    assert found["strict_overlap_random"] == pytest.approx(by_chance / (7 - by_chance))
    spans = (
        a.directions[[1, 2, 3, 4]].T.double().numpy(),
        b.directions[[3, 4, 5]].T.double().numpy(),
    )
    angles = subspace_angles(*spans)
    assert found["strict_subspace"] == pytest.approx(np.square(np.cos(angles)).sum() / 3, abs=1e-5)
    assert found["strict_subspace_random"] == pytest.approx(4 / 10)


def test_a_random_subspace_shares_what_it_is_said_to() -> None:
    found = []
    for seed in range(300):
        a, b = side(3, 8, seed, strict=[0, 1, 2]), side(2, 8, seed + 999, strict=[0, 1])
        told = likeness.set_overlap(a, b, np.full(3, -1), "strict")
        found.append(told["subspace"])
    assert np.mean([value for value in found if value is not None]) == pytest.approx(
        3 / 8, abs=0.02
    )
