"""The page on ten seeds: its criteria and its verdict follow from the records, whatever these say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.stats import ttest_1samp

from experiments import seeds, seeds_criteria, seeds_figure, seeds_page

RIVALS = [method for family in seeds_criteria.FAMILIES.values() for method in family]


def method(recovery: float | None, gain: float | None = 10.0, **more: Any) -> dict[str, Any]:
    return {
        "recovery": recovery, "recovery_by_class": [recovery, recovery], "pair_collateral": 0.1,
        "pair_collateral_by_class": [0.1, 0.1], "gain": gain, "gain_low": (gain or 0) - 4,
        "gain_high": (gain or 0) + 4, "p_gain": 0.01, "largest_fall": 1.0, "layer": 3, "dictionary": "topk",
        "n_features": 7, "scale": None, "largest_fall_group": "blond woman", **more,
    }  # fmt: skip


def seed_of(number: int, sae: float, other: float, **more: Any) -> dict[str, Any]:
    """A seed in which all other methods recover `other`."""
    rows = {"sae/none": method(sae)} | {f"{name}/none": method(other) for name in RIVALS}
    return {
        "seed": number, "n_images": 1200, "unmodified": [95.0, 94.0, 93.0, 60.0], "auc": [0.9, 0.9],
        "pairs": [95.0, 94.0, 93.0, 92.0], "true_effect": [0.1, 0.2], "worst_group_validation": "blond man",
        "strict": rows, "relaxed": rows, "shuffles": [0.0] * 19 + [4.9], **more,
    }  # fmt: skip


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=12))
def test_intervals_are_students(values: list[float]) -> None:
    centre, low, high = seeds_criteria.interval(values)
    if len(set(values)) == 1:
        assert low == pytest.approx(high) == pytest.approx(centre)
        return
    theirs = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_single_value_says_nothing_of_others() -> None:
    assert seeds_criteria.interval([0.3]) == (0.3, -math.inf, math.inf)


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
    assert seeds_criteria.gains(found) is gains
    assert seeds_criteria.reaching_half(found) == half


def test_a_seed_in_which_nothing_is_ablated_counts_against() -> None:
    found = seed_of(20, 0.5, 0.1, shuffles=None)
    found["relaxed"]["sae/none"] = method(0.0, 50.0, n_features=0)  # strict's too: it is the same
    assert not seeds_criteria.gains(found)
    assert seeds_criteria.reaching_half(found) is None
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
    first = text.split("\n\n")[1].replace("\n", " ")
    assert "The SAE is neither closer nor farther than probe direction." in first
    assert "The SAE is farther than" not in first
    # a method that does nothing has recovered nothing
    worse = [seed_of(n, -0.2 - 0.01 * (n % 3), 0.0) for n in range(20, 30)]
    for one in worse:
        one["relaxed"]["leace/none"] = method(None)
    text = seeds_page.page({"waterbirds": worse}).replace("\n", " ")
    assert "; LEACE (-0.211; -0.217 to -0.205)" in text.split("The SAE is farther than ")[1]


def test_gains_of_simpler_methods_stand_beside_the_saes() -> None:
    found = [seed_of(n, 0.5, 0.1) for n in range(20, 30)]
    for one in found:
        one["relaxed"]["class_bias/none"] = method(0.1, 12.0)
        one["relaxed"]["leace_scaled/none"] = method(0.1, 28.9)
        one["relaxed"]["random_features/none"] = method(0.1, 18.6)
    text = seeds_page.page({"celeba": found}).split("\n\n")[2].replace("\n", " ")
    assert "gains +10.0 points on CelebA by the SAE's features on average" in text
    assert "+12.0 by a bias on the class scores, +18.6 by random SAE features that were" in text
    assert "of those compared, most, +28.9, by LEACE, scale chosen." in text


def test_collateral_stands_in_the_verdict() -> None:
    found = [seed_of(n, 0.5, 0.1) for n in range(20, 30)]
    for one in found:
        one["relaxed"]["class_bias/none"] = method(0.6, pair_collateral=0.3)
        one["relaxed"]["probe/none"] = method(0.2, pair_collateral=0.05)
        one["relaxed"]["random_features/none"] = method(0.4, pair_collateral=0.2)
    text = seeds_page.page({"celeba": found}).split("\n\n")[1].replace("\n", " ")
    assert (
        "the SAE's is 0.100 (0.100 to 0.100), that of bias on the class scores 0.300 (0.300 to"
        in text
    )
    assert "of random SAE features 0.200 (0.200 to 0.200)" in text
    assert "lie between 0.050 (probe direction) and 0.300 (bias on the class scores)." in text


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
    bar = "seeds in which that is above 0; by the bar above, 5 of the gains are due to the labels."
    assert f"over the 10 of 10 {bar}" in text
    found[0]["shuffles"] = [0.0] * 19 + [10.0]  # as much as the true labels is not less
    text = seeds_page.page({"celeba": found}).replace("\n", " ")
    assert "gains +0.0 points on average, the true labels +10.0, in 9 of 10 seeds more than" in text


def test_bands_are_those_by_which_settings_are_chosen() -> None:
    faces, birds = seed_of(20, 0.5, 0.1), seed_of(20, 0.5, 0.1, unmodified=[99.0, 26.0, 34.0, 99.0])
    assert seeds_criteria.in_band("celeba", faces)
    assert not seeds_criteria.in_band("celeba", faces | {"unmodified": [91.9, 94.0, 93.0, 60.0]})
    assert not seeds_criteria.in_band("celeba", faces | {"unmodified": [95.0, 94.0, 93.0, 81.0]})
    assert seeds_criteria.in_band("waterbirds", birds)
    assert not seeds_criteria.in_band("waterbirds", birds | {"auc": [0.84, 0.95]})
    assert not seeds_criteria.in_band(
        "waterbirds", birds | {"unmodified": [99.0, 34.0, 34.0, 99.0]}
    )


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
    assert np.isfinite(seeds_criteria.mean([None, 1.0]))


def test_means_over_classes_and_draws_keep_the_classes() -> None:
    row = {
        "method": "sae",
        "balance": "none",
        "condition": "relaxed",
        "best_place": True,
        "gain": 1.0,
    }
    row |= {"gain_low": 0.0, "gain_high": 2.0, "p_gain": 0.1, "largest_fall": 0.0, "layer": 2}
    row |= {"dictionary": "topk", "n_features": 4, "scale": None, "largest_fall_group": None}
    row |= {
        "recovery_0": -0.4,
        "recovery_1": 0.4,
        "pair_collateral_0": 0.1,
        "pair_collateral_1": 0.3,
    }
    found = seeds.methods(pl.DataFrame([row]), "relaxed")["sae/none"]
    assert found["recovery"] == pytest.approx(0.0)
    assert found["recovery_by_class"] == [-0.4, 0.4]
    assert found["pair_collateral_by_class"] == [0.1, 0.3]


def test_classes_that_cancel_are_seen() -> None:
    found = [seed_of(n, 0.0, 0.1) for n in range(20, 30)]
    for one in found:
        one["relaxed"]["sae/none"] |= {"recovery_by_class": [-0.36, 0.36]}
    first, text = seeds_page.page({"celeba": found}).split("By class, relaxed")
    said = "By class the SAE recovers -0.36 (-0.36 to -0.36) for woman and +0.36 (+0.36 to +0.36) for man."
    assert said in first.replace("\n", " ")
    (row,) = [line for line in text.splitlines() if line.startswith("| SAE features")][:1]
    assert "-0.36 (-0.36 to -0.36)" in row
    assert "+0.36 (+0.36 to +0.36)" in row


def test_a_method_for_which_nothing_passed_has_no_layer() -> None:
    found = [seed_of(n, 0.5, 0.1) for n in range(20, 30)]
    for one in found[:4]:
        one["relaxed"]["probe/none"] = method(0.0, layer=0, n_features=None, scale=0.0)
    for one in found[4:]:
        one["relaxed"]["probe/none"] = method(0.1, layer=5, n_features=None, scale=0.25)
    assert seeds_page.places(found, "relaxed", "probe/none") == "0, 0, 0, 0, 0, 6, 4"
    assert seeds_page.places(found, "relaxed", "sae/none") == "0, 0, 0, 10, 0, 0, 0"
    text = (
        seeds_page.page({"celeba": found}).split("By seed, relaxed")[1].split("By seed, strict")[0]
    )
    (row,) = [line for line in text.splitlines() if line.startswith("| probe direction")]
    assert row.count("–") == 4


def test_places_by_task_are_paired_by_seed() -> None:
    faces = [seed_of(n, 0.5, 0.1) for n in range(20, 30)]
    birds = [seed_of(n, 0.5, 0.1) for n in range(20, 30)]
    for one in birds:  # at layer 1, hair at layer 3
        one["relaxed"] = {**one["relaxed"], "sae/none": method(0.5, layer=1)}
    birds[0]["relaxed"]["sae/none"] = method(0.5, layer=0, n_features=0)
    text = seeds_page.page({"celeba": faces, "waterbirds": birds}).replace("\n", " ")
    relaxed = "relaxed 3.0 for CelebA and 1.0 for Waterbirds, a difference of +2.0 (+2.0 to +2.0) over 9 seeds"
    assert f"{relaxed}: hair later, as there (the paper: 9 and 5," in text
    strict = "strict 3.0 for CelebA and 3.0 for Waterbirds, a difference of +0.0 (+0.0 to +0.0) over 10 seeds"
    assert f"{strict}: no order can be told" in text
    text = seeds_page.page({"celeba": birds, "waterbirds": faces}).replace("\n", " ")
    assert "over 9 seeds: backgrounds later, unlike there" in text
    assert "Places by task" not in seeds_page.page({"celeba": faces})


def test_the_figure_has_every_method_and_what_did_nothing_at_0(tmp_path: Path) -> None:
    found = [seed_of(n, 0.5 + 0.01 * n, 0.1) for n in range(20, 30)]
    for one in found:
        one["relaxed"]["random_features/none"] = method(0.2)
        one["relaxed"]["balanced_probe/none"] = method(0.9)  # a reference, not an edit
        one["relaxed"]["probe/group"] = method(0.9)
    found[3]["relaxed"]["leace/none"] = method(None, gain=None, pair_collateral=None)
    names = seeds_figure.methods_of(found)
    assert names[:4] == [
        "sae/none",
        "neurons/none",
        "neurons_two_sided/none",
        "random_features/none",
    ]
    assert {*names} == {f"{name}/none" for name in ("sae", "random_features", *RIVALS)}
    gains = [10.0] * 10
    gains[3] = 0.0
    assert seeds_figure.values_of(found, "gain", "leace/none") == [gains]
    found[2]["relaxed"]["leace/none"]["recovery_by_class"] = [-0.3, 0.5]
    women, men = seeds_figure.values_of(found, "recovery_by_class", "leace/none")
    assert (women[2:5], men[2:5]) == ([-0.3, 0.0, 0.1], [0.5, 0.0, 0.1])
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        seeds_figure.seeds_figure({"celeba": found, "waterbirds": found[:2]}, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_figure_draws_seeds_mean_and_interval() -> None:
    axes = Figure().subplots()
    values = [1.0, 2.0, 6.0]
    seeds_figure.panel(axes, [[values], [[0.0, 0.0, 0.0]]], ["sae/none", "leace/none"])
    dots = axes.lines[1]
    assert list(dots.get_xdata()) == values
    assert list(dots.get_ydata()) == [0, 0, 0]
    centre, low, high = seeds_criteria.interval(values)
    (bar,) = axes.containers[0].lines[2]
    assert bar.get_segments()[0].tolist() == [[low, 0], [high, 0]]
    assert axes.containers[0].lines[0].get_xdata().tolist() == [centre]
    assert axes.yaxis_inverted()  # the first method is at the top
