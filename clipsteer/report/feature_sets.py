"""`results/<dataset>_feature_sets.csv`: which features the targeted rows of the table ablate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from clipsteer.report.table import by_place
from clipsteer.steering.feature_set import chosen_sets

SCHEMA = {
    "dataset": pl.String,
    "source": pl.String,
    "model": pl.String,
    "hook_point": pl.String,
    "layer": pl.Int64,
    "dictionary": pl.String,
    "trained_on": pl.String,
    "condition": pl.String,
    "aggregate": pl.String,
    "balance": pl.String,
    "tokens": pl.String,
    "error_term": pl.String,
    "threshold": pl.Float64,
    "n_features": pl.Int64,
    "rank": pl.Int64,
    "feature": pl.Int64,
    "difference": pl.Float64,
}


def place_sets(
    selection: Mapping[str, Any], ranking: pl.DataFrame, labels: Mapping[str, Any]
) -> pl.DataFrame:
    """The sets of one place, strict before relaxed, with the columns of SCHEMA.

    `selection` is what select_features chose. `ranking` (`clipsteer.steering.selection.ranking_frame`)
    gives `rank`, `feature` and `difference` by falling difference; `labels` the other columns' values.

    One row per feature; an empty set has one row, `n_features` 0, without rank, feature and
    difference. Raises ValueError where the selection is no beginning of the ranking.
    """
    frames = []
    for condition, chosen in chosen_sets(selection).items():
        rows = ranking.head(chosen.n_features)
        if rows["feature"].to_list() != chosen.features.tolist():
            raise ValueError(f"the {condition} set is not the first features of the ranking")
        if rows.is_empty():
            rows = ranking.clear(1)
        found = {"threshold": chosen.threshold, "n_features": chosen.n_features}
        given = {**labels, "condition": condition, **found}
        frames.append(rows.with_columns(pl.lit(value).alias(key) for key, value in given.items()))
    return pl.concat(
        frame.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()) for frame in frames
    )


def feature_sets(places: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The sets of all places in one table, in the order of `results_table`, each set by rank."""
    return by_place(pl.concat(places))
