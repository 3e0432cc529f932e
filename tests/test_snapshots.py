"""Tensors and notes as bytes: nothing is lost, equal gives equal, no pickle."""

from __future__ import annotations

import math
from typing import Any

import torch

from clipsteer.snapshots import pack, unpack

NOTES: dict[str, Any] = {"rows": [{"b": 0.1 + 0.2, "a": 3}], "z": [1e-300, -0.0], "a": "é"}


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "odd": torch.randn(7, generator=generator),
        "turned": torch.randn(3, 5, generator=generator).t(),
        "grows": torch.randn(2, 2, generator=generator).requires_grad_(),
        "scalar": torch.tensor(2.5),
        "counts": torch.tensor([1, 2**40]),
        "generator": generator.get_state(),
        "strange": torch.tensor([math.nan, -0.0, math.inf, 1e-42]),
    }


def test_everything_comes_back_bit_for_bit() -> None:
    found, notes = unpack(pack(tensors(), NOTES))
    assert set(found) == set(tensors())
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        plain = tensor.detach().contiguous()
        assert found[name].numpy().tobytes() == plain.numpy().tobytes(), name
    assert notes == NOTES
    assert [list(row) for row in notes["rows"]] == [["b", "a"]]
    assert math.copysign(1, notes["z"][1]) == -1


def test_equal_content_gives_equal_bytes() -> None:
    first = pack(tensors(), NOTES)
    for _ in range(20):
        assert pack(dict(reversed(tensors().items())), NOTES) == first
    assert pack(*unpack(first)) == first


def test_tensors_lie_where_torch_puts_its_own() -> None:
    # safetensors' own reader gives views whose alignment varies, by which a product may round.
    found, _ = unpack(pack(tensors(), NOTES))
    assert {tensor.data_ptr() % 64 for tensor in found.values()} == {0}
