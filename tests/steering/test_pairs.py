"""The true effect from pairs: margins, recovery and collateral by plain loops, and who stands beside the SAE."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.compared import REFERENCE, compare
from clipsteer.steering.contenders import SCHEMA, contenders, effects
from clipsteer.steering.pairs import LEAST_EFFECT, Pairs, margins
from tests.steering.test_compared import RULES, UNCONCERNED, N, frames, row


def pairs_of(seed: int, images: pl.DataFrame, missing: float = 0.2) -> tuple[Pairs, pl.DataFrame]:
    """Margins drawn at random, with signs that agree with what the unmodified model says."""
    rng = np.random.default_rng(seed)
    target = images["target"].to_numpy()
    right = (images["baseline"] == images["target"]).to_numpy()
    images = images.with_columns(
        margin=pl.Series(np.where(right, 1, -1) * rng.random(N)),
        spurious=pl.Series(images["group"].to_numpy() % 2),
    )
    prediction = np.where(rng.random(N) < 0.5, target, 1 - target)
    none = rng.random(N) < missing
    table = pl.DataFrame(
        {
            "margin": [None if n else x for n, x in zip(none, rng.normal(size=N), strict=True)],
            "prediction": [None if n else int(p) for n, p in zip(none, prediction, strict=True)],
        },
        schema={"margin": pl.Float64(), "prediction": pl.Int16()},
    )
    found = Pairs.of(images, table, 1)
    assert found is not None
    return found, table


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(1, 12), st.integers(0, 999))
def test_a_margin_is_the_true_classes_score_minus_the_best_other(k: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, targets = rng.normal(size=(3, n, k)).astype(np.float32), rng.integers(0, k, n)
    found = margins(scores, targets)
    for r in range(3):
        for i in range(n):
            mine = [float(s) for s in scores[r, i]]
            own = mine.pop(targets[i])
            assert found[r, i] == own - max(mine)
    np.testing.assert_array_equal(margins(scores[0], targets), found[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9_999))
def test_recovery_and_collateral_by_plain_loops(seed: int) -> None:
    _, images = frames(seed, [])
    pairs, table = pairs_of(seed, images)
    edited = np.random.default_rng(seed + 1).normal(size=N)
    found = pairs.measure(edited, 2)
    rows = list(zip(pairs.margin, table["margin"], images["group"], edited, strict=True))
    for c in (0, 1):
        caused = [(m, p, e) for m, p, g, e in rows if g == 2 * c + 1 and p is not None]
        others = [(m, e) for m, _, g, e in rows if g == 2 * c]
        if not caused:
            assert found[f"recovery_{c}"] is found[f"true_effect_{c}"] is None
            continue
        squares = sum((m - p) ** 2 for m, p, _ in caused)
        assert found[f"true_effect_{c}"] == pytest.approx((squares / len(caused)) ** 0.5)
        left = sum((e - p) ** 2 for _, p, e in caused)
        assert found[f"recovery_{c}"] == pytest.approx(1 - left / squares)
        if others:
            moved = sum((e - m) ** 2 for m, e in others) / len(others)
            assert found[f"pair_collateral_{c}"] == pytest.approx(moved * len(caused) / squares)


def test_the_ideal_edit_recovers_all_and_no_edit_nothing() -> None:
    _, images = frames(3, [])
    pairs, _ = pairs_of(3, images, missing=0.0)
    ideal = np.where(pairs.caused, pairs.pair_margin, pairs.margin)
    for edited, recovery in ((ideal, 1.0), (pairs.margin, 0.0), (2 * pairs.margin - ideal, -3.0)):
        found = pairs.measure(edited, 2)
        for c in (0, 1):
            assert found[f"recovery_{c}"] == pytest.approx(recovery)
            assert found[f"pair_collateral_{c}"] == 0.0
    # a bias moves every margin of a class by as much, whether the cause is there or not
    found = pairs.measure(pairs.margin + np.where(pairs.targets == 1, 0.1, -0.1), 2)
    for c in (0, 1):
        effect = found[f"true_effect_{c}"]
        assert effect is not None
        assert found[f"pair_collateral_{c}"] == pytest.approx(0.01 / effect**2)


def test_what_cannot_be_measured_is_null() -> None:
    _, images = frames(4, [])
    pairs, table = pairs_of(4, images)
    probe = pairs.measure(None, 2)
    assert probe["true_effect_0"] == pairs.measure(pairs.margin, 2)["true_effect_0"]
    told = ("true", "n_pairs")
    assert {value for name, value in probe.items() if not name.startswith(told)} == {None}
    # no image has the cause; no pair moves
    uncaused = Pairs(**{**vars(pairs), "caused": np.zeros(N, bool)})
    assert set(uncaused.measure(pairs.margin, 2).values()) == {None, 0}  # no effect, of 0 pairs
    still = Pairs(**{**vars(pairs), "pair_margin": pairs.margin + 0.9 * LEAST_EFFECT**0.5})
    found = still.measure(pairs.margin + 1.0, 2)
    assert found["true_effect_1"] == pytest.approx(0.9 * LEAST_EFFECT**0.5)
    assert found["recovery_1"] is found["pair_collateral_1"] is None
    nothing = table.with_columns(margin=pl.lit(None, pl.Float64()))
    with_margin = images.with_columns(margin=pl.lit(0.0), spurious=pl.lit(0))
    assert Pairs.of(with_margin, nothing, 1) is None


def some_trials(seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)

    def counts() -> list[int]:
        return [int(n) for n in rng.integers(0, 10, 4)]

    rows: list[dict[str, Any]] = [row(REFERENCE, None, None)]
    for condition in CONDITIONS:
        for balance in ("none", "group"):
            for layer in (0, 1):
                given = {"balance": balance, "validation": counts()}
                rows.append(row("sae", condition, layer, dictionary="a", n_features=3, **given))
                rows.append(row("leace", condition, layer, scale=layer, **given))
        rows.append(row("random_features", condition, 0, draw=7, n_features=3, validation=[10] * 4))
        rows.append(row("class_bias", condition, None, scale=0.5, validation=counts()))
    return frames(seed, rows)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9_999))
def test_beside_the_sae_stands_the_baseline_that_validation_says_is_best(seed: int) -> None:
    trials, images = some_trials(seed)
    rows = trials.to_dicts()
    for condition in CONDITIONS:
        found = contenders(trials, RULES, condition, "none")

        def score(one: dict[str, Any], condition: str = condition) -> float:
            counts = one["validation"]
            return counts[2] if condition == "relaxed" else sum(counts) / 4 + min(counts)

        mine = [r for r in rows if r["condition"] == condition and r["balance"] in (None, "none")]
        best = max(score(r) for r in mine if r["method"] == "sae")
        assert score(rows[found["sae"]]) == best
        others = [r for r in mine if r["method"] in ("leace", "class_bias") and r["scale"]]
        assert rows[found["baseline"]] in others
        assert score(rows[found["baseline"]]) == max(score(r) for r in others)
    pairs, _ = pairs_of(seed, images)
    shown = effects(trials, RULES, "none", pairs)
    assert shown.schema == SCHEMA
    assert shown.height == 4 * N
    number = contenders(trials, RULES, "relaxed", "none")["sae"]
    here = shown.filter(condition="relaxed", side="sae")
    for i, one in enumerate(here.iter_rows(named=True)):
        assert one["edited_effect"] == pytest.approx(rows[number]["margins"][i] - pairs.margin[i])
        assert (one["class"], one["caused"]) == (pairs.targets[i], pairs.caused[i])
        true = pairs.pair_margin[i] - pairs.margin[i]
        expected = 0.0 if not pairs.caused[i] else None if np.isnan(true) else true
        assert one["true_effect"] == expected


def test_the_table_of_baselines_has_what_pairs_say() -> None:
    trials, images = some_trials(1)
    pairs, table = pairs_of(1, images)
    plain = compare(trials, images, UNCONCERNED, n_groups=4, rules=RULES)
    found = compare(trials, images, UNCONCERNED, n_groups=4, rules=RULES, pairs=pairs)
    assert found.select(plain.columns).equals(plain)
    groups, targets = images["group"].to_numpy(), images["target"].to_numpy()
    known = table["margin"].is_not_null().to_numpy()
    right = table["prediction"].fill_null(9).to_numpy() == targets
    for number, one in enumerate(found.iter_rows(named=True)):
        edited = trials["margins"][number]
        measured = pairs.measure(None if edited is None else edited.to_numpy(), 2)
        assert {name: one[name] for name in measured} == measured
        for g in range(4):
            assert one[f"pairs_acc_{g}"] == pytest.approx(100 * right[known & (groups == g)].mean())
    assert found.filter(method=REFERENCE)["recovery_0"].to_list() == [None]
