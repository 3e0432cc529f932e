"""A Top-K SAE of others whose decoder rows were not of unit norm, told apart: direction here, norm as a gain."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from clipsteer.dictionaries.topk import TopK


class ScaledTopK(TopK):
    """f_j = gain_j relu(pre_j) where pre_j is among the k largest of its token, else 0.

    The k largest are found before the gain, as whoever trained it did: folded into the encoder, it would
    choose other features.

    Attributes:
        gain: norm of the decoder row as it was trained, (m,), float32.
    """

    architecture = "scaled_topk"
    trainable = False
    NAMES = (*TopK.NAMES, "gain")

    def __init__(
        self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, **others: Any
    ) -> None:
        self.gain: Tensor = others.pop("gain")
        super().__init__(W_enc, b_enc, W_dec, b_dec, **others)

    def activate(self, pre: Tensor) -> Tensor:
        """Top-K, then the gain, in place: (n, m) -> (n, m)."""
        return super().activate(pre).mul_(self.gain)


DICTIONARY = ScaledTopK
