"""The part of the config that trains a dictionary, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from clipsteer.dictionaries.loss import MSE_VARIANTS, Mse
from clipsteer.errors import ClipsteerError

#: Keys of a dictionary's config that act before training: they choose the class and the batches.
CALLER_KEYS = frozenset({"architecture", "batch_size", "epochs"})


@dataclass(frozen=True)
class Settings:
    """How one SAE is trained (Sections 4 and 10.1 of the paper; docs/method.md, section 4)."""

    expansion: int = 64
    """m = expansion x d features."""

    k: int | None = None
    """Features kept per token, of Batch-Top-K and Matryoshka on the mean; none for vanilla."""

    prefixes: Sequence[float] | None = None
    """Shares of the features that describe an activation by themselves, the last 1; for Matryoshka only."""

    l1: float = 0.0
    """Coefficient of the mean over tokens of sum_j f_j. Its scale belongs to `mse`."""

    mse: Mse = "prisma"
    """Variant of the reconstruction loss: prisma, sum or normalised."""

    lr: float = 4e-4
    """Peak learning rate of Adam."""

    warmup_steps: int = 200
    """Steps of linear warm-up before the cosine."""

    final_lr: float = 0.0
    """Fraction of `lr` at which the cosine ends (the authors' code: about 0)."""

    clip_norm: float | None = 1.0
    """Largest norm of all gradients together; null for no clipping."""

    ghost_grads: bool = True
    """Whether dead features get the ghost term."""

    dead_window: int = 5000
    """Steps without firing after which a feature counts as dead (the authors, with 5000, wait for
    one step more)."""

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Settings from a plain mapping; `CALLER_KEYS` may be among its keys and are left out.

        Raises:
            ClipsteerError: an unknown key, or a value of the wrong kind or out of range.
        """
        known = {field.name for field in fields(cls)}
        config = {key: value for key, value in config.items() if key not in CALLER_KEYS}
        unknown = sorted(set(config) - known)
        if unknown:
            raise ClipsteerError(
                f"dictionaries.<name>.training: unknown keys {unknown}, expected some of "
                f"{sorted(known)}. Remove or rename them."
            )
        settings = cls(**config)
        settings._check()
        return settings

    def _check(self) -> None:
        self._whole("expansion", 1)
        self._whole("warmup_steps", 0)
        self._whole("dead_window", 1)
        if self.k is not None:
            self._whole("k", 1)
        self._number("l1", 0.0, math.inf)
        self._number("lr", 0.0, math.inf)
        self._number("final_lr", 0.0, 1.0)
        if self.clip_norm is not None:
            self._number("clip_norm", 0.0, math.inf)
            if self.clip_norm == 0:
                self._refuse("clip_norm", "a number above 0, or null for no clipping")
        if self.mse not in MSE_VARIANTS:
            self._refuse("mse", f"one of {', '.join(MSE_VARIANTS)}")
        if not isinstance(self.ghost_grads, bool):
            self._refuse("ghost_grads", "true or false")

    def _whole(self, key: str, least: int) -> None:
        value = getattr(self, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self._refuse(key, f"a whole number of at least {least}")

    def _number(self, key: str, low: float, high: float) -> None:
        value = getattr(self, key)
        kind = isinstance(value, int | float) and not isinstance(value, bool)
        if not kind or not math.isfinite(value) or not low <= value <= high:
            until = "" if math.isinf(high) else f" and at most {high}"
            self._refuse(key, f"a finite number of at least {low}{until}")

    def _refuse(self, key: str, expected: str) -> None:
        raise ClipsteerError(
            f"dictionaries.<name>.training.{key}: found {getattr(self, key)!r}, "
            f"expected {expected}."
        )
