"""Accuracies, intervals and p-values from predictions, against plain loops."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.outcomes import SETTING, measure, unmodified_interval
from clipsteer.steering.significance import gain, mcnemar_exact, minimum_interval, wilson
from tests.report.fakes import HARDEST, counts_of, fake_ablations


def brute(images: pl.DataFrame, predictions: list[int]) -> tuple[float, dict[int, float]]:
    """Overall accuracy and each group's, in per cent, image by image."""
    counts = counts_of(images, predictions)
    groups = {
        g: 100 * right / n
        for g, (right, n) in enumerate(zip(counts["correct"], counts["images"], strict=True))
        if n
    }
    return 100 * sum(counts["correct"]) / sum(counts["images"]), groups


def correct(images: pl.DataFrame, predictions: list[int]) -> np.ndarray:
    return np.array(predictions) == images["target"].to_numpy()


def points(images: pl.DataFrame, predictions: list[int], hardest: int = HARDEST) -> list[float]:
    base = correct(images, images["baseline"].to_list())
    found = gain(base, correct(images, predictions), images["group"].to_numpy(), hardest)
    return [100 * found.gap.share, 100 * found.gap.low, 100 * found.gap.high, found.p]


def test_one_row_per_setting_in_the_order_given(
    measured: pl.DataFrame, ablations: pl.DataFrame
) -> None:
    expected = ablations.select(SETTING).unique(maintain_order=True)
    assert measured.select(SETTING).equals(expected)
    assert len(measured) == 3 * 4 * 2 * 2


