"""The neuron basis as a dictionary, so that neuron controls run through the SAE's own code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary


class NeuronBasis(Dictionary):
    """f(x) = x and n_j = e_j (m = d): a feature is one coordinate of the residual stream.

    Codes are signed, unlike an SAE's. `encode` and `decode` return their argument itself.
    """

    architecture = "neurons"
    trainable = False
    NAMES = ()

    def __init__(self, d: int, device: torch.device | str = "cpu") -> None:
        # The attributes of every dictionary, for code that reads weights; d x d is small.
        self.W_enc = torch.eye(d, device=device)
        self.W_dec = self.W_enc
        self.b_enc = torch.zeros(d, device=device)
        self.b_dec = self.b_enc

    @classmethod
    def build(
        cls, d: int, m: int, tensors: Mapping[str, Tensor], options: Mapping[str, Any]
    ) -> Self:
        """A neuron basis has no tensors of its own; m must equal d."""
        if m != d or tensors or options:
            raise ValueError(
                f"a neuron basis has m = d and no tensors or options; m = {m}, d = {d}"
            )
        return cls(d)

    def activate(self, pre: Tensor) -> Tensor:
        """Nothing is rectified."""
        return pre

    def pre_activations(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def encode_columns(self, x: Tensor, features: Tensor) -> Tensor:
        """The coordinates asked for: (n, d), int64 (c,) -> (n, c)."""
        return x.index_select(1, features)

    def decode(self, f: Tensor) -> Tensor:
        """f itself."""
        return f

    def to(self, device: torch.device | str) -> Self:
        """The same basis on another device."""
        return type(self)(self.d, device)


DICTIONARY = NeuronBasis
