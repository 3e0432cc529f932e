"""The vanilla SAE: ReLU codes, made sparse by an L1 penalty during training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.codes import Codes, positive, sparse_pays


class Vanilla(Dictionary):
    """f = relu((x - b_dec) W_enc + b_enc)."""

    architecture = "vanilla"

    def activate(self, pre: Tensor) -> Tensor:
        """relu, in place: (n, m) -> (n, m)."""
        return pre.relu_()

    def code(self, centred: Tensor) -> Tensor | Codes:
        """Only the entries that fired, where they are few.

        Always dense on other devices, which would have to wait for their number.
        """
        f = self.dense_code(centred)
        if f.device.type == "cpu":
            found = f.numpy() > 0
            if sparse_pays(np.count_nonzero(found) / found.size, self.W_dec.numel()):
                return positive(f, found)
        return f

    def encode_columns(self, x: Tensor, features: Tensor) -> Tensor:
        """Only the columns asked for are computed: (n, d), int64 (c,) -> (n, c).

        Agrees with `encode(x)[:, features]` up to float32 rounding (a product over fewer columns
        may add in another order).
        """
        weights = self.W_enc.index_select(1, features)
        return torch.addmm(self.b_enc[features], x - self.b_dec, weights).relu_()


DICTIONARY = Vanilla
