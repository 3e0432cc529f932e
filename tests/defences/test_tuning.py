"""Edits along directions of attacked against clean images, and what is made of a choice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipsteer.defences import evaluating, tuning
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.steering.directions import CLOSED_FORMS, named_maps, read_maps
from clipsteer.steering.intervention import AffineEdit, FeatureEdit, NoEdit

N, T, D = 12, 4, 5
RNG = np.random.default_rng(1)
CLEAN = RNG.normal(size=(N, T, D))
ATTACKED = CLEAN + RNG.normal(size=(1, 1, D)) + 0.1 * RNG.normal(size=(N, T, D))
IN_A = np.repeat([0, 1], N)


def maps() -> dict[str, object]:
    both = np.concatenate([CLEAN, ATTACKED])
    batches = iter([(0, both[:7]), (7, both[7:])])
    return dict(tuning.fit_maps(batches, IN_A, cls=0))


def test_directions_make_attacked_images_look_clean() -> None:
    """LEACE makes the means of both equal, of CLS and of the other tokens; mean difference takes attacked to clean."""
    found = maps()
    spans = (slice(0, 1), slice(1, T))
    clean, attacked = (torch.from_numpy(x) for x in (CLEAN, ATTACKED))
    erased = [AffineEdit(found["leace"]).apply(x, "all") for x in (clean, attacked)]  # type: ignore[arg-type]
    moved = AffineEdit(found["mean_difference"]).apply(attacked, "all")  # type: ignore[arg-type]
    for span in spans:
        means = [x[:, span].reshape(-1, D).mean(dim=0) for x in erased]
        assert torch.allclose(*means, atol=1e-9)
        there, aim = (x[:, span].reshape(-1, D).mean(dim=0) for x in (moved, clean))
        assert torch.allclose(there, aim, atol=1e-9)
        before = attacked[:, span].reshape(-1, D).mean(dim=0)
        assert float((before - aim).norm()) > 0.5


def test_maps_come_back_from_their_tensors() -> None:
    found = maps()
    back = read_maps(named_maps(found))  # type: ignore[arg-type]
    assert back.keys() == found.keys() == set(CLOSED_FORMS)
    for method, kinds in back.items():
        for kind, affine in kinds.items():
            for name, tensor in affine._asdict().items():
                assert torch.equal(tensor, getattr(found[method][kind], name))  # type: ignore[index]


def chosen(features: list[int], scale: float | None) -> dict[str, object]:
    drawn = [[0] * len(features), [1] * len(features)]
    return {
        **{"features": features, "random": drawn},
        "scales": dict.fromkeys(CLOSED_FORMS, scale),
    }


@pytest.mark.parametrize("architecture", ["topk", "neurons"])
def test_what_was_chosen_becomes_edits(architecture: str) -> None:
    basis = NeuronBasis(D)
    kinds = maps() if architecture == "neurons" else {}
    tried = evaluating.edits_of(basis, chosen([3], 2.0), kinds, architecture)  # type: ignore[arg-type]
    own = "neurons" if architecture == "neurons" else "sae"
    assert [(one.defence, one.draw) for one in tried[:3]] == [
        (own, None),
        *((f"random{'_neurons' * (own == 'neurons')}", draw) for draw in (0, 1)),
    ]
    assert tried[0].prefixed == (own == "sae")
    assert isinstance(tried[0].edit, FeatureEdit)
    assert tried[0].edit.features.tolist() == [3]
    assert [one.defence for one in tried[3:]] == (list(CLOSED_FORMS) if kinds else [])
    assert all(isinstance(one.edit, AffineEdit) and one.edit.scale == 2.0 for one in tried[3:])


def test_where_nothing_was_taken_nothing_is_done() -> None:
    tried = evaluating.edits_of(NeuronBasis(D), chosen([], None), maps(), "neurons")  # type: ignore[arg-type]
    assert all(isinstance(one.edit, NoEdit) for one in tried)
