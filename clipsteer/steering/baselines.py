"""Method, controls and baselines on one footing: each tried on validation, chosen by the same rules, then tested.

A step makes a list of `Trial`s, predicts the test split under each intervention, and writes one frame, which the
table reads (`trials_frame`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch

from clipsteer.backbones.device import one_thread
from clipsteer.steering.ablation import Predicted, predict_edits, predict_prefixes
from clipsteer.steering.choose import Candidate, Condition, Rule, choose
from clipsteer.steering.controls import random_basis
from clipsteer.steering.counts import GroupCounts, count_groups
from clipsteer.steering.evaluator import Evaluator
from clipsteer.steering.intervention import (
    FeatureEdit,
    Intervention,
    NoEdit,
    StreamEdit,
    ablation,
    projection,
)
from clipsteer.steering.selection import Sweep, select, sweep_frame
from clipsteer.steering.statistics import Balance
from clipsteer.steering.subspaces import (
    SIDES,
    Side,
    rank_reaching,
    removed_energy,
    second_moment,
    span,
    vectors_of,
)


@dataclass(frozen=True, eq=False)
class Option:
    """An intervention that may be taken, and how large it is: in features, rank, or scale."""

    intervention: Intervention
    threshold: float | None = None
    n_features: int | None = None
    rank: int | None = None
    scale: float | None = None


def stream_edits(options: Iterable[Option]) -> list[StreamEdit]:
    """The edits of options that all are edits of the stream. Raises TypeError for another."""
    found = []
    for option in options:
        if not isinstance(option.intervention, StreamEdit):
            raise TypeError(f"{option.intervention} does not edit the stream")
        found.append(option.intervention)
    return found


@dataclass(frozen=True, eq=False)
class Trial:
    """What a method came to under one condition, by what validation says.

    `balance`: how D_A and D_notA were weighted, None where neither was looked at. `condition`: None for
    what no rule chose. `draw`: the seed, of what is drawn. `counts` on validation, of `option` (no edit where
    nothing gained), and `baseline` those of no edit on the same stored numbers. A random subspace has the
    counts of the edit that it stands beside: it takes that one's place.
    """

    method: str
    balance: Balance | None
    condition: Condition | None
    counts: GroupCounts
    baseline: GroupCounts
    option: Option
    draw: int | None = None


def chosen_trials(
    method: str,
    balance: Balance | None,
    candidates: Iterable[Candidate[Option]],
    baseline: GroupCounts,
    rules: Mapping[Condition, Rule],
    nothing: Option,
) -> list[Trial]:
    """One trial a condition: the option that its rule takes, `nothing` where none gains."""
    every = list(candidates)
    trials = []
    for condition, rule in rules.items():
        best = choose(every, baseline, rule)
        counts, option = (baseline, nothing) if best is None else (best.counts, best.what)
        trials.append(Trial(method, balance, condition, counts, baseline, option))
    return trials


@dataclass(frozen=True, eq=False)
class Labelled:
    """The validation images: `targets`, `groups` (N,), how many groups there are, and the rules that choose."""

    targets: np.ndarray
    groups: np.ndarray
    n_groups: int
    rules: Mapping[Condition, Rule]

    def counts(self, predictions: np.ndarray) -> GroupCounts:
        """Of one prediction vector (N,)."""
        return count_groups(predictions, self.targets, self.groups, self.n_groups)


@dataclass(frozen=True, eq=False)
class Validation(Labelled):
    """The same at one place, with what predicts them under edits there."""

    evaluator: Evaluator

    def of_options(
        self,
        method: str,
        balance: Balance | None,
        options: Sequence[Option],
        predicted: Predicted,
        nothing: Option,
    ) -> list[Trial]:
        """Options in ascending size with what was predicted under them; ties go to the first."""
        baseline = self.counts(predicted.resumed)
        candidates = [
            Candidate((float(place),), self.counts(row), option)
            for place, (option, row) in enumerate(zip(options, predicted.edited, strict=True))
        ]
        return chosen_trials(method, balance, candidates, baseline, self.rules, nothing)

    def of_sweep(
        self,
        method: str,
        balance: Balance | None,
        sweep: Sweep,
        draw: int | None = None,
    ) -> list[Trial]:
        """A threshold grid's feature sets, of the evaluator's dictionary."""
        evaluator = self.evaluator
        found = predict_prefixes(evaluator, sweep.order, sweep.distinct)
        frame = sweep_frame(sweep, found.edited, self.targets, self.groups, self.n_groups)
        baseline = self.counts(found.resumed)
        trials = []
        for condition, rule in self.rules.items():
            taken = select(frame, baseline, sweep.order, rule)
            edit = ablation(evaluator.dictionary, taken.features, evaluator.error_term)
            option = Option(edit, taken.threshold, n_features=taken.n_features)
            trials.append(Trial(method, balance, condition, taken.counts, baseline, option, draw))
        return trials

    def of_spans(self, beside: Sequence[Trial]) -> list[Trial]:
        """The spans of each trial's own feature set, projected off whole: a trial for each and each side.

        A span has no options: its rule decides between it and nothing.
        """
        stood = [(trial, side) for trial in beside for side in SIDES]
        with one_thread():
            options = [_span_option(trial, side) for trial, side in stood]
        predictions = predict_edits(self.evaluator, stream_edits(options)).edited
        trials = []
        for (trial, side), option, row in zip(stood, options, predictions, strict=True):
            assert trial.condition is not None
            candidates = [Candidate((0.0,), self.counts(row), option)] if option.rank else []
            rule = {trial.condition: self.rules[trial.condition]}
            nothing = Option(NoEdit(), n_features=0, rank=0)
            trials += chosen_trials(
                f"{side}_subspace", trial.balance, candidates, trial.baseline, rule, nothing
            )
        return trials


def _span_option(trial: Trial, side: Side) -> Option:
    edit = trial.option.intervention
    if not isinstance(edit, FeatureEdit):
        return Option(NoEdit(), n_features=0, rank=0)
    basis = span(vectors_of(edit.dictionary, edit.features, side))
    of = trial.option
    return Option(projection(basis), of.threshold, n_features=of.n_features, rank=basis.shape[1])


def random_subspaces(
    beside: Sequence[Trial], evaluator: Evaluator, seeds: Sequence[int]
) -> list[Trial]:
    """Random projections beside each trial, one a seed, that remove as much of the validation tokens as it does.

    Their rank is the smallest whose sum of ||x' - x||^2 over the edited tokens reaches the trial's; 0, and
    so no edit, where it has none. `evaluator` is that of validation.
    """
    edits = stream_edits(trial.option for trial in beside)
    energies = removed_energy(edits, evaluator)
    second = second_moment(evaluator)
    trials = []
    for seed in seeds:
        basis = torch.from_numpy(random_basis(len(second), seed))
        for trial, energy in zip(beside, energies, strict=True):
            rank = rank_reaching(energy, second, basis)
            edit = projection(basis[:, :rank]) if rank else NoEdit()
            option = Option(edit, rank=rank)
            trials.append(replace(trial, method="random_subspace", option=option, draw=seed))
    return trials


def trials_frame(
    trials: Sequence[Trial],
    predictions: np.ndarray,
    unconcerned: np.ndarray,
    margins: Sequence[np.ndarray | None],
) -> pl.DataFrame:
    """One row a trial, with its predictions on the test split (len(trials), N).

    `unconcerned`: right answers for other attributes there (`clipsteer.steering.unconcerned`), (len(trials), 2 A).
    `margins`: class margins there (N,), in cosines (`clipsteer.steering.pairs`); None where scores are none.

    Counts on validation by group: `validation` and `validation_baseline` of correct predictions,
    `validation_images`.
    """
    counts = pl.List(pl.Int64)
    rows = [
        {
            "method": trial.method,
            "balance": trial.balance,
            "condition": trial.condition,
            "draw": trial.draw,
            "threshold": trial.option.threshold,
            "n_features": trial.option.n_features,
            "rank": trial.option.rank,
            "scale": trial.option.scale,
            "validation": list(trial.counts.correct),
            "validation_baseline": list(trial.baseline.correct),
            "validation_images": list(trial.baseline.images),
        }
        for trial in trials
    ]
    schema = {
        **dict.fromkeys(("method", "balance", "condition"), pl.String()),
        "draw": pl.Int64(),
        "threshold": pl.Float64(),
        **dict.fromkeys(("n_features", "rank"), pl.Int64()),
        "scale": pl.Float64(),
        **dict.fromkeys(("validation", "validation_baseline", "validation_images"), counts),
    }
    found = [row.tolist() for row in predictions.astype(np.int16)]
    effects = [None if row is None else row.astype(np.float32).tolist() for row in margins]
    return pl.DataFrame(rows, schema=schema).with_columns(
        pl.Series("unconcerned", unconcerned.tolist(), counts),
        pl.Series("predictions", found, pl.List(pl.Int16)),
        pl.Series("margins", effects, pl.List(pl.Float32)),
    )
