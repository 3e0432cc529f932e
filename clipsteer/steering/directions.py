"""Directions that stand for an attribute, and the affine map that takes each out of a token.

All are fitted on training activations in float64, and all are x' = x - scale * ((x - mu) A) B^T with one column
in A and B (`clipsteer.steering.intervention.Affine`). `docs/method.md`, section 14.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from clipsteer.steering.intervention import TOKEN_KINDS, Affine, TokenKind
from clipsteer.steering.logistic import fit_probe
from clipsteer.steering.moments import Contrast, Fitted, cell_weights, contrast
from clipsteer.steering.statistics import Balance

CLOSED_FORMS = ("mean_difference", "leace")
DIRECTIONS = (*CLOSED_FORMS, "probe")


def mean_difference(found: Contrast) -> Affine:
    """x - u u^T (x - mu), u the unit vector along mean(A) - mean(notA), mu = mean(notA).

    At scale 1 the component along u is that of D_notA's mean: A looks absent.
    """
    u = _unit(found.mean_a - found.mean_not_a)
    return Affine(found.mean_not_a, u, u)


def leace(found: Contrast) -> Affine:
    """x - P (x - mu), P = c c^T Sigma^+ / (c^T Sigma^+ c): the least edit that makes class means equal.

    c: covariance of x with the indicator of A, Sigma: that of x, mu: the mean (Belrose et al. 2023,
    "LEACE: Perfect linear concept erasure in closed form", Theorem 4.2, one concept).
    """
    c = found.cross[:, None]
    dual = torch.linalg.pinv(found.covariance, hermitian=True) @ c
    strength = (c * dual).sum()
    # Without a difference of means there is nothing to erase.
    dual = dual / strength if float(strength) > 0 else torch.zeros_like(dual)
    return Affine(found.mean, dual, c)


def probe(image_means: torch.Tensor, cells: np.ndarray, weights: np.ndarray, seed: int) -> Affine:
    """x - u u^T (x - mu), u the unit direction of a logistic regression for A on image means.

    `image_means` (N, d), `cells` (N,); `weights` (C,) are those of the cells. mu is the mean of D_notA.
    """
    counts = np.bincount(cells, minlength=len(weights))
    images = torch.from_numpy((weights / np.maximum(counts, 1))[cells])
    in_a = cells % 2
    fitted, _ = fit_probe(image_means, torch.from_numpy(in_a), images, n_classes=2, seed=seed)
    u = _unit(fitted.weights[:, 1] - fitted.weights[:, 0])
    outside = images * torch.from_numpy(1.0 - in_a)
    return Affine(outside @ image_means / outside.sum(), u, u)


def closed_forms(
    contrasts: Mapping[TokenKind, Contrast],
) -> dict[str, Mapping[TokenKind, Affine]]:
    """The maps of the directions that follow from a contrast alone, CLOSED_FORMS, by kind of token."""
    return {
        "mean_difference": {kind: mean_difference(found) for kind, found in contrasts.items()},
        "leace": {kind: leace(found) for kind, found in contrasts.items()},
    }


def fit_directions(
    fitted: Fitted, cells: np.ndarray, balance: Balance, seed: int
) -> dict[str, Mapping[TokenKind, Affine]]:
    """The maps of every direction in DIRECTIONS, by kind of token, under one balance; `cells` (N,) of the images."""
    weights = cell_weights(np.bincount(cells, minlength=fitted.n_cells), balance)
    contrasts = {kind: contrast(moments, weights) for kind, moments in fitted.kinds.items()}
    same = probe(fitted.image_means, cells, weights, seed)
    return {**closed_forms(contrasts), "probe": dict.fromkeys(contrasts, same)}


def named_maps(maps: Mapping[str, Mapping[TokenKind, Affine]]) -> dict[str, torch.Tensor]:
    """The maps as tensors by name, such as `leace/cls/mu`; `read_maps` gives them back."""
    return {
        f"{method}/{kind}/{name}": tensor.contiguous().clone()
        for method, kinds in maps.items()
        for kind, affine in kinds.items()
        for name, tensor in affine._asdict().items()
    }


def read_maps(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[TokenKind, Affine]]:
    """Direction -> kind of token -> map, of those in DIRECTIONS that are there, in their order."""
    return {
        method: {
            kind: Affine(*(tensors[f"{method}/{kind}/{name}"] for name in Affine._fields))
            for kind in TOKEN_KINDS
            if f"{method}/{kind}/mu" in tensors
        }
        for method in DIRECTIONS
        if any(name.startswith(f"{method}/") for name in tensors)
    }


def named_tensors(
    found: Mapping[Balance, Mapping[str, Mapping[TokenKind, Affine]]],
) -> dict[str, torch.Tensor]:
    """`named_maps` of each balance, such as `group/leace/cls/mu`; `read_tensors` gives them back."""
    return {
        f"{balance}/{name}": tensor
        for balance, maps in found.items()
        for name, tensor in named_maps(maps).items()
    }


def read_tensors(
    tensors: Mapping[str, torch.Tensor],
) -> dict[Balance, dict[str, dict[TokenKind, Affine]]]:
    """Balance -> direction -> kind of token -> map, balances and directions in their own order."""
    balances: tuple[Balance, ...] = ("none", "group")
    found: dict[Balance, dict[str, torch.Tensor]] = {
        balance: {
            name.removeprefix(f"{balance}/"): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{balance}/")
        }
        for balance in balances
    }
    return {balance: read_maps(own) for balance, own in found.items() if own}


def _unit(vector: torch.Tensor) -> torch.Tensor:
    """The column (d, 1) along a vector (d,); 0 stays 0."""
    return torch.nn.functional.normalize(vector, dim=0, eps=1e-300)[:, None]
