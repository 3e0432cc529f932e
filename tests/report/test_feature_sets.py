"""The list of ablated features: its columns, order, empty sets and digits."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl
import pytest

from clipsteer.report.feature_sets import SCHEMA, feature_sets, place_sets
from clipsteer.report.table import columns, csv_text
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.feature_set import FeatureSet
from clipsteer.steering.selection import nested_sets, ranking_frame

OWN = {"balance", "rank", "feature", "difference"}
DIFFERENCE = np.array([0.1, -0.2, 1 / 3, 0.1, 2e-7, 0.0])
THRESHOLDS = np.array([1e-7, 0.05])


def labels(layer: int, dictionary: str, hook_point: str = "resid_post") -> dict[str, Any]:
    return {
        **{key: "x" for key in ("dataset", "source", "model", "aggregate", "balance")},
        "tokens": "all",
        "error_term": "keep",
        "hook_point": hook_point,
        "layer": layer,
        "dictionary": dictionary,
        "trained_on": None if dictionary == "neurons" else "general",
    }


def chosen(threshold: float | None, features: list[int]) -> dict[str, Any]:
    counts = GroupCounts((1,), (2,))  # no table of features has them
    return FeatureSet(np.array(features), threshold, counts).as_dict()


def place(layer: int, dictionary: str, strict: dict[str, Any], **more: str) -> pl.DataFrame:
    ranking = ranking_frame(nested_sets(DIFFERENCE, THRESHOLDS), DIFFERENCE)
    selection = {"strict": strict, "relaxed": chosen(0.05, [2, 0, 3])}
    return place_sets(selection, ranking, labels(layer, dictionary, **more))


def read(text: str) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(text), infer_schema_length=None)


def test_columns_bear_the_names_of_the_table() -> None:
    assert set(SCHEMA) - set(columns(4)) == OWN
    shared = [name for name in columns(4) if name in SCHEMA]
    assert [name for name in SCHEMA if name not in OWN] == shared  # and its order


def test_a_set_by_rank_with_differences_that_give_their_value_back() -> None:
    rows = read(csv_text(feature_sets([place(3, "topk", chosen(1e-7, [2, 0, 3, 4]))])))
    strict = rows.filter(pl.col("condition") == "strict")
    assert strict["feature"].to_list() == [2, 0, 3, 4]  # ties by feature number
    assert strict["rank"].to_list() == [1, 2, 3, 4]
    assert strict["difference"].to_list() == DIFFERENCE[[2, 0, 3, 4]].tolist()
    assert strict["n_features"].unique().to_list() == [4]
    assert strict["threshold"].unique().to_list() == [1e-7]
    assert rows.filter(pl.col("condition") == "relaxed")["feature"].to_list() == [2, 0, 3]


def test_an_empty_set_is_one_row_without_feature() -> None:
    rows = read(csv_text(feature_sets([place(0, "neurons", chosen(None, []))])))
    empty = rows.filter(pl.col("n_features") == 0)
    assert empty.select("dictionary", "condition").rows() == [("neurons", "strict")]
    assert empty.select("threshold", "rank", "feature", "difference").row(0) == (None,) * 4


def test_both_sets_may_be_empty_where_nothing_passes_a_threshold() -> None:
    nothing = np.array([-1.0, 0.0])
    ranking = ranking_frame(nested_sets(nothing, THRESHOLDS), nothing)
    selection = {"strict": chosen(None, []), "relaxed": chosen(None, [])}
    rows = read(csv_text(place_sets(selection, ranking, labels(1, "vanilla"))))
    assert rows.select("condition", "n_features").rows() == [("strict", 0), ("relaxed", 0)]


def test_places_come_in_the_order_of_the_table() -> None:
    strict = chosen(0.05, [2, 0, 3])
    given = [
        place(1, "neurons", strict),
        place(1, "vanilla", strict),
        place(0, "topk", strict, hook_point="mlp_out"),
        place(0, "topk", strict),
        place(0, "vanilla", strict),
    ]
    found = feature_sets(given).select("hook_point", "layer", "dictionary", "condition")
    places = [
        ("resid_post", 0, "vanilla"),
        ("resid_post", 0, "topk"),
        ("resid_post", 1, "vanilla"),
        ("resid_post", 1, "neurons"),
        ("mlp_out", 0, "topk"),
    ]
    expected = [(*where, condition) for where in places for condition in ("strict", "relaxed")]
    assert found.unique(maintain_order=True).rows() == expected


def test_a_selection_from_another_ranking_is_refused() -> None:
    with pytest.raises(ValueError, match="strict set is not the first features"):
        place(0, "topk", chosen(0.05, [0, 2, 3]))
