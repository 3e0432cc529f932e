"""The finding of a place and its comparisons with controls, against plain loops over images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from clipsteer.steering.headline import (
    Fall,
    comparisons,
    finding,
    largest_fall,
    nothing_found,
    on_validation,
)
from clipsteer.steering.outcomes import measure
from tests.report.fakes import HARDEST, SAES, fake_selections

SETTING = {"condition": "relaxed", "hook_point": "resid_post", "n_groups": 4}
NUMBERS: Any = range(4)  # each group is called by its number


def test_finding_is_the_places_row(measured: pl.DataFrame) -> None:
    rows = measured.filter(
        pl.col("ablation") == "targeted",
        pl.col("condition") == "relaxed",
        pl.col("dictionary") != "neurons",
    )
    seen = []
    for row in rows.iter_rows(named=True):
        place = row["layer"], row["dictionary"]
        found = finding(measured, place=place, **SETTING).as_dict(NUMBERS)
        for name in ("overall", "worst", "worst_group", "p_gain", "p_worst_group", "n_features"):
            assert found[name] == row[name]
        assert found["gain"] == {
            "points": row["gain"],
            "low": row["gain_low"],
            "high": row["gain_high"],
        }
        assert found["groups_before"] == {g: row[f"acc_before_{g}"] for g in range(4)}
        falls = {g: row[f"acc_after_{g}"] - row[f"acc_before_{g}"] for g in range(4)}
        worst = min(falls, key=lambda g: (falls[g], g))
        fell = {"group": worst, "points": falls[worst]} if falls[worst] < 0 else None
        assert found["largest_fall"] == fell
        assert "p_worst_group_holm" not in found  # one test, chosen on validation
        seen.append(fell is None)
    assert {True, False} <= set(seen)
    with pytest.raises(ValueError, match="layer 9"):
        finding(measured, place=(9, "topk64"), **SETTING)


def test_where_nothing_is_found_the_model_is_as_it_was(measured: pl.DataFrame) -> None:
    found = nothing_found(measured, 4).as_dict(NUMBERS)
    row = measured.row(0, named=True)
    assert found["groups_after"] == found["groups_before"]
    assert (found["overall"], found["worst"]) == (row["baseline_overall"], row["baseline_worst"])
    assert (found["layer"], found["p_gain"], found["largest_fall"]) == (None, None, None)
    assert found["gain"] == {"points": 0, "low": None, "high": None}
    full = finding(measured, place=(0, "vanilla"), **SETTING).as_dict(NUMBERS)
    assert found.keys() == full.keys()


def test_the_gain_of_nothing_is_that_of_the_unmodified_models_row(
    ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    """The smallest accuracy on test minus that of the group that was the worst on validation, here another."""
    still = ablations.head(1).with_columns(
        predictions=pl.Series([images["baseline"].to_list()], dtype=pl.List(pl.Int8))
    )
    row = measure(still, images, n_groups=4, hardest=1)
    points = nothing_found(row, 4).gain.points
    assert points == pytest.approx(row["gain"][0])
    right = (images["baseline"] == images["target"]).to_numpy()
    shares = [100 * right[images["group"].to_numpy() == g].mean() for g in range(4)]
    assert points == pytest.approx(min(shares) - shares[1])
    assert points < -30


def test_the_largest_fall_names_its_group() -> None:
    assert largest_fall({0: 50, 1: 60, 2: 70}, {0: 80, 1: 50, 2: 60}) == Fall(1, -10)
    assert largest_fall({0: 50, 1: 60}, {0: 50, 1: 61}) is None


def test_validation_is_counted_from_the_selection(
    ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    selection = fake_selections(ablations, images)[1, "vanilla"]
    found = on_validation(selection, "strict").as_dict(NUMBERS)
    counts = selection["strict"]["counts"]
    assert found["groups_after"] == {g: 100 * counts["correct"][g] / 40 for g in range(4)}
    assert found["overall_after"] == 100 * sum(counts["correct"]) / 160
    assert (found["n_images"], found["groups_before"].keys()) == (160, {0, 1, 2, 3})


def per_image(ablations: pl.DataFrame, images: pl.DataFrame, **place: object) -> np.ndarray:
    """Mean over the rows of a place of being right, image by image, in the hardest group."""
    rows = ablations.filter(*(pl.col(key) == value for key, value in place.items()))
    target, inside = images["target"].to_numpy(), images["group"].to_numpy() == HARDEST
    every = [np.array(p) == target for p in rows["predictions"].to_list()]
    return np.mean(every, axis=0)[inside]


def test_comparisons_are_students_over_the_images_of_the_hardest_group(
    ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    choice = {0: "vanilla", 1: "topk64", 2: "topk64"}
    found = comparisons(
        ablations, images, dictionary="topk64", per_layer=choice, hardest=HARDEST, **SETTING
    ).as_dict()
    scopes = {
        "all": [(n, d) for n in range(3) for d in SAES],
        "chosen": [(n, "topk64") for n in range(3)],
        "per_layer": list(choice.items()),
    }
    for scope, places in scopes.items():
        for against in ("neurons", "random"):
            each = []
            for n, d in places:
                here = {"condition": "relaxed", "layer": n}
                ours = per_image(ablations, images, dictionary=d, ablation="targeted", **here)
                name, kind = ("neurons", "targeted") if against == "neurons" else (d, "random")
                control = per_image(ablations, images, dictionary=name, ablation=kind, **here)
                each.append(ours - control)
            mean = np.mean(each, axis=0)
            assert len(mean) == 40
            gap = found[f"sae_over_{against}"][scope]
            half = stats.t.isf(0.025, 39) * mean.std(ddof=1) / math.sqrt(40)
            assert gap["points"] == pytest.approx(100 * mean.mean())
            assert gap["low"] == pytest.approx(100 * (mean.mean() - half))
            assert gap["high"] == pytest.approx(100 * (mean.mean() + half))
    assert found["layers"] == [0, 1, 2]
    assert found["dictionaries"] == list(SAES)


def test_layers_count_alike_even_where_a_dictionary_is_missing(
    ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    gone = (pl.col("layer") == 0) & (pl.col("dictionary") == "vanilla")
    rest = ablations.filter(~gone)
    found = comparisons(
        rest, images, dictionary=None, per_layer={}, hardest=HARDEST, **SETTING
    ).as_dict()
    layers = []
    for n in range(3):
        here = {"condition": "relaxed", "layer": n, "ablation": "targeted"}
        control = per_image(ablations, images, dictionary="neurons", **here)
        names = [d for d in SAES if (n, d) != (0, "vanilla")]
        ours = [per_image(ablations, images, dictionary=d, **here) for d in names]
        layers.append(100 * np.mean(ours - control))
    assert found["sae_over_neurons"]["all"]["points"] == pytest.approx(np.mean(layers))
    assert found["sae_over_neurons"].keys() == {"all"}  # no place, no choice


def test_comparisons_without_controls_are_left_out(
    ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    part = ablations.filter(pl.col("ablation") == "targeted", pl.col("dictionary") != "neurons")
    found = comparisons(
        part, images, dictionary="vanilla", per_layer={}, hardest=HARDEST, **SETTING
    ).as_dict()
    assert found["sae_over_neurons"] == found["sae_over_random"] == {}
