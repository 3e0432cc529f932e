"""The gated SAE: one view of a pre-activation says whether a feature fires, another how much."""

from __future__ import annotations

import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary


class Gated(Dictionary):
    """f_j = relu(gain_j pre_j + shift_j) where pre_j > 0, else 0.

    The gate is `pre` itself, b_enc its bias (Rajamanoharan et al. 2024, arXiv 2404.16014, Eqs. 3 to 5: W_mag is
    exp(r_mag) W_gate). With their names gain = exp(r_mag) and shift = b_mag - gain b_gate.

    Attributes:
        gain: (m,), float32.
        shift: (m,), float32.
    """

    architecture = "gated"
    trainable = False
    NAMES = (*Dictionary.NAMES, "gain", "shift")

    def __init__(
        self,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        *,
        gain: Tensor,
        shift: Tensor,
    ) -> None:
        self.gain, self.shift = gain, shift
        super().__init__(W_enc, b_enc, W_dec, b_dec)

    def activate(self, pre: Tensor) -> Tensor:
        """Gate and magnitude of one pre-activation: (n, m) -> (n, m)."""
        closed = pre <= 0
        return pre.mul_(self.gain).add_(self.shift).relu_().masked_fill_(closed, 0)

    def encode_columns(self, x: Tensor, features: Tensor) -> Tensor:
        """Only the columns asked for are computed: (n, d), int64 (c,) -> (n, c)."""
        weights = self.W_enc.index_select(1, features)
        pre = torch.addmm(self.b_enc[features], x - self.b_dec, weights)
        magnitude = (pre * self.gain[features]).add_(self.shift[features]).relu_()
        return magnitude.masked_fill_(pre <= 0, 0)


DICTIONARY = Gated
