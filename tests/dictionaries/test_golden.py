"""Forward and backward pass against SAELens on the same weights (see benchmarks/goldens)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.gradients import forward_backward
from clipsteer.dictionaries.optimiser import remove_parallel_
from clipsteer.dictionaries.registry import architecture

GOLDENS = Path(__file__).parent / "goldens"


@pytest.mark.parametrize(
    ("name", "file"), [("vanilla", "saelens_standard"), ("topk", "saelens_topk")]
)
def test_saelens(name: str, file: str) -> None:
    path = GOLDENS / f"{file}.safetensors"
    golden = load_file(path)
    with safe_open(path, "pt") as opened:
        notes = opened.metadata()
    d, m = golden["W_enc"].shape
    options = {"k": int(notes["k"])} if name == "topk" else {}
    weights = {key: golden[key] for key in Dictionary.NAMES}
    dictionary = architecture(name).build(d, m, weights, options)
    codes = dictionary.encode(golden["x"])
    torch.testing.assert_close(codes, golden["codes"], rtol=1e-5, atol=1e-5)
    assert torch.equal(codes > 0, golden["codes"] > 0)
    torch.testing.assert_close(dictionary.decode(codes), golden["output"], rtol=1e-5, atol=1e-5)
    done = forward_backward(dictionary, golden["x"], mse="sum", l1=float(notes.get("l1", 0)))
    assert done.mse == pytest.approx(float(golden["loss.mse_loss"]), rel=1e-5)
    assert done.loss == pytest.approx(float(golden["loss"]), rel=1e-5)
    # SAELens weights the L1 term with the decoder norms, which adds a gradient along each row: the
    # part that the projection removes.
    for gradient in (done.gradients["W_dec"], golden["grad.W_dec"]):
        remove_parallel_(gradient, dictionary.W_dec)
    for key in Dictionary.NAMES:
        expected = golden[f"grad.{key}"]
        assert float(expected.abs().max()) > 0.01
        torch.testing.assert_close(done.gradients[key], expected, rtol=1e-4, atol=1e-4)
