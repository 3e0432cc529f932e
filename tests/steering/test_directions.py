from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from concept_erasure import LeaceFitter
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.errors import ClipsteerError
from clipsteer.steering.directions import (
    DIRECTIONS,
    fit_directions,
    leace,
    named_tensors,
    read_tensors,
)
from clipsteer.steering.intervention import AffineEdit
from clipsteer.steering.moments import (
    Fitted,
    cell_weights,
    cells_of,
    contrast,
    token_moments,
)
from clipsteer.steering.statistics import Balance, difference, feature_statistics

D, T, N = 6, 4, 120
BALANCES: list[Balance] = ["none", "group"]


def world(seed: int = 0, classes: int = 2, n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations (n, T, D), targets and attributes (n,), confounded; CLS lies elsewhere."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    in_a = rng.random(n) < np.where(targets == 1, 0.8, 0.3)
    mixing = rng.normal(size=(D, D))
    x = rng.normal(size=(n, T, D)) @ mixing
    x += targets[:, None, None] * rng.normal(size=D) + in_a[:, None, None] * rng.normal(size=D)
    x[:, 0] += 2.0 * rng.normal(size=D) + in_a[:, None] * rng.normal(size=D)
    return x, targets, in_a


def batches(x: np.ndarray, size: int = 32) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(x), size):
        yield start, x[start : start + size]


def fitted(x: np.ndarray, cells: np.ndarray) -> Fitted:
    return token_moments(batches(x), cells)


def tokens_of(x: np.ndarray, kind: str) -> np.ndarray:
    return x[:, :1] if kind == "cls" else x[:, 1:]


def image_weights(cells: np.ndarray, balance: Balance) -> np.ndarray:
    """The weight of each image, from a count of its cell by a plain loop."""
    if balance == "none":
        return np.full(len(cells), 1 / len(cells))
    present = len(set(cells.tolist()))
    return np.array([1 / present / sum(other == cell for other in cells) for cell in cells])


@pytest.mark.parametrize("balance", BALANCES)
def test_without_cls_all_tokens_have_one_map(balance: Balance) -> None:
    """As if each token were an image of its own, of one token that is spatial."""
    x, targets, in_a = world()
    cells = cells_of(targets, in_a)
    found = token_moments(batches(x), cells, cls=None)
    assert list(found.kinds) == ["spatial"]
    alone = token_moments(batches(x.reshape(-1, 1, D)), np.repeat(cells, T), cls=None)
    for ours, theirs in zip(found.kinds["spatial"], alone.kinds["spatial"], strict=True):
        torch.testing.assert_close(ours, theirs)
    maps = fit_directions(found, cells, balance, 0)
    assert read_tensors(named_tensors({balance: maps}))[balance].keys() == maps.keys()
    for method, kinds in read_tensors(named_tensors({balance: maps}))[balance].items():
        assert list(kinds) == ["spatial"]
        edit, rows = AffineEdit(kinds), torch.from_numpy(x)
        moved = edit.apply(rows, "all")
        single = edit.apply(rows.reshape(-1, 1, D), "all").reshape(x.shape)
        torch.testing.assert_close(moved, single)
        assert bool((moved != rows).any(dim=-1).all()), method


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("kind", ["cls", "spatial"])
def test_moments_are_those_of_every_token_weighted_alike(balance: Balance, kind: Any) -> None:
    x, targets, in_a = world(classes=3)
    cells = cells_of(targets, in_a)
    weights = cell_weights(np.bincount(cells, minlength=6), balance)
    found = contrast(fitted(x, cells).kinds[kind], weights)
    rows = tokens_of(x, kind)
    w = np.repeat(image_weights(cells, balance) / rows.shape[1], rows.shape[1])
    rows, z = rows.reshape(-1, D), np.repeat(in_a, rows.shape[1]).astype(float)
    mean = w @ rows
    close = {"rtol": 0, "atol": 1e-10}
    np.testing.assert_allclose(found.mean, mean, **close)
    np.testing.assert_allclose(found.mean_a, (w * z) @ rows / (w @ z), **close)
    np.testing.assert_allclose(found.mean_not_a, (w * (1 - z)) @ rows / (w @ (1 - z)), **close)
    np.testing.assert_allclose(found.covariance, np.cov(rows.T, aweights=w, ddof=0), **close)
    np.testing.assert_allclose(found.cross, (w * (z - w @ z)) @ (rows - mean), **close)


def test_image_means_and_batches() -> None:
    x, targets, in_a = world()
    cells = cells_of(targets, in_a)
    one = fitted(x, cells)
    np.testing.assert_allclose(one.image_means, x.mean(axis=1), atol=1e-12)
    with pytest.raises(ValueError, match="activations of 120 images, labels of 119"):
        token_moments(batches(x), cells[:-1])