def test_targeted_rows(
    measured: pl.DataFrame, ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    base = correct(images, images["baseline"].to_list())
    base_overall, base_groups = brute(images, images["baseline"].to_list())
    worst_before = min(base_groups, key=lambda g: (base_groups[g], g))
    inside = images["group"].to_numpy() == HARDEST
    rows = measured.filter(pl.col("ablation") == "targeted").iter_rows(named=True)
    given = ablations.filter(pl.col("ablation") == "targeted").iter_rows(named=True)
    for row, source in zip(rows, given, strict=True):
        after = correct(images, source["predictions"])
        overall, groups = brute(images, source["predictions"])
        counts = counts_of(images, source["predictions"])
        whole = wilson(sum(counts["correct"]), 160)
        minimum = minimum_interval(GroupCounts.from_dict(counts))
        assert row["overall"] == pytest.approx(overall)
        assert row["worst"] == pytest.approx(min(groups.values()))
        assert groups[row["worst_group"]] == min(groups.values())
        assert [row["overall_low"], row["overall_high"]] == [100 * bound for bound in whole]
        assert [row["worst_low"], row["worst_high"]] == [100 * bound for bound in minimum]
        for g in range(4):
            assert row[f"acc_before_{g}"] == pytest.approx(base_groups[g])
            assert row[f"acc_after_{g}"] == pytest.approx(groups[g])
        assert row["baseline_overall"] == pytest.approx(base_overall)
        assert row["baseline_worst"] == pytest.approx(base_groups[worst_before])
        assert (row["baseline_worst_group"], row["worst_group_validation"]) == (worst_before, 3)
        shown = [row[name] for name in ("gain", "gain_low", "gain_high", "p_gain")]
        assert shown == pytest.approx(points(images, source["predictions"]), abs=1e-9)
        assert row["p_worst_group"] == mcnemar_exact(base[inside], after[inside])
        assert row["p_overall"] == mcnemar_exact(base, after)
        assert (row["random_seeds"], row["n_images"]) == (None, 160)
        assert row["threshold"] == source["threshold"]


def test_the_tested_group_is_validations_and_not_the_tests(
    ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    other = measure(ablations, images, n_groups=4, hardest=1)
    inside = images["group"].to_numpy() == 1
    base = correct(images, images["baseline"].to_list())
    row, source = other.row(0, named=True), ablations.row(0, named=True)
    after = correct(images, source["predictions"])
    assert (row["worst_group_validation"], row["baseline_worst_group"]) == (1, 3)
    assert row["p_worst_group"] == mcnemar_exact(base[inside], after[inside])
    assert row["gain"] == pytest.approx(points(images, source["predictions"], 1)[0])


def test_random_rows_are_means_over_seeds(
    measured: pl.DataFrame, ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    for row in measured.filter(pl.col("ablation") == "random").iter_rows(named=True):
        members = ablations.filter(*(pl.col(n).eq_missing(row[n]) for n in SETTING))
        assert len(members) == 3
        every = members["predictions"].to_list()
        found = [brute(images, p) for p in every]
        bounds = [minimum_interval(GroupCounts.from_dict(counts_of(images, p))) for p in every]
        gains = np.mean([points(images, p) for p in every], axis=0)
        assert row["overall"] == pytest.approx(np.mean([overall for overall, _ in found]))
        assert row["worst"] == pytest.approx(np.mean([min(g.values()) for _, g in found]))
        assert row["worst_low"] == pytest.approx(100 * np.mean([low for low, _ in bounds]))
        assert row["worst_high"] == pytest.approx(100 * np.mean([high for _, high in bounds]))
        assert row["acc_after_2"] == pytest.approx(np.mean([g[2] for _, g in found]))
        shown = [row[name] for name in ("gain", "gain_low", "gain_high")]
        assert shown == pytest.approx(gains[:3].tolist())
        means = {g: np.mean([groups[g] for _, groups in found]) for g in range(4)}
        assert row["worst_group"] == min(means, key=lambda g: (means[g], g))
        tests = [name for name in row if name.startswith("p_")]
        assert [row[name] for name in (*tests, "threshold")] == [None] * 5
        assert row["random_seeds"] == 3


def test_order_of_rows_does_not_change_numbers(
    measured: pl.DataFrame, ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    turned = measure(ablations.reverse(), images, n_groups=4, hardest=HARDEST)
    keys = ["layer", "dictionary", "ablation", "condition"]
    numbers = pl.selectors.numeric()
    left, right = measured.sort(keys).select(numbers), turned.sort(keys).select(numbers)
    assert np.allclose(
        left.to_numpy().astype(float), right.to_numpy().astype(float), rtol=1e-12, equal_nan=True
    )


def test_holm_counts_equal_sets_once_and_empty_ones_never(
    ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    """Six sets of a condition, one of them under two names and one empty: a family of four."""
    chosen = pl.col("dictionary").is_in(["vanilla", "topk64"]) & (pl.col("ablation") == "targeted")
    strict = ablations.filter(chosen, pl.col("condition") == "strict")
    rows = strict.to_dicts()
    rows[1] |= {key: rows[0][key] for key in ("features", "n_features", "predictions")}
    rows[5] |= {"features": [], "n_features": 0, "threshold": None}
    rows[5]["predictions"] = images["baseline"].to_list()
    frame = pl.DataFrame(rows, schema=strict.schema)
    other = ablations.filter(chosen, pl.col("condition") == "relaxed")  # a family of its own
    table = measure(pl.concat([frame, other]), images, n_groups=4, hardest=HARDEST)
    mine = table.filter(pl.col("condition") == "strict")
    assert rows[0]["layer"] == rows[1]["layer"]
    p, adjusted = mine["p_worst_group"].to_list(), mine["p_worst_group_holm"].to_list()
    assert (p[5], adjusted[5]) == (None, None)
    assert (p[0], adjusted[0]) == (p[1], adjusted[1])
    largest = 0.0
    for place, i in enumerate(sorted([0, 2, 3, 4], key=lambda i: p[i])):
        largest = max(largest, min(1.0, (4 - place) * p[i]))
        assert adjusted[i] == pytest.approx(largest)
    # the same features at another layer are another set
    assert max(a / b for a, b in zip(adjusted[:5], p[:5], strict=True)) == pytest.approx(4)


def test_an_empty_set_has_no_tests(ablations: pl.DataFrame, images: pl.DataFrame) -> None:
    still = images["baseline"].to_list()
    empty = ablations.head(1).with_columns(
        n_features=pl.lit(0, pl.Int64),
        features=pl.Series([[]], dtype=pl.List(pl.Int64)),
        threshold=pl.lit(None, pl.Float64),
        predictions=pl.Series([still], dtype=pl.List(pl.Int8)),
    )
    row = measure(empty, images, n_groups=4, hardest=HARDEST).row(0, named=True)
    assert [value for name, value in row.items() if name.startswith("p_")] == [None] * 4
    assert (row["gain"], row["gain_low"], row["gain_high"]) == (0, None, None)
    assert row["worst"] == row["baseline_worst"]


def test_ties_between_groups_go_to_the_smaller_and_a_group_may_be_missing(
    images: pl.DataFrame,
) -> None:
    perfect = images.with_columns(baseline=pl.col("target"))
    ablations = fake_ablations(perfect, layers=1).head(1)
    ablations = ablations.with_columns(predictions=pl.Series([perfect["target"].to_list()]))
    row = measure(ablations, perfect, n_groups=6, hardest=1).row(0, named=True)
    assert (row["worst"], row["worst_group"], row["baseline_worst_group"]) == (100, 0, 0)
    assert (row["p_worst_group"], row["p_overall"], row["p_gain"]) == (1, 1, 0.5)
    assert (row["acc_before_3"], row["acc_before_5"], row["acc_after_4"]) == (100, None, None)


def test_wrong_frames_are_refused(ablations: pl.DataFrame, images: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="160"):
        measure(ablations, images.head(100), n_groups=4, hardest=HARDEST)
    twice = pl.concat([ablations.head(1), ablations.head(1)])
    with pytest.raises(ValueError, match="2 targeted rows"):
        measure(twice, images, n_groups=4, hardest=HARDEST)


def test_interval_of_the_unmodified_model(images: pl.DataFrame) -> None:
    counts = GroupCounts.from_dict(counts_of(images, images["baseline"].to_list()))
    expected = [100 * bound for bound in minimum_interval(counts)]
    assert list(unmodified_interval(images, 4)) == expected
