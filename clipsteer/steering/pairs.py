"""The true effect of a cause, from pairs of images that differ in it alone, and how close an edit comes to it.

Image i has a pair i'. m(.) is the class margin, of cosines: the score of the true class minus the best other. The
ideal edit gives m_F(i) = m(i') where the cause is there, and leaves m(i) alone where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

LEAST_EFFECT = 1e-8
"""Mean squared true effect (of cosines, so 0.01 of a logit at scale 100) below which nothing is measured."""

Margins = NDArray[np.float64]
Bools = NDArray[np.bool_]


def margins(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> Margins:
    """Class margins (..., N) of scores (..., N, K), K at least 2, and true classes (N,)."""
    own = np.broadcast_to(targets[:, None] == np.arange(scores.shape[-1]), scores.shape)
    wide = scores.astype(np.float64)
    best_other: Margins = np.where(own, -np.inf, wide).max(axis=-1)
    return np.asarray(wide[own].reshape(best_other.shape) - best_other)


@dataclass(frozen=True, eq=False)
class Pairs:
    """The test images with what their pairs come to, without any edit.

    `margin`, `pair_margin` (N,): m(i) and m(i'), NaN where an image has no pair. `pair_right` (N,): whether the pair
    is told right. `targets`, `groups` (N,), and `caused` (N,): whether the cause is there.
    """

    margin: Margins
    pair_margin: Margins
    pair_right: Bools
    targets: NDArray[np.int64]
    groups: NDArray[np.int64]
    caused: Bools

    @classmethod
    def of(cls, images: pl.DataFrame, pairs: pl.DataFrame, attribute_value: int) -> Pairs | None:
        """Of the test images and of `margin` and `prediction` of their pairs, row by row; None if none has a pair."""
        if pairs["margin"].is_null().all():
            return None
        targets = images["target"].cast(pl.Int64).to_numpy()
        return cls(
            images["margin"].cast(pl.Float64).to_numpy(),
            pairs["margin"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
            pairs["prediction"].fill_null(-1).to_numpy() == targets,
            targets,
            images["group"].cast(pl.Int64).to_numpy(),
            images["spurious"].to_numpy() == attribute_value,
        )

    @property
    def known(self) -> Bools:
        """Which images have a pair, (N,)."""
        return ~np.isnan(self.pair_margin)

    @property
    def true_effect(self) -> Margins:
        """m(i') - m(i), (N,); NaN where an image has no pair."""
        return self.pair_margin - self.margin

    def accuracies(self, n_groups: int) -> dict[str, float | None]:
        """`pairs_acc_<group>`: of the pairs of each group's images, in per cent; None where there is none.

        Where the cause is there, it is what an ideal edit would reach.
        """
        found: dict[str, float | None] = {}
        for group in range(n_groups):
            own = self.known & (self.groups == group)
            right = 100 * float(self.pair_right[own].mean()) if own.any() else None
            found[f"pairs_acc_{group}"] = right
        return found

    def measure(self, edited: Margins | None, n_classes: int) -> dict[str, float | None]:
        """How close an edit's margins m_F (N,) come to the pairs', by target class.

        - `n_pairs_<class>`: images with the cause that have a pair.
        - `true_effect_<class>`: root mean square of m(i') - m(i) over images with the cause.
        - `recovery_<class>`: 1 - sum (m_F(i) - m(i'))^2 / sum (m(i) - m(i'))^2 over them. 1 is ideal, 0 what doing
          nothing gives, below 0 is worse than that.
        - `pair_collateral_<class>`: the mean of (m_F(i) - m(i))^2 over images without the cause, in units of the
          mean squared true effect.

        None where there are no such images, where the mean squared true effect is under LEAST_EFFECT, and, but for
        the true effect, where margins are on another scale (`edited` None).
        """
        found: dict[str, float | None] = {}
        for number in range(n_classes):
            mine = self.targets == number
            caused, others = mine & self.caused & self.known, mine & ~self.caused
            effect = float(np.mean(self.true_effect[caused] ** 2)) if caused.any() else None
            recovery = collateral = None
            if edited is not None and effect is not None and effect >= LEAST_EFFECT:
                left = float(np.mean((edited - self.pair_margin)[caused] ** 2))
                recovery = 1 - left / effect
                if others.any():
                    collateral = float(np.mean((edited - self.margin)[others] ** 2)) / effect
            found |= {
                f"n_pairs_{number}": int(caused.sum()),
                f"true_effect_{number}": None if effect is None else effect**0.5,
                f"recovery_{number}": recovery,
                f"pair_collateral_{number}": collateral,
            }
        return found
