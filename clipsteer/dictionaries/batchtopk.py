"""The Batch-Top-K SAE: of n tokens the k n largest pre-activations are kept, whichever tokens they are of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.codes import Codes, sparse_pays, split, starts
from clipsteer.dictionaries.jumprelu import JumpReLU
from clipsteer.dictionaries.topk import TopK

#: Share of the last batch's smallest value below which the next one's is first not looked for.
_LIKELY = 0.75


class BatchTopK(TopK):
    """f_ij = relu(pre_ij) where that is among the k n largest of a batch of n tokens, else 0.

    Only in training (Bussmann et al. 2024, arXiv 2412.06410). A code must not depend on its neighbours; so a trained
    one is a `JumpReLU` with one threshold: the mean of the smallest value that a batch kept, over the last tenth of the
    training, when weights hardly move. (SAELens follows it from the first batch on, by a hundredth each time.)

    Attributes:
        k: features kept per token, on the mean.
        lowest: the smallest positive value that the last batch kept; None before, and where it kept none.
    """

    architecture = "batchtopk"

    def __init__(
        self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, **options: Any
    ) -> None:
        super().__init__(W_enc, b_enc, W_dec, b_dec, **options)
        self.lowest: float | None = None
        self._pre: Tensor | None = None

    def code(self, centred: Tensor) -> Tensor | Codes:
        """Only the entries that are kept, where they are few; dense on other devices."""
        if centred.device.type != "cpu":
            return self.dense_code(centred)
        n = len(centred)
        if self._pre is None or self._pre.shape != (n, self.m) or self._pre.dtype != centred.dtype:
            self._pre = centred.new_empty(n, self.m)
        pre = torch.addmm(self.b_enc, centred, self.W_enc, out=self._pre)
        kept = self._largest(pre)
        values = torch.from_numpy(pre.numpy().reshape(-1)[kept])
        if not sparse_pays(len(kept) / pre.numel(), self.W_dec.numel()):
            found = torch.zeros_like(pre)
            found.view(-1)[torch.from_numpy(kept)] = values
            return found
        token, feature = split(kept, self.m)
        return Codes(starts(token, n), torch.from_numpy(feature), values)

    def activate(self, pre: Tensor) -> Tensor:
        """Keep the k n largest of all, where they are positive: (n, m) -> (n, m)."""
        if pre.device.type == "cpu":
            kept = torch.from_numpy(self._largest(pre))
            values = pre.reshape(-1)[kept]
        else:
            count = min(self.k * len(pre), pre.numel())
            values, kept = pre.relu().view(-1).topk(count, sorted=False)
            positive = values[values > 0]
            self.lowest = float(positive.min()) if len(positive) else None
        found = torch.zeros_like(pre)
        found.view(-1)[kept] = values
        return found

    def _largest(self, pre: Tensor) -> NDArray[np.int64]:
        """Places of the k n largest positive entries of (n, m), counted row by row, ascending.

        Ties for the last places go to the earlier token, then to the lower feature. The last batch's smallest value
        says where to look first; the result does not depend on it.
        """
        flat, count = pre.numpy().reshape(-1), self.k * len(pre)
        likely = 0.0 if self.lowest is None else self.lowest * _LIKELY
        if np.isnan(flat.max()):  # comparisons would lose it silently
            return np.flatnonzero(np.isnan(flat))[:1]
        found = np.flatnonzero(flat > likely)
        if len(found) < count and likely > 0:
            found = np.flatnonzero(flat > 0)
        values = flat[found]
        if len(found) > count:
            last = np.partition(values, len(values) - count)[len(values) - count]
            kept = values > last
            kept[np.flatnonzero(values == last)[: count - np.count_nonzero(kept)]] = True
            found, values = found[kept], values[kept]
        self.lowest = float(values.min()) if len(values) else None
        return found

    def followed(self, threshold: float | None, weight: float) -> float | None:
        """The running threshold after the last batch, which counts by `weight`; it begins with the first one's."""
        if self.lowest is None or threshold is None:
            return self.lowest if threshold is None else threshold
        return threshold + weight * (self.lowest - threshold)

    def finished(self, threshold: float | None) -> Dictionary:
        """What is used once it is trained."""
        every = self.b_enc.new_full((self.m,), threshold or 0.0)
        found = JumpReLU(**self.tensors(), threshold=every)
        found.tokens = self.tokens
        return found


DICTIONARY = BatchTopK
