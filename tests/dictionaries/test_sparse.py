"""Lists of what fired give what dense matrix products give; the screen never loses a feature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.dictionaries import codes, topk
from clipsteer.dictionaries.codes import Codes
from clipsteer.dictionaries.gradients import Pass, forward_backward
from clipsteer.dictionaries.loss import MSE_VARIANTS
from clipsteer.dictionaries.screen import screen, screening_dtype, top_codes
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.vanilla import Vanilla
from tests.dictionaries import helpers

BF16 = torch.bfloat16
DEAD = torch.tensor([1, 5, 6, 77])


def dense(code: Codes, m: int) -> torch.Tensor:
    """(n, m) from a list."""
    counts = code.start.diff().long()
    token = torch.repeat_interleave(torch.arange(len(counts)), counts)
    f = code.value.new_zeros(len(counts), m)
    return f.index_put_((token, code.feature.long()), code.value)


def exact(x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, k: int) -> torch.Tensor:
    """relu of the k largest by a stable sort of pre-activations in float64."""
    pre = x.double() @ encoder.double().t() + bias.double()
    values, places = pre.sort(dim=1, descending=True, stable=True)
    return torch.zeros_like(pre).scatter_(1, places[:, :k], values[:, :k].relu())


def rare(kind: str, dtype: torch.dtype = torch.float64) -> TopK | Vanilla:
    """A dictionary of which few enough features fire."""
    made = helpers.make(kind, d=24, m=512, k=12, dtype=dtype)
    if isinstance(made, Vanilla):
        made.b_enc.sub_(5.0)
    assert isinstance(made, TopK | Vanilla)
    return made


@pytest.mark.parametrize("mse", MSE_VARIANTS)
@pytest.mark.parametrize("kind", ["vanilla", "topk"])
@pytest.mark.parametrize("dead", [None, DEAD], ids=["alive", "ghost"])
def test_sparse_and_dense_pass_agree(kind: str, mse: str, dead: torch.Tensor | None) -> None:
    dictionary, x = rare(kind), helpers.tokens(40, 24)
    assert isinstance(dictionary.code(x - dictionary.b_dec), Codes)

    def go(slow: bool) -> Pass:
        return forward_backward(dictionary, x, mse=mse, l1=0.07, dead=dead, dense=slow)  # type: ignore[arg-type]

    ours, slow = go(False), go(True)
    assert ours.l0 > 2
    assert torch.equal(ours.fired, slow.fired)
    for field in ("loss", "mse", "l1", "ghost", "l0", "explained_variance"):
        assert getattr(ours, field) == pytest.approx(getattr(slow, field), rel=1e-10), field
    for name, gradient in ours.gradients.items():
        assert float(gradient.abs().max()) > 1e-6, name
        torch.testing.assert_close(gradient, slow.gradients[name], rtol=1e-9, atol=1e-12)


def test_vanilla_changes_to_the_list_once_few_fire() -> None:
    dictionary, x = helpers.make("vanilla", d=24, m=512), helpers.tokens(40, 24)
    kinds = []
    for _ in range(6):
        code = dictionary.code(x)
        kinds.append(isinstance(code, Codes))
        if isinstance(code, Codes):
            assert torch.equal(dense(code, 512), dictionary.dense_code(x))
        dictionary.b_enc.sub_(1.5)
    assert kinds == sorted(kinds)
    assert set(kinds) == {True, False}


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
@pytest.mark.parametrize(("d", "m", "k"), [(48, 2048, 16), (30, 600, 9), (17, 331, 5), (8, 40, 40)])
def test_top_codes_are_the_top_codes(dtype: torch.dtype, d: int, m: int, k: int) -> None:
    made = helpers.make("topk", d=d, m=m, k=k, dtype=torch.float32)
    x = helpers.tokens(200, d, dtype=torch.float32)
    x[::3] *= 1e3
    x[7] = 0.0
    encoder = made.W_enc.t().contiguous()
    encoder[::5] *= 4.0
    got = dense(top_codes(x, encoder, made.b_enc, k, dtype=dtype), m)
    torch.testing.assert_close(got.double(), exact(x, encoder, made.b_enc, k), rtol=1e-5, atol=1e-3)
    assert int((got > 0).sum(dim=1).max()) <= k


def test_the_screens_precision_does_not_reach_the_bytes() -> None:
    made = helpers.make("topk", d=64, m=4096, k=32, dtype=torch.float32)
    x, encoder = helpers.tokens(300, 64, dtype=torch.float32), made.W_enc.t().contiguous()
    one, other = (
        top_codes(x, encoder, made.b_enc, 32, dtype=dtype) for dtype in (torch.float32, BF16)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=60)
@given(
    rows=st.lists(st.lists(st.integers(-2, 3), min_size=32, max_size=32), min_size=1, max_size=6),
    k=st.integers(1, 9),
    low=st.booleans(),
)
def test_ties_go_to_the_lower_feature(rows: list[list[int]], k: int, low: bool) -> None:
    # One token per row of an identity: pre-activations are the encoder's columns.
    pre = torch.tensor(rows, dtype=torch.float32)
    x, encoder = torch.eye(len(rows)), pre.t().contiguous()
    code = top_codes(x, encoder, torch.zeros(32), k, dtype=BF16 if low else torch.float32)
    assert torch.equal(dense(code, 32).double(), exact(x, encoder, torch.zeros(32), k))


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-3, 1.0, 1e4])
def test_the_bound_holds_and_is_not_idle(scale: float) -> None:
    """Features nearly alike, so that bfloat16 mistakes their order."""
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(100, 256, generator=rng) * scale
    encoder = torch.randn(1, 256, generator=rng) + 1e-3 * torch.randn(64, 256, generator=rng)
    bias = torch.randn(64, generator=rng) * scale
    screened, bound = screen(x, encoder, bias, BF16)
    true = x.double() @ encoder.double().t() + bias.double()
    error = (screened.double() - true).abs()
    allowed = bound.absolute.double()[:, None] + bound.relative * screened.double().abs()
    assert bool((error <= allowed).all())
    assert float((error / allowed).max()) > 0.02 or scale < 1e-20  # squares are lost
    by_screen = screened.float().topk(8, dim=1).indices.sort(dim=1).values
    truth = true.topk(8, dim=1).indices.sort(dim=1).values
    assert not torch.equal(by_screen, truth)
    got = dense(top_codes(x, encoder, bias, 8, dtype=BF16), 64)
    torch.testing.assert_close(
        got.double(), exact(x, encoder, bias, 8), rtol=1e-5, atol=1e-5 * scale
    )


def test_a_bias_that_cancels_is_screened_in_full() -> None:
    """bfloat16 alone takes -100.251 for -100.5 and -100.249 for -100."""
    x = torch.tensor([[64.0, 1.0]])
    encoder = torch.tensor([[101 / 64, 0.0], [101 / 64, -0.25], *[[0.0, 0.0]] * 30])
    bias = torch.tensor([-100.251, -100.249, *[-1.0] * 30])
    got = dense(top_codes(x, encoder, bias, 1, dtype=BF16), 32)
    torch.testing.assert_close(got.double(), exact(x, encoder, bias, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec"])
@pytest.mark.parametrize("low", [False, True])
def test_a_parameter_that_is_no_number_reaches_the_loss(
    name: str, value: float, low: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if low:
        monkeypatch.setattr(topk, "screening_dtype", lambda *_: BF16)
    made, x = rare("topk", torch.float32), helpers.tokens(40, 24, dtype=torch.float32)
    fired = int(forward_backward(made, x, mse="sum", l1=0.0).fired.nonzero()[0])
    place = {"W_enc": (slice(None), fired), "W_dec": (fired,)}
    made.tensors()[name][place.get(name, (0,))] = value
    done = forward_backward(made, x, mse="sum", l1=0.0)
    assert not math.isfinite(done.loss)


def test_nothing_positive_gives_an_empty_list() -> None:
    made = rare("topk")
    made.b_enc.sub_(1e3)
    done = forward_backward(made, helpers.tokens(9, 24), mse="sum", l1=0.1)
    assert (done.l0, done.l1) == (0.0, 0.0)
    assert not done.fired.any()
    assert not done.gradients["W_dec"].any()
    assert float(done.gradients["b_dec"].abs().max()) > 0


def test_screening_dtype_by_size_and_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 1)
    for able in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda able=able: able)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert screening_dtype(x, 2**24) == (BF16 if able else torch.float32)
        assert screening_dtype(x, 2**10) == torch.float32
        assert screening_dtype(x.double(), 2**24) == torch.float64


@pytest.mark.parametrize("kind", ["vanilla", "topk"])
def test_threads_do_not_reach_the_bytes(kind: str) -> None:
    """Large enough that every operation of a step is split."""
    made = helpers.make(kind, d=128, m=4096, k=32, dtype=torch.float32)
    if kind == "vanilla":
        made.b_enc.sub_(14.0)
    x = helpers.tokens(1024, 128, dtype=torch.float32)
    dead = torch.arange(0, 4096, 7)
    passes = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        passes.append(forward_backward(made, x, mse="prisma", l1=0.1, dead=dead))
    one, two = passes
    share = one.l0 / 4096
    assert 0.002 < share < codes.DENSEST
    assert one[2:] == two[2:]
    assert torch.equal(one.fired, two.fired)
    for name, gradient in one.gradients.items():
        assert torch.equal(gradient, two.gradients[name]), name
    np.testing.assert_array_less(0, float(one.gradients["W_enc"].abs().max()))