@pytest.mark.parametrize("balance", BALANCES)
def test_the_difference_of_means_is_eq_9_of_the_neurons(balance: Balance) -> None:
    x, targets, in_a = world()
    x = x.astype(np.float32)
    cells = cells_of(targets, in_a)
    table = feature_statistics(NeuronBasis(D), batches(x), cells).table
    weights = cell_weights(np.bincount(cells, minlength=4), balance)
    kinds = fitted(x, cells).kinds
    mine = {k: (c := contrast(kinds[k], weights)).mean_a - c.mean_not_a for k in kinds}
    whole = (mine["cls"] + (T - 1) * mine["spatial"]) / T
    np.testing.assert_allclose(whole, difference(table, balance=balance), atol=1e-5)


def test_a_side_without_images_is_refused() -> None:
    with pytest.raises(ClipsteerError, match="target class 1 has 0 images with"):
        cell_weights(np.array([3, 2, 5, 0]), "group")
    with pytest.raises(ClipsteerError, match="the split has 5 images with"):
        cell_weights(np.array([0, 2, 0, 3]), "none")
    np.testing.assert_array_equal(
        cell_weights(np.array([3, 2, 0, 0, 5, 1]), "group"), [0.25, 0.25, 0, 0, 0.25, 0.25]
    )


@pytest.mark.parametrize("kind", ["cls", "spatial"])
def test_leace_is_that_of_its_authors(kind: Any) -> None:
    """Method `leace`, not `orth`; without shrinkage, and without their mixing for a smaller trace."""
    x, targets, in_a = world()
    cells = cells_of(targets, in_a)
    weights = cell_weights(np.bincount(cells, minlength=4), "none")
    found = leace(contrast(fitted(x, cells).kinds[kind], weights))
    rows = torch.from_numpy(tokens_of(x, kind))
    z = torch.from_numpy(np.repeat(in_a, rows.shape[1])).double()
    eraser = LeaceFitter.fit(
        rows.reshape(-1, D), z, method="leace", shrinkage=False, constrain_cov_trace=False,
        svd_tol=1e-12,
    ).eraser  # fmt: skip
    mine = found.moved(rows.reshape(-1, D), 1.0)
    torch.testing.assert_close(mine, eraser(rows.reshape(-1, D)), rtol=0, atol=1e-10)
    assert float((mine - rows.reshape(-1, D)).abs().max()) > 0.1


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from(BALANCES))
def test_leace_makes_the_means_of_a_and_not_a_equal(seed: int, balance: Balance) -> None:
    x, targets, in_a = world(seed)
    cells = cells_of(targets, in_a)
    weights, kinds = cell_weights(np.bincount(cells, minlength=4), balance), fitted(x, cells).kinds
    edit = AffineEdit({kind: leace(contrast(kinds[kind], weights)) for kind in kinds})
    after = edit.apply(torch.from_numpy(x), "all").numpy()
    w = image_weights(cells, balance)
    for kind in ("cls", "spatial"):
        means = tokens_of(after, kind).mean(axis=1)
        a, b = w * in_a, w * ~in_a
        np.testing.assert_allclose(a @ means / a.sum(), b @ means / b.sum(), atol=1e-8)
    twice = edit.apply(torch.from_numpy(after), "all").numpy()
    np.testing.assert_allclose(twice, after, atol=1e-8)  # a projection


@pytest.mark.parametrize("balance", BALANCES)
def test_mean_difference_at_scale_1_puts_every_token_where_not_a_is(balance: Balance) -> None:
    x, targets, in_a = world()
    cells, w = cells_of(targets, in_a), image_weights(cells_of(targets, in_a), balance)
    maps = fit_directions(fitted(x, cells), cells, balance, 0)["mean_difference"]
    for scale in (0.0, 0.5, 1.0, 2.0):
        after = AffineEdit(maps, scale).apply(torch.from_numpy(x), "all").numpy()
        for kind in ("cls", "spatial"):
            rows, means = tokens_of(x, kind), tokens_of(x, kind).mean(axis=1)
            a, b = w * in_a, w * ~in_a
            mu = b @ means / b.sum()
            u = a @ means / a.sum() - mu
            u /= np.linalg.norm(u)
            expected = rows - scale * ((rows - mu) @ u)[..., None] * u
            np.testing.assert_allclose(tokens_of(after, kind), expected, atol=1e-9)


def test_the_probe_is_one_direction_for_all_tokens_and_tells_a_from_the_rest() -> None:
    x, targets, in_a = world(n=400)
    cells = cells_of(targets, in_a)
    found = fit_directions(fitted(x, cells), cells, "none", 0)
    assert tuple(found) == DIRECTIONS
    maps = found["probe"]
    assert maps["cls"] is maps["spatial"]
    u, means = maps["cls"].a[:, 0].numpy(), x.mean(axis=1)
    assert np.linalg.norm(u) == pytest.approx(1.0)
    score = means @ u
    wins = (score[in_a][:, None] > score[~in_a][None]).mean()
    assert wins > 0.75
    np.testing.assert_allclose(maps["cls"].mu, means[~in_a].mean(axis=0), atol=1e-10)


def test_without_a_difference_nothing_is_edited() -> None:
    x, targets, in_a = world()
    x = np.zeros_like(x)
    cells = cells_of(targets, in_a)
    for maps in fit_directions(fitted(x, cells), cells, "none", 0).values():
        other = torch.from_numpy(world(1)[0])
        assert torch.equal(AffineEdit(maps).apply(other, "all"), other)
