"""Nearest directions, in one dictionary and in others, beside sorting all cosines one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipsteer.dictionaries.topk import TopK
from clipsteer.steering import directions_beside
from clipsteer.steering.directions_beside import closest, nearest_in_others

D = 6


def rows(m: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(m, D, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def dictionary(m: int, seed: int) -> TopK:
    found = rows(m, seed)
    return TopK(found.T.contiguous(), torch.zeros(m), found, torch.zeros(D), k=2)


def brute(
    own: np.ndarray, other: np.ndarray, feature: int, count: int, same: bool
) -> list[tuple[int, float]]:
    pairs = [
        (float(own[feature] @ other[j]), j)
        for j in range(len(other))
        if not (same and j == feature)
    ]
    return [(j, cosine) for cosine, j in sorted(pairs, key=lambda p: (-p[0], p[1]))[:count]]


@pytest.mark.parametrize("same", [True, False])
def test_nearest_are_those_of_the_largest_cosine(
    same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directions_beside, "_COMPARED", 3)  # several blocks
    own = rows(11, 1)
    other = own if same else rows(9, 2)
    features = np.array([0, 2, 3, 7, 8, 9, 10], np.int64)
    found = list(closest(own, features, other, 4))
    assert len(found) == 3
    near = [n for numbers, _ in found for n in numbers]
    cosine = [c for _, values in found for c in values]
    for feature, numbers, values in zip(features, near, cosine, strict=True):
        expected = brute(own.double().numpy(), other.double().numpy(), int(feature), 4, same)
        assert numbers == [j for j, _ in expected]
        assert values == pytest.approx([c for _, c in expected], abs=1e-6)


def test_only_dictionaries_of_the_same_hook_point_are_compared() -> None:
    made = {"a": dictionary(5, 1), "b": dictionary(7, 2), "c": dictionary(4, 3)}
    features = {name: np.array([0, 3], np.int64) for name in made}
    hooks = {"a": "resid_post", "b": "resid_post", "c": "mlp_out"}
    found = nearest_in_others(made, features, hooks, 2)
    assert found.select("dictionary", "feature", "other").rows() == [
        *(("a", 0, "b"), ("a", 3, "b"), ("b", 0, "a"), ("b", 3, "a")),
    ]
    own, other = (made[name].W_dec.double().numpy() for name in ("a", "b"))
    for row in found.filter(dictionary="a").iter_rows(named=True):
        expected = brute(own, other, row["feature"], 2, same=False)
        assert row["nearest"] == [j for j, _ in expected]
        assert row["cosine"] == pytest.approx([c for _, c in expected], abs=1e-6)
    assert nearest_in_others({"a": made["a"]}, features, hooks, 2).height == 0
