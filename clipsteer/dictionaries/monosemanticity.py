"""How alike the images are that a feature answers to (Pach et al. 2025, arXiv 2504.02821, Section 3.2)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipsteer.backbones.device import one_thread

#: Of (sum a)^2, below which no two images answer: what is left is rounding.
_NONE = 1e-9


class Monosemanticity:
    """The scores of m features over images that come in batches.

    With a_i the feature's activation on image i, scaled over all images to [0, 1], and e_i the image's unit embedding,
    the score is the mean of cos(e_i, e_j) over pairs of different images, weighted by a_i a_j. Written with sums over
    images it needs one pass and no pairs:

        (||sum_i a_i e_i||^2 - sum_i a_i^2) / ((sum_i a_i)^2 - sum_i a_i^2)

    and the scaling, which the whole pass alone knows, is taken out of the sums afterwards. m p numbers are held.
    """

    def __init__(self, m: int, p: int, device: torch.device) -> None:
        self.images = 0
        self._weighted = torch.zeros((m, p), dtype=torch.float64, device=device)
        self.low = self._weighted.new_full((m,), torch.inf)
        self.high = self._weighted.new_full((m,), -torch.inf)
        self._sum, self._squares = self._weighted.new_zeros(m), self._weighted.new_zeros(m)
        self._embeddings = self._weighted.new_zeros(p)

    def add(self, activations: Tensor, embeddings: Tensor) -> None:
        """Of n images: (n, m), one number per image and feature, and unit embeddings (n, p)."""
        a, e = activations.double(), embeddings.double()
        self.images += len(a)
        self.low = torch.minimum(self.low, a.amin(dim=0))
        self.high = torch.maximum(self.high, a.amax(dim=0))
        with one_thread():  # sums over images
            self._sum += a.sum(dim=0)
            self._squares += a.square().sum(dim=0)
            self._weighted.addmm_(a.T, e)
            self._embeddings += e.sum(dim=0)

    def scores(self) -> NDArray[np.float64]:
        """(m,); NaN of a feature that answers to fewer than two images, or to all alike."""
        n, low, width = self.images, self.low, self.high - self.low
        total = self._sum - n * low
        squares = self._squares - 2 * low * self._sum + n * low.square()
        vectors = self._weighted.addr(low, self._embeddings, alpha=-1.0)
        lengths = torch.linalg.vector_norm(vectors, dim=1).square()
        pairs = total.square() - squares
        there = (width > 0) & (pairs > _NONE * total.square())
        found = torch.where(there, (lengths - squares) / pairs, torch.nan)
        return np.asarray(found.cpu().numpy())

    def chance(self) -> float | None:
        """The score of a feature that answers to all images alike: the mean cosine of two of them."""
        pairs = self.images**2 - self.images
        length = float(torch.linalg.vector_norm(self._embeddings).square())
        return (length - self.images) / pairs if pairs else None
