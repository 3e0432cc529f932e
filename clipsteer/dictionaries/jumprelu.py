"""The JumpReLU SAE: a feature counts above a threshold of its own. What Batch-Top-K becomes once trained."""

from __future__ import annotations

import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary


class JumpReLU(Dictionary):
    """f_j = relu(pre_j) where pre_j > theta_j, else 0 (Rajamanoharan et al. 2024, arXiv 2407.14435, Eq. 3).

    The comparison is strict, as in SAELens and dictionary_learning.

    Attributes:
        threshold: theta (m,), float32; a negative one leaves plain ReLU.
    """

    architecture = "jumprelu"
    trainable = False
    NAMES = (*Dictionary.NAMES, "threshold")

    def __init__(
        self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, threshold: Tensor
    ) -> None:
        self.threshold = threshold
        super().__init__(W_enc, b_enc, W_dec, b_dec)

    def activate(self, pre: Tensor) -> Tensor:
        """Zero up to the threshold, then relu, in place: (n, m) -> (n, m)."""
        return pre.masked_fill_(pre <= self.threshold, 0).relu_()

    def encode_columns(self, x: Tensor, features: Tensor) -> Tensor:
        """Only the columns asked for are computed: (n, d), int64 (c,) -> (n, c)."""
        weights = self.W_enc.index_select(1, features)
        pre = torch.addmm(self.b_enc[features], x - self.b_dec, weights)
        return pre.masked_fill_(pre <= self.threshold[features], 0).relu_()


DICTIONARY = JumpReLU
