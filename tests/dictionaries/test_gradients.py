"""The hand-written backward pass against autograd in float64, and the values against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clipsteer.dictionaries.gradients import forward_backward
from clipsteer.dictionaries.loss import MSE_VARIANTS, token_weights
from tests.dictionaries import helpers

DEAD = torch.tensor([1, 5, 6, 13])


def autograd_loss(
    tensors: dict[str, torch.Tensor],
    x: torch.Tensor,
    k: int | None,
    mse: str,
    l1: float,
    dead: torch.Tensor | None,
) -> dict[str, torch.Tensor]:
    """The loss as docs/method.md (section 4) writes it, for autograd: nothing shared with our code."""
    n, d = x.shape
    pre = (x - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]
    if k is None:
        f = torch.relu(pre)
    else:
        kept = torch.zeros_like(pre).scatter(1, pre.topk(k, dim=1).indices, 1.0)
        f = torch.relu(pre) * kept
    x_hat = f @ tensors["W_dec"] + tensors["b_dec"]
    centred = x - x.mean(0, keepdim=True)
    error = (x_hat - x) ** 2
    elements = {
        "prisma": error / centred.norm(dim=-1, keepdim=True),
        "sum": error * d,
        "normalised": error * n * d / (centred**2).sum(),
    }[mse]
    terms = {"mse": elements.mean(), "l1": l1 * f.sum(1).mean(), "ghost": torch.zeros(())}
    if dead is not None:
        r = x - x_hat
        g = torch.exp(pre[:, dead]) @ tensors["W_dec"][dead]
        g = g * (r.norm(dim=-1) / (1e-6 + 2 * g.norm(dim=-1)))[:, None].detach()
        spread = (r - r.mean(0, keepdim=True)).norm(dim=-1, keepdim=True).detach()
        ghost = (g - r.detach()) ** 2 / spread
        terms["ghost"] = ((elements / (ghost + 1e-6)).detach() * ghost).mean()
    return terms


@pytest.mark.parametrize("mse", MSE_VARIANTS)
@pytest.mark.parametrize("kind", ["vanilla", "topk"])
@pytest.mark.parametrize("dead", [None, DEAD], ids=["alive", "ghost"])
def test_loss_and_gradients_agree_with_autograd(
    kind: str, mse: str, dead: torch.Tensor | None
) -> None:
    dictionary, x = helpers.make(kind), helpers.tokens(40, 7)
    l1 = 0.07
    ours = forward_backward(dictionary, x, mse=mse, l1=l1, dead=dead)  # type: ignore[arg-type]
    leaves = {name: t.clone().requires_grad_() for name, t in dictionary.tensors().items()}
    terms = autograd_loss(leaves, x, dictionary.options().get("k"), mse, l1, dead)
    loss = terms["mse"] + terms["l1"] + terms["ghost"]
    torch.autograd.backward(loss)
    for name, term in terms.items():
        assert getattr(ours, name) == pytest.approx(term.item(), rel=1e-10, abs=1e-12), name
    assert (ours.ghost > 0) == (dead is not None)
    assert ours.loss == pytest.approx(loss.item(), rel=1e-10)
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        torch.testing.assert_close(ours.gradients[name], leaf.grad, rtol=1e-9, atol=1e-11)


def test_values_agree_with_loops() -> None:
    dictionary, x = helpers.make("topk"), helpers.tokens(12, 7)
    codes = helpers.encode(dictionary, x)
    errors = ((helpers.decode(dictionary, codes) - x.numpy()) ** 2).sum(axis=1)
    mean = x.numpy().mean(axis=0)
    spreads = [math.sqrt(sum((token - mean) ** 2)) for token in x.numpy()]
    expected = {
        "prisma": sum(e / s for e, s in zip(errors, spreads, strict=True)) / (12 * 7),
        "sum": sum(errors) / 12,
        "normalised": sum(errors) / sum(s**2 for s in spreads),
    }
    for mse, value in expected.items():
        done = forward_backward(dictionary, x, mse=mse, l1=0.5)  # type: ignore[arg-type]
        assert done.mse == pytest.approx(value, rel=1e-11)
        assert done.l1 == pytest.approx(0.5 * codes.sum() / 12, rel=1e-11)
        assert done.l0 == pytest.approx((codes > 0).sum() / 12)
        assert done.explained_variance == pytest.approx(1 - expected["normalised"], rel=1e-11)
        np.testing.assert_array_equal(done.fired.numpy(), (codes > 0).any(axis=0))


def test_a_batch_of_equal_tokens_does_not_divide_by_zero() -> None:
    x = torch.ones(4, 7, dtype=torch.float64)
    for mse in MSE_VARIANTS:
        assert bool(torch.isfinite(token_weights(x, mse)).all())  # type: ignore[arg-type]


def test_gradients_descend() -> None:
    """A finite difference along the gradient, as a check on the sign of every parameter."""
    dictionary, x = helpers.make("vanilla"), helpers.tokens(40, 7)
    before = forward_backward(dictionary, x, mse="sum", l1=0.1)
    for name, gradient in before.gradients.items():
        moved = helpers.make("vanilla")
        getattr(moved, name).sub_(gradient, alpha=1e-6 / float(gradient.norm()))
        after = forward_backward(moved, x, mse="sum", l1=0.1)
        slope = (after.loss - before.loss) / 1e-6
        assert slope == pytest.approx(-float(gradient.norm()), rel=1e-3)
