"""Random unit directions as a dictionary: the control for steering that has learned nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary


class RandomDirections(Dictionary):
    """f_j(x) = x . n_j for given unit rows n_j (m, d); with the unit vectors e_j it is the neuron basis.

    Setting a code to a strength sets the component along its direction, as it does for a neuron. Codes are signed.
    """

    architecture = "random"
    trainable = False

    def __init__(self, directions: Tensor) -> None:
        m, d = directions.shape
        zeros = torch.zeros(max(m, d), device=directions.device)
        super().__init__(directions.T, zeros[:m], directions, zeros[:d])

    def activate(self, pre: Tensor) -> Tensor:
        """Nothing is rectified."""
        return pre

    def encode_columns(self, x: Tensor, features: Tensor) -> Tensor:
        """Only the columns asked for are computed: (n, d), int64 (c,) -> (n, c)."""
        return x @ self.W_dec.index_select(0, features).T
