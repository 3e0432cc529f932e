"""The SAE and the best baseline side by side, image by image: what each did, and what the true effect is."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import polars as pl

from clipsteer.steering.choose import CONDITIONS, Condition, Rule
from clipsteer.steering.compared import (
    LONG,
    SAE,
    best_rows,
    is_taken,
    margins_of,
    reference,
    validation_counts,
)
from clipsteer.steering.pairs import Pairs

Side = Literal["sae", "baseline"]
SIDES: tuple[Side, Side] = ("sae", "baseline")
SCHEMA = pl.Schema(
    {
        "condition": pl.String(),
        "side": pl.String(),
        "method": pl.String(),
        "layer": pl.Int64(),
        "dictionary": pl.String(),
        "class": pl.Int64(),
        "caused": pl.Boolean(),
        "true_effect": pl.Float64(),
        "edited_effect": pl.Float64(),
    }
)


def contenders(
    trials: pl.DataFrame, rules: Mapping[Condition, Rule], condition: Condition, balance: str
) -> dict[Side, int]:
    """Row numbers of the SAE and of the best baseline, each at its own best place; without what passed nowhere.

    The best baseline has the highest score on validation; of equals it is the first row. What is drawn at random is a
    control and no baseline, and the reference is none either. Methods that weigh D_A and D_notA stand under `balance`.
    """
    _, unmodified = reference(trials)
    rows = list(trials.drop(LONG).iter_rows(named=True))

    def score(number: int) -> Fraction:
        counts = validation_counts(rows[number], "validation")
        return rules[condition].score(counts, unmodified)

    def stands(row: Mapping[str, Any]) -> bool:
        fits = row["condition"] == condition and row["balance"] in (None, balance)
        return bool(fits and row["draw"] is None and is_taken(row))

    best = [
        number for number in sorted(best_rows(trials, rules, unmodified)) if stands(rows[number])
    ]
    found: dict[Side, int] = {}
    for side in SIDES:
        own = [number for number in best if (rows[number]["method"] == SAE) == (side == "sae")]
        if own:
            found[side] = max(own, key=score)
    return found


def effects(
    trials: pl.DataFrame, rules: Mapping[Condition, Rule], balance: str, pairs: Pairs
) -> pl.DataFrame:
    """One row an image, condition and contender, columns as in SCHEMA.

    `true_effect`: m(i') - m(i) where the cause is there, null without a pair; 0 where it is not. `edited_effect`:
    m_F(i) - m(i). No rows of a contender that passed nowhere.
    """
    frames = [SCHEMA.to_frame()]
    true = pl.Series(np.where(pairs.caused, pairs.true_effect, 0.0)).fill_nan(None)
    for condition in CONDITIONS:
        for side, number in contenders(trials, rules, condition, balance).items():
            row = trials.drop(LONG).row(number, named=True)
            edited = margins_of(trials, number)
            assert edited is not None
            frames.append(
                pl.DataFrame(
                    {
                        "class": pairs.targets,
                        "caused": pairs.caused,
                        "true_effect": true,
                        "edited_effect": edited - pairs.margin,
                    }
                ).select(
                    pl.lit(condition).alias("condition"),
                    pl.lit(side).alias("side"),
                    *(pl.lit(row[name], SCHEMA[name]).alias(name) for name in SCHEMA.names()[2:5]),
                    *SCHEMA.names()[5:],
                )
            )
    return pl.concat(frames)
