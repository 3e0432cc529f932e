"""The page on ten seeds: its criteria and its verdict follow from the records, whatever these say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from experiments import seeds, seeds_page

RIVALS = [method for family in seeds_page.FAMILIES.values() for method in family]


def method(recovery: float | None, gain: float = 10.0, **more: Any) -> dict[str, Any]:
    return {
        "recovery": recovery, "pair_collateral": 0.1, "gain": gain, "gain_low": gain - 4,
        "gain_high": gain + 4, "p_gain": 0.01, "largest_fall": 1.0, "layer": 3, "dictionary": "topk",
        "n_features": 7, "scale": None, "largest_fall_group": "blond woman", **more,
    }  # fmt: skip


def seed_of(number: int, sae: float, other: float, **more: Any) -> dict[str, Any]:
    """A seed in which all other methods recover `other`."""
    rows = {"sae/none": method(sae)} | {f"{name}/none": method(other) for name in RIVALS}
    return {
        "seed": number, "n_images": 1200, "unmodified": [95.0, 94.0, 93.0, 60.0], "auc": [0.9, 0.9],
        "pairs": [95.0, 94.0, 93.0, 92.0], "worst_group_validation": "blond man",
        "strict": rows, "relaxed": rows, "shuffles": [0.0] * 19 + [4.9], **more,
    }  # fmt: skip


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=12))
def test_intervals_are_students(values: list[float]) -> None:
    centre, low, high = seeds_page.interval(values)
    if len(set(values)) == 1:
        assert low == pytest.approx(high) == pytest.approx(centre)
        return
    theirs = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_single_value_says_nothing_of_others() -> None:
    assert seeds_page.interval([0.3]) == (0.3, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("changes", "gains", "half"),
    [
        ({}, True, 1),
        ({"gain": 4.9}, False, 1),
        ({"gain_low": -0.1}, False, 1),
        ({"gain": -2.0, "gain_low": -5.0}, False, None),
        ({"gain": 20.0}, True, 0),
    ],
)
def test_what_counts_as_a_gain_and_as_half_of_it(
    changes: dict[str, float], gains: bool, half: int | None
) -> None:
    found = seed_of(20, 0.5, 0.1)
    found["shuffles"][-1] = 5.0
    found["relaxed"] = {**found["relaxed"], "sae/none": method(0.5, **changes)}
    assert seeds_page.gains(found) is gains
    assert seeds_page.reaching_half(found) == half


def test_a_seed_in_which_nothing_is_ablated_counts_against() -> None:
    found = seed_of(20, 0.5, 0.1, shuffles=None)
    found["relaxed"]["sae/none"] = method(0.0, 50.0, n_features=0)  # strict's too: it is the same
    assert not seeds_page.gains(found)
    assert seeds_page.reaching_half(found) is None
    text = seeds_page.page({"celeba": [found]}, 1)
    assert "A gain in 0 of 1 seeds" in text
    assert "nothing passed" in text


def test_the_verdict_is_what_the_numbers_say() -> None:
    better = [seed_of(n, 0.5 + 0.01 * (n % 3), 0.1) for n in range(20, 30)]
    assert "come closest to the true effect:" in seeds_page.page({"celeba": better})
    # one method does as well
    for n, one in enumerate(better):
        one["relaxed"]["probe/none"] = method(0.5 + 0.01 * (n % 4))
    text = seeds_page.page({"celeba": better})
    assert "do **not** come closest" in text.split("\n\n")[1]
    assert "no closer than probe direction, and farther than none" in text.replace("\n", " ")
    # a method that does nothing has recovered nothing
    worse = [seed_of(n, -0.2 - 0.01 * (n % 3), 0.0) for n in range(20, 30)]
    for one in worse:
        one["relaxed"]["leace/none"] = method(None)
    text = seeds_page.page({"waterbirds": worse}).replace("\n", " ")
    assert "LEACE" in text.split("and farther than ")[1].split(".")[0]


def test_a_data_set_is_shown_with_all_its_seeds_or_not_at_all() -> None:
    found = [seed_of(n, 0.5, 0.1) for n in range(20, 30)]
    text = seeds_page.page({"celeba": found, "waterbirds": found[:9]})
    assert "## CelebA" in text
    assert "## Waterbirds" not in text
    assert text.endswith("Not run yet under these criteria: the seeds of Waterbirds.\n")
    assert "Not run yet" not in seeds_page.page({"celeba": found, "waterbirds": found})


def test_shuffles_are_counted_over_seeds() -> None:
    found = [seed_of(n, 0.5, 0.1) for n in range(20, 30)]
    for one in found[:5]:
        one["shuffles"] = [0.0] * 18 + [5.0, 9.0]  # of 10 points
    text = seeds_page.page({"celeba": found}).replace("\n", " ")
    low, high = (1 + sign * 2.262157 * (10 / 9 / 10) ** 0.5 for sign in (-1, 1))
    assert f"1.0 ({low:.1f} to {high:.1f}) reach half of the true gain" in text
    assert "over the 10 of 10 seeds with a true gain; a gain by its labels stands in 5." in text


def test_bands_are_those_by_which_settings_are_chosen() -> None:
    faces, birds = seed_of(20, 0.5, 0.1), seed_of(20, 0.5, 0.1, unmodified=[99.0, 26.0, 34.0, 99.0])
    assert seeds_page.in_band("celeba", faces)
    assert not seeds_page.in_band("celeba", faces | {"unmodified": [91.9, 94.0, 93.0, 60.0]})
    assert not seeds_page.in_band("celeba", faces | {"unmodified": [95.0, 94.0, 93.0, 81.0]})
    assert seeds_page.in_band("waterbirds", birds)
    assert not seeds_page.in_band("waterbirds", birds | {"auc": [0.84, 0.95]})
    assert not seeds_page.in_band("waterbirds", birds | {"unmodified": [99.0, 34.0, 34.0, 99.0]})


def test_the_auc_is_of_one_class_against_the_other_within_an_attribute() -> None:
    images = pl.DataFrame(
        {"target": [0, 0, 1, 1, 0, 1], "spurious": [0, 0, 0, 0, 1, 1],
         "margin": [0.3, -0.1, 0.2, -0.2, -0.5, -0.5]}
    )  # fmt: skip
    # class 1 against class 0: 0.2, -0.2 against -0.3, 0.1 where there is no attribute
    assert seeds.within(images) == [0.75, 0.0]


def test_means_are_over_classes_and_draws_at_each_methods_own_place() -> None:
    rows = [
        ("sae", "none", None, True, 0.2, 0.4, 2.0),
        ("sae", "none", None, False, 0.9, 0.9, 9.0),
        ("random_features", None, 0, True, 0.1, 0.1, 1.0),
        ("random_features", None, 1, True, 0.3, 0.3, 4.0),
    ]
    names = ["method", "balance", "draw", "best_place", "recovery_0", "recovery_1", "gain"]
    table = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        condition=pl.lit("relaxed"), pair_collateral_0=0.0, pair_collateral_1=0.5, gain_low=0.0,
        gain_high=0.0, p_gain=0.5, largest_fall=0.0, layer=1, dictionary=pl.lit("topk"),
        n_features=3, scale=None, largest_fall_group=None,
    )  # fmt: skip
    found = seeds.methods(table, "relaxed")
    assert found["sae/none"]["recovery"] == pytest.approx(0.3)
    assert found["sae/none"]["gain"] == 2.0
    assert found["sae/none"]["pair_collateral"] == 0.25
    assert found["random_features/none"]["recovery"] == pytest.approx(0.2)
    assert found["random_features/none"]["gain"] == 2.5
    assert "layer" not in found["random_features/none"]
    assert seeds.place_of({"relaxed": found}) == (1, "topk")
    assert np.isfinite(seeds_page.mean([None, 1.0]))
