"""How many features are active on each token of an image (the paper's Figures 4 and 8)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Of L0 over images, at each token.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: A spatial token is of high norm from so many interquartile ranges above the third quartile on (Tukey's far out).
_FAR = 3.0


class Sparsity:
    """L0 and norm of every token of every image: 8 bytes each are held.

    Attributes:
        cls: the place of the CLS token among those that are counted; None where there is none.
    """

    def __init__(self, cls: int | None) -> None:
        self.cls = cls
        self._l0: list[NDArray[np.int32]] = []
        self._norms: list[NDArray[np.float32]] = []

    def add(self, l0: NDArray[np.int32], norms: NDArray[np.float32]) -> None:
        """Of n images: how many f_j > 0, and the activation's norm, (n, t) each."""
        self._l0.append(l0)
        self._norms.append(norms)

    def result(self) -> dict[str, Any]:
        """JSON values.

        - cls: see there
        - mean, quantiles: of L0 over images, (t,) and (t, 5), see `QUANTILES`
        - high_norm: (t,), the share of images in which the token is of high norm; 0 for CLS, which has no like
        - high_norm_above: the norm from which a spatial token is
        - l0_high_norm, l0_other: mean L0 of spatial tokens of high norm, and of the others; None where there are none
        """
        l0, norms = np.concatenate(self._l0), np.concatenate(self._norms).astype(np.float64)
        spatial = np.ones(l0.shape[1], bool)
        if self.cls is not None:
            spatial[self.cls] = False
        above, high = None, np.zeros(l0.shape, bool)
        if spatial.any():
            first, third = np.quantile(norms[:, spatial], (0.25, 0.75))
            above = float(third + _FAR * (third - first))
            high = (norms > above) & spatial
        return {
            "cls": self.cls,
            "mean": l0.mean(axis=0).tolist(),
            "quantiles": np.quantile(l0, QUANTILES, axis=0).T.tolist(),
            "high_norm": high.mean(axis=0).tolist(),
            "high_norm_above": above,
            "l0_high_norm": _mean(l0[high]),
            "l0_other": _mean(l0[~high & spatial]),
        }


def _mean(values: NDArray[np.int32]) -> float | None:
    return float(values.mean()) if values.size else None
