"""The vanilla SAE: ReLU codes, made sparse by an L1 penalty during training."""

from __future__ import annotations

import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary


class Vanilla(Dictionary):
    """f = relu((x - b_dec) W_enc + b_enc)."""

    architecture = "vanilla"

    def activate(self, pre: Tensor) -> Tensor:
        """relu, in place: (n, m) -> (n, m)."""
        return pre.relu_()

    def encode_columns(self, x: Tensor, features: Tensor) -> Tensor:
        """Only the columns asked for are computed: (n, d), int64 (c,) -> (n, c).

        Agrees with `encode(x)[:, features]` up to float32 rounding (a product over fewer columns
        may add in another order).
        """
        weights = self.W_enc.index_select(1, features)
        return torch.addmm(self.b_enc[features], x - self.b_dec, weights).relu_()


DICTIONARY = Vanilla
