"""The Matryoshka SAE: Batch-Top-K whose first features describe an activation by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from clipsteer.dictionaries.batchtopk import BatchTopK
from clipsteer.errors import ClipsteerError


class Matryoshka(BatchTopK):
    """Batch-Top-K, trained by the mean over prefixes of the reconstruction loss of their features alone.

    Bussmann et al. 2025 (arXiv 2503.17547). What is kept is chosen among all features, once.

    Attributes:
        prefixes: shares of the features, ascending, the last 1.
    """

    architecture = "matryoshka"

    def __init__(
        self,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        prefixes: Sequence[float],
        **options: Any,
    ) -> None:
        super().__init__(W_enc, b_enc, W_dec, b_dec, **options)
        self.prefixes = tuple(prefixes)
        self._levels = levels(self.prefixes, self.m)

    def options(self) -> dict[str, Any]:
        """{"k": k, "prefixes": shares}."""
        return {**super().options(), "prefixes": list(self.prefixes)}

    @property
    def levels(self) -> tuple[int, ...]:
        """How many features each prefix has."""
        return self._levels


def levels(prefixes: Sequence[float], m: int) -> tuple[int, ...]:
    """How many of m features each prefix has.

    Raises ClipsteerError where two have as many, or the last has not all.
    """
    found = tuple(round(share * m) for share in prefixes)
    steps = zip((0, *found), found, strict=False)
    if not found or found[-1] != m or any(low >= high for low, high in steps):
        raise ClipsteerError(
            f"prefixes: found {list(prefixes)}, which of {m} features are {list(found)}, expected ascending shares of "
            "them, the last 1. Correct the list."
        )
    return found


DICTIONARY = Matryoshka
