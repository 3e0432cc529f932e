from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from clipsteer.steering.choose import CONDITIONS, LargestSum, Relaxed
from clipsteer.steering.compared import REFERENCE, best_rows, compare
from clipsteer.steering.counts import GroupCounts

N = 60
RULES: dict[Any, Any] = {"strict": LargestSum(), "relaxed": Relaxed(100.0)}
TYPES = {
    "hook_point": pl.String, "layer": pl.Int64, "dictionary": pl.String, "draw": pl.Int64,
    "balance": pl.String, "condition": pl.String, "threshold": pl.Float64, "rank": pl.Int64,
    "n_features": pl.Int64, "scale": pl.Float64, "margins": pl.List(pl.Float64),
}  # fmt: skip


def row(method: str, condition: str | None, layer: int | None = 0, **more: Any) -> dict[str, Any]:
    return {
        "method": method, "balance": None, "condition": condition, "draw": None, "threshold": None,
        "n_features": None, "rank": None, "scale": None, "hook_point": "resid_post",
        "layer": layer, "dictionary": None, "validation": [5, 5, 5, 5],
        "validation_baseline": [6, 5, 2, 9], "validation_images": [10, 10, 10, 10],
        "unconcerned": [40, 5, 30, 0], **more,
    }  # fmt: skip


def frames(seed: int, rows: list[dict[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, N)
    groups = 2 * target + rng.integers(0, 2, N)
    wrong = rng.random(N) < np.array([0.1, 0.3, 0.7, 0.2])[groups]
    images = pl.DataFrame({"target": target, "group": groups, "baseline": target ^ wrong})
    for one in rows:
        flips = rng.random(N) < 0.3
        one["predictions"] = (target ^ (wrong & ~flips)).tolist()
        one["margins"] = None if one["method"] == REFERENCE else rng.normal(size=N).tolist()
    return pl.DataFrame(rows, schema_overrides=TYPES), images


# Of two attributes; no image has the second.
UNCONCERNED = pl.DataFrame(
    {
        "attribute": ["Hat", "Hat", "Tie", "Tie"],
        "value": [0, 1, 0, 1],
        "images": [50, 10, 60, 0],
        "correct": [50, 4, 33, 0],
    }
)


def predicting(trials: pl.DataFrame, number: int, predictions: np.ndarray) -> pl.DataFrame:
    rows = trials["predictions"].to_list()
    rows[number] = predictions.tolist()
    return trials.with_columns(pl.Series("predictions", rows))


def test_accuracies_falls_and_shares_by_plain_counting() -> None:
    rows = [
        row("sae", "strict", n_features=4), row("sae", "relaxed", n_features=0),
        row("class_bias", "strict", None, scale=0.1), row(REFERENCE, None, None),
    ]  # fmt: skip
    trials, images = frames(0, rows)
    target, groups = images["target"].to_numpy(), images["group"].to_numpy()
    # One that makes a group worse.
    worse = np.where(groups == 3, 1 - target, target)
    trials = predicting(trials, 0, worse)
    found = compare(trials, images, UNCONCERNED, n_groups=4, rules=RULES)
    before = [
        100 * (images["baseline"] == images["target"]).to_numpy()[groups == g].mean()
        for g in range(4)
    ]
    reference = np.array(trials["predictions"][3].to_list()) == target
    top = min(100 * reference[groups == g].mean() for g in range(4))
    for number, got in enumerate(found.iter_rows(named=True)):
        right = np.array(trials["predictions"][number].to_list()) == target
        after = [100 * right[groups == g].mean() for g in range(4)]
        assert [got[f"acc_before_{g}"] for g in range(4)] == pytest.approx(before)
        assert [got[f"acc_after_{g}"] for g in range(4)] == pytest.approx(after)
        assert (got["worst"], got["worst_group"]) == (
            pytest.approx(min(after)),
            int(np.argmin(after)),
        )
        assert got["share_of_gap"] == pytest.approx(
            (min(after) - min(before)) / (top - min(before))
        )
        # of the first attribute (50 / 50 + 4 / 10) / 2 before, (40 / 50 + 5 / 10) / 2 after; of the second nothing
        assert got["unconcerned_Hat"] == got["collateral_mean_change"] == pytest.approx(-5.0)
        assert (got["collateral_largest_fall"], got["collateral_attribute"]) == (
            pytest.approx(5.0),
            "Hat",
        )
        assert got["unconcerned_Tie"] is None
        falls = [b - a for b, a in zip(before, after, strict=True)]
        assert got["largest_fall"] == pytest.approx(max(0.0, *falls))
        assert got["largest_fall_group"] == (int(np.argmax(falls)) if max(falls) > 0 else None)
        # of the group that is worst on validation: 2 of 10 there
        assert got["worst_group_validation"] == 2
        own = groups == 2
        base = (images["baseline"] == images["target"]).to_numpy()
        won, lost = int((right & ~base)[own].sum()), int((base & ~right)[own].sum())
        if got["n_features"] == 0:
            assert got["p_worst_group"] is got["p_gain"] is got["gain_low"] is None
        else:
            assert got["p_worst_group"] == pytest.approx(binomtest(won, won + lost).pvalue)
    assert found["share_of_gap"][3] == pytest.approx(1.0)


def test_no_share_of_a_gap_under_a_point() -> None:
    trials, images = frames(1, [row("sae", "strict", n_features=4), row(REFERENCE, None, None)])
    trials = predicting(trials, 1, images["baseline"].to_numpy())
    found = compare(trials, images, UNCONCERNED, n_groups=4, rules=RULES)
    assert found["share_of_gap"].to_list() == [None, None]
    with pytest.raises(ValueError, match="0 rows of balanced_probe"):
        compare(trials[:1], images, UNCONCERNED, n_groups=4, rules=RULES)


@settings(max_examples=50)
@given(st.integers(0, 10_000))
def test_a_methods_place_is_its_best_on_validation_whatever_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    unmodified = GroupCounts((6, 5, 2, 9), (10, 10, 10, 10))
    rows = [
        row(
            "sae", condition, layer, dictionary=name, n_features=int(rng.integers(0, 3)),
            validation=rng.integers(4, 7, 4).tolist(),
        )
        for condition in CONDITIONS for layer in (0, 1, 2) for name in ("a", "b")
    ]  # fmt: skip
    trials, _ = frames(seed, rows)
    found = best_rows(trials, RULES, unmodified)
    order = rng.permutation(len(rows))
    again = best_rows(trials[order.tolist()], RULES, unmodified)
    assert {int(order[number]) for number in again} == found
    for condition in CONDITIONS:
        mine = [r for r in rows if r["condition"] == condition and r["n_features"]]
        (best,) = (rows[n] for n in found if rows[n]["condition"] == condition)
        if not mine:
            assert (best["layer"], best["dictionary"]) == (0, "a")
            continue

        def score(one: dict[str, Any], condition: str = condition) -> float:
            counts = one["validation"]
            return counts[2] if condition == "relaxed" else sum(counts) / 4 + min(counts)

        top = max(map(score, mine))
        first = min((r["layer"], r["dictionary"]) for r in mine if score(r) == top)
        assert (best["layer"], best["dictionary"]) == first
