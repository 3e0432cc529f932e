"""The Top-K SAE: the k largest pre-activations of a token are kept, then rectified."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.codes import Codes, sparse_pays
from clipsteer.dictionaries.screen import screening_dtype, top_codes
from clipsteer.errors import ClipsteerError


class TopK(Dictionary):
    """f_j = relu(pre_j) where pre_j is among the k largest of its token, else 0.

    A tie for the last place goes to the lower feature number, so that the code is the same on every
    device and for every order in which the values are looked at.
    """

    architecture = "topk"

    def __init__(self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, k: int) -> None:
        super().__init__(W_enc, b_enc, W_dec, b_dec)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= self.m:
            raise ClipsteerError(
                f"k: found {k!r}, expected a whole number from 1 to m = {self.m} (expansion x "
                f"width {self.d}). Lower k or raise the dictionary's expansion."
            )
        self.k = k
        # Kept from step to step: pages of memory new to the process cost a tenth of the product.
        self._screened: Tensor | None = None

    def options(self) -> dict[str, Any]:
        """{"k": k}."""
        return {"k": self.k}

    def code(self, centred: Tensor) -> Tensor | Codes:
        """Only the entries that are kept, by `top_codes`, where they are few."""
        if not sparse_pays(self.k / self.m, self.W_dec.numel()):
            return self.dense_code(centred)
        dtype = screening_dtype(centred, self.W_enc.numel())
        shape = (len(centred), self.m)
        if self._screened is None or (self._screened.shape, self._screened.dtype) != (shape, dtype):
            self._screened = centred.new_empty(shape, dtype=dtype)
        encoder = self.W_enc.t()
        return top_codes(centred, encoder, self.b_enc, self.k, dtype=dtype, out=self._screened)

    def activate(self, pre: Tensor) -> Tensor:
        """Keep the k largest of each row, rectified, in place: (n, m) -> (n, m)."""
        values, indices = select(pre, self.k)
        values = values.relu()
        return pre.zero_().scatter_(1, indices, values)


def select(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest values of each row and where they are: (n, m) -> (n, k), int64 (n, k).

    `torch.topk` leaves open which of several equal values it takes. One value more is asked for:
    only if the k-th equals the one after it can the choice matter, and only if it is positive does
    it survive the rectifier. Such rows, very rare in float32, are sorted stably again.
    """
    if k == pre.shape[1]:
        indices = torch.arange(k, device=pre.device).expand(pre.shape[0], k)
        return pre.clone(), indices
    values, indices = pre.topk(k + 1, dim=1)
    tied = (values[:, k - 1] == values[:, k]) & (values[:, k] > 0)
    rows = tied.nonzero().squeeze(1)
    if rows.numel():
        again, where = pre[rows].sort(dim=1, descending=True, stable=True)
        values[rows] = again[:, : k + 1]
        indices[rows] = where[:, : k + 1]
    return values[:, :k], indices[:, :k]


DICTIONARY = TopK
