"""Forward and backward pass against SAELens on the same weights (see benchmarks/goldens)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    ("name", "file"),
    [
        ("vanilla", "saelens_standard"),
        ("topk", "saelens_topk"),
        ("batchtopk", "saelens_batchtopk"),
        ("matryoshka", "saelens_matryoshka"),
    ],
)
def test_saelens(name: str, file: str) -> None:
    path = GOLDENS / f"{file}.safetensors"
    golden = load_file(path)
    with safe_open(path, "pt") as opened:
        notes = opened.metadata()
    d, m = golden["W_enc"].shape
    options: dict[str, Any] = {} if name == "vanilla" else {"k": int(notes["k"])}
    levels = 1
    if name == "matryoshka":
        widths = json.loads(notes["widths"])
        options["prefixes"] = [width / m for width in widths]
        levels = len(widths)  # of whose losses SAELens takes the sum, and we the mean
    weights = {key: golden[key] for key in Dictionary.NAMES}
    dictionary = architecture(name).build(d, m, weights, options)
    codes = dictionary.activate(dictionary.pre_activations(golden["x"]))
    torch.testing.assert_close(codes, golden["codes"], rtol=1e-5, atol=1e-5)
    assert torch.equal(codes > 0, golden["codes"] > 0)
    torch.testing.assert_close(dictionary.decode(codes), golden["output"], rtol=1e-5, atol=1e-5)
    done = forward_backward(dictionary, golden["x"], mse="sum", l1=float(notes.get("l1", 0)))
    mse = sum(float(golden[key]) for key in golden if key.startswith("loss.") and "mse_loss" in key)
    assert levels * done.mse == pytest.approx(mse, rel=1e-5)
    assert levels * done.loss == pytest.approx(float(golden["loss"]), rel=1e-5)
    # SAELens weights the L1 term with the decoder norms, which adds a gradient along each row: the
    # part that the projection removes.
    done.gradients.update({key: levels * part for key, part in done.gradients.items()})
    for gradient in (done.gradients["W_dec"], golden["grad.W_dec"]):
        remove_parallel_(gradient, dictionary.W_dec)
    for key in Dictionary.NAMES:
        expected = golden[f"grad.{key}"]
        assert float(expected.abs().max()) > 0.01
        torch.testing.assert_close(done.gradients[key], expected, rtol=1e-4, atol=1e-4)
