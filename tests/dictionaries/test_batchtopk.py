"""Batch-Top-K and Matryoshka: what a batch keeps, by sorting it; the loss of prefixes, by autograd; the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.dictionaries.batchtopk import BatchTopK
from clipsteer.dictionaries.codes import Codes, decode
from clipsteer.dictionaries.gradients import forward_backward
from clipsteer.dictionaries.jumprelu import JumpReLU
from clipsteer.dictionaries.loss import MSE_VARIANTS
from clipsteer.dictionaries.matryoshka import Matryoshka, levels
from clipsteer.dictionaries.train import Data, train
from clipsteer.errors import ClipsteerError
from clipsteer.snapshots import Snapshots
from tests.dictionaries import helpers

PREFIXES = [0.1, 0.4, 1.0]


def made(kind: str = "batchtopk", dtype: torch.dtype = torch.float64, **sizes: int) -> BatchTopK:
    tensors = helpers.make("vanilla", dtype=dtype, **sizes).tensors()
    return (
        Matryoshka(**tensors, k=3, prefixes=PREFIXES)
        if kind == "matryoshka"
        else BatchTopK(**tensors, k=3)
    )


def kept(pre: np.ndarray, count: int) -> np.ndarray:
    """Which entries are kept, by sorting all of them: ties to what comes first."""
    order = sorted(range(pre.size), key=lambda place: (-pre.flat[place], place))[:count]
    found = np.zeros(pre.size, dtype=bool)
    found[order] = True
    return found.reshape(pre.shape) & (pre > 0)


@settings(max_examples=80)
@given(
    rows=st.lists(st.lists(st.integers(-3, 4), min_size=7, max_size=7), min_size=1, max_size=6),
    k=st.integers(1, 7),
    before=st.floats(0.1, 6),
)
def test_a_batch_keeps_its_largest_whatever_the_last_one_kept(
    rows: list[list[int]], k: int, before: float
) -> None:
    pre = torch.tensor(rows, dtype=torch.float32)
    tensors = {
        "W_enc": torch.eye(7),
        "b_enc": torch.zeros(7),
        "W_dec": torch.eye(7),
        "b_dec": torch.zeros(7),
    }
    dictionary = BatchTopK(**tensors, k=k)
    dictionary.lowest = before
    found = dictionary.activate(pre.clone())
    expected = np.where(kept(pre.numpy(), k * len(rows)), pre.numpy(), 0)
    assert np.array_equal(found.numpy(), expected)
    positive = expected[expected > 0]
    assert dictionary.lowest == (positive.min() if positive.size else None)
    code = dictionary.code(pre)
    dense = found if not isinstance(code, Codes) else decode(code, torch.eye(7))
    assert torch.equal(dense, found)


def test_tokens_share_what_is_kept() -> None:
    dictionary, x = made(), helpers.tokens(40, 7)
    fired = (dictionary.encode(x) > 0).sum(dim=1)
    assert int(fired.sum()) == 3 * 40
    assert len(set(fired.tolist())) > 3


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka"])
@pytest.mark.parametrize("mse", MSE_VARIANTS)
@pytest.mark.parametrize("size", [12, 300], ids=["dense", "listed"])
def test_loss_and_gradients_agree_with_autograd(kind: str, mse: str, size: int) -> None:
    dictionary, x = made(kind, m=size), helpers.tokens(30, 7)
    assert isinstance(dictionary.code(x - dictionary.b_dec), Codes) == (size == 300)
    ours = forward_backward(dictionary, x, mse=mse, l1=0.0)  # type: ignore[arg-type]
    leaves = {name: t.clone().requires_grad_() for name, t in dictionary.tensors().items()}
    pre = (x - leaves["b_dec"]) @ leaves["W_enc"] + leaves["b_enc"]
    f = pre * torch.from_numpy(kept(pre.detach().numpy(), 3 * 30))
    centred = x - x.mean(0, keepdim=True)
    weights = {
        "prisma": 1 / centred.norm(dim=1) / (30 * 7),
        "sum": torch.full((30,), 1 / 30, dtype=torch.float64),
        "normalised": (1 / (centred**2).sum()).expand(30),
    }[mse]
    widths = [round(share * size) for share in PREFIXES] if kind == "matryoshka" else [size]
    losses = []
    for width in widths:
        x_hat = f[:, :width] @ leaves["W_dec"][:width] + leaves["b_dec"]
        losses.append((((x_hat - x) ** 2).sum(dim=1) * weights).sum())
    loss = torch.stack(losses).mean()
    torch.autograd.backward(loss)
    assert ours.loss == pytest.approx(loss.item(), rel=1e-10)
    assert ours.l0 == pytest.approx(3.0)
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        torch.testing.assert_close(ours.gradients[name], leaf.grad, rtol=1e-9, atol=1e-11)
    slow = forward_backward(dictionary, x, mse=mse, l1=0.0, dense=True)  # type: ignore[arg-type]
    for name in leaves:
        torch.testing.assert_close(
            slow.gradients[name], ours.gradients[name], rtol=1e-9, atol=1e-11
        )


def test_a_prefix_that_has_no_features_of_its_own_is_refused() -> None:
    assert levels([0.25, 1], 8) == (2, 8)
    for prefixes in ([0.01, 1], [0.5, 0.5, 1], [0.5], [1, 0.5], []):
        with pytest.raises(ClipsteerError, match=r"prefixes: found .* the last 1"):
            levels(prefixes, 8)


STEPS, BATCH = 30, 64
ATOMS = helpers.unit_rows(12, 8, seed=3)


def trained(kind: str, snapshots: Snapshots | None = None, **config: Any) -> Any:
    def batches(done: int) -> Any:
        stream = helpers.planted(ATOMS, batch=BATCH, active=3, seed=5)
        for _ in range(done):
            next(stream)
        yield from stream

    data = Data(batches, lambda: next(helpers.planted(ATOMS, batch=256, active=3, seed=6)))
    words = {
        "architecture": kind,
        "expansion": 8,
        "k": 3,
        "mse": "normalised",
        "lr": 0.01,
        "warmup_steps": 2,
    }
    words |= {"prefixes": PREFIXES} if kind == "matryoshka" else {}
    return train(data, words | config, steps=STEPS, seed=1, snapshots=snapshots, log_every=10)


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka"])
def test_training_ends_in_a_jumprelu_that_keeps_about_k(kind: str) -> None:
    dictionary, log = trained(kind)
    assert isinstance(dictionary, JumpReLU)
    (threshold,) = set(dictionary.threshold.tolist())
    assert threshold > 0
    assert log["mse"][-1] < log["mse"][0] / 2
    x = torch.from_numpy(next(helpers.planted(ATOMS, batch=500, active=3, seed=9)))
    assert float((dictionary.encode(x) > 0).sum(dim=1).double().mean()) == pytest.approx(
        3, rel=0.35
    )
    # a code does not depend on its neighbours
    assert torch.allclose(dictionary.encode(x)[:7], dictionary.encode(x[:7]), atol=1e-6)


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka"])
def test_training_resumes_to_the_same_bytes(kind: str) -> None:
    saved: dict[int, bytes] = {}
    whole, _ = trained(kind, Snapshots(None, lambda step, make: saved.update({step: make()})))
    again, _ = trained(kind, Snapshots(lambda: saved[13], None))
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, again.tensors()[name]), name


def test_the_threshold_is_the_mean_of_the_last_tenth_of_the_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float | None] = []
    code = BatchTopK.code

    def told(self: BatchTopK, centred: torch.Tensor) -> Any:
        found = code(self, centred)
        seen.append(self.lowest)
        return found

    monkeypatch.setattr(BatchTopK, "code", told)
    dictionary, _ = trained("batchtopk")
    assert len(seen) == STEPS
    assert float(dictionary.threshold[0]) == pytest.approx(np.mean(seen[-3:]), rel=1e-6)
    idle = made()
    assert idle.followed(0.4, 0.5) == 0.4
    assert isinstance(idle.finished(None), JumpReLU)


def test_what_is_no_number_is_not_lost() -> None:
    with pytest.raises(ClipsteerError, match="the loss is nan"):
        trained("batchtopk", lr=1e30, clip_norm=None)
