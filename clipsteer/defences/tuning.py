"""What is chosen against typographic attacks, on validation alone: features, and edits along directions (Section 7.2).

The choice is that of `AttackedUnderCleanDrop`: attacked images as accurate as clean ones allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from clipsteer.defences.sets import Expanded
from clipsteer.defences.setting import Batches, Place
from clipsteer.steering.ablation import predict_edits, predict_sets
from clipsteer.steering.choose import AttackedUnderCleanDrop, Candidate, choose
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.directions import closed_forms
from clipsteer.steering.intervention import Affine, AffineEdit, TokenKind
from clipsteer.steering.moments import cell_weights, cells_of, contrast, token_moments

VIEWS = ("validation", "validation_attacked")


@dataclass(frozen=True)
class Trials:
    """The unedited model and every candidate on the validation images: correct of clean and of attacked ones.

    `resumed`: without an edit, by the same resumed pass.
    """

    resumed: GroupCounts
    counts: list[GroupCounts]


@dataclass(frozen=True)
class Judge:
    """Counts what a place's edits come to on clean and on attacked validation images, classes `targets` (N,)."""

    place: Place
    classify: Callable[[torch.Tensor], np.ndarray]
    targets: np.ndarray
    progress: Callable[[int], None] | None = None

    def of_sets(self, sets: Sequence[np.ndarray]) -> Trials:
        """Feature sets ablated. Equal sets are evaluated once."""
        return self._counted(
            [
                predict_sets(self.place.evaluator(view, self.classify), sets, self.progress)
                for view in VIEWS
            ]
        )

    def of_edits(self, edits: Sequence[AffineEdit]) -> Trials:
        """Affine edits."""
        return self._counted(
            [
                predict_edits(self.place.evaluator(view, self.classify), edits, self.progress)
                for view in VIEWS
            ]
        )

    def _counted(self, found: Sequence[Any]) -> Trials:
        n = len(self.targets)
        right = [[int((row == self.targets).sum()) for row in view.edited] for view in found]
        resumed = tuple(int((view.resumed == self.targets).sum()) for view in found)
        return Trials(
            GroupCounts(resumed, (n, n)),
            [GroupCounts(pair, (n, n)) for pair in zip(*right, strict=True)],
        )


def choose_set(
    sets: Sequence[Expanded], trials: Trials, rule: AttackedUnderCleanDrop
) -> Expanded | None:
    """The set that validation takes; of equal ones the smaller, then the higher tau, then the least expansion.

    None where nothing gains.
    """

    def cost(expanded: Expanded) -> tuple[float, ...]:
        cosine = 2.0 if expanded.cosine is None else expanded.cosine
        return len(expanded.features), -expanded.threshold, -cosine

    found = choose(
        (Candidate(cost(s), counts, s) for s, counts in zip(sets, trials.counts, strict=True)),
        trials.resumed,
        rule,
    )
    return found.what if found else None


def choose_scale(
    scales: Sequence[float], trials: Trials, rule: AttackedUnderCleanDrop
) -> float | None:
    """The scale that validation takes, of equal ones the smallest; None where nothing gains."""
    found = choose(
        (Candidate((s,), counts, s) for s, counts in zip(scales, trials.counts, strict=True)),
        trials.resumed,
        rule,
    )
    return found.what if found else None


def sweep_frame(sets: Sequence[Expanded], trials: Trials) -> pl.DataFrame:
    """A row for each tau and lambda: sizes of F and F*, correct of clean and of attacked validation images."""
    rows = [
        (s.threshold, s.cosine, s.n_features, len(s.features), *counts.correct, counts.images[0])
        for s, counts in zip(sets, trials.counts, strict=True)
    ]
    schema = {
        **{"tau": pl.Float64, "lambda": pl.Float64, "n_f": pl.Int64, "n_f_star": pl.Int64},
        **{"clean_correct": pl.Int64, "attacked_correct": pl.Int64, "images": pl.Int64},
    }
    return pl.DataFrame(rows, schema, orient="row")


def fit_maps(
    batches: Batches, in_a: np.ndarray, cls: int | None
) -> dict[str, Mapping[TokenKind, Affine]]:
    """Mean difference and LEACE of attacked images against clean ones, by kind of token.

    `in_a` (N,): which of the images in `batches` are attacked.
    """
    cells = cells_of(np.zeros(len(in_a)), in_a)
    fitted = token_moments(batches, cells, cls=cls)
    weights = cell_weights(np.bincount(cells, minlength=fitted.n_cells), "none")
    contrasts = {kind: contrast(moments, weights) for kind, moments in fitted.kinds.items()}
    return closed_forms(contrasts)
