"""The results table: its columns, order, decimals and bytes."""

from __future__ import annotations

import io

import polars as pl
import pytest

from clipsteer.report.table import columns, csv_text, results_table
from clipsteer.steering.outcomes import measure
from tests.report.fakes import GROUPS, fake_ablations, fake_images

HEADER = (
    "dataset,source,model,hook_point,layer,dictionary,trained_on,ablation,condition,rule,aggregate,"
    "tokens,error_term,threshold,n_features,overall,overall_low,overall_high,worst,worst_low,"
    "worst_high,worst_group,baseline_overall,baseline_worst,baseline_worst_group,"
    "acc_before_0,acc_before_1,acc_before_2,acc_before_3,"
    "acc_after_0,acc_after_1,acc_after_2,acc_after_3,"
    "acc_after_0_low,acc_after_0_high,acc_after_1_low,acc_after_1_high,"
    "acc_after_2_low,acc_after_2_high,acc_after_3_low,acc_after_3_high,"
    "worst_group_validation,gain,gain_low,gain_high,p_gain,p_worst_group,p_worst_group_holm,p_overall,"
    "n_images,seed,random_seeds,paper_overall,paper_worst"
)


@pytest.fixture(scope="module")
def measured() -> pl.DataFrame:
    images = fake_images(per_group=30)
    return measure(fake_ablations(images, layers=2, seeds=2), images, n_groups=4, hardest=3)


def make(measured: pl.DataFrame, **options: object) -> pl.DataFrame:
    given = {
        "dataset": "celeba",
        "source": "painted",
        "model": "tiny",
        "group_names": GROUPS,
        "seed": 5,
        "strict_rule": "no_group_falls",
    }
    return results_table(measured, **{**given, **options})  # type: ignore[arg-type]


def test_columns_are_exactly_the_agreed_ones(measured: pl.DataFrame) -> None:
    assert ",".join(columns(4)) == HEADER
    text = csv_text(make(measured))
    assert text.splitlines()[0] == HEADER
    assert len(text.splitlines()) == 1 + len(measured)
    assert "\r" not in text


def test_rows_are_ordered_whatever_order_they_come_in(measured: pl.DataFrame) -> None:
    table = make(measured)
    first = table.head(4).select("layer", "dictionary", "ablation", "condition").rows()
    assert first == [
        (0, "vanilla", "targeted", "strict"),
        (0, "vanilla", "targeted", "relaxed"),
        (0, "vanilla", "random", "strict"),
        (0, "vanilla", "random", "relaxed"),
    ]
    assert table["dictionary"].to_list()[12:16] == ["neurons"] * 4
    neurons_first = pl.concat(
        [
            measured.filter(pl.col("dictionary") == "neurons"),
            measured.filter(pl.col("dictionary") != "neurons"),
        ]
    )
    assert csv_text(make(neurons_first)) == csv_text(table)


def test_cells_have_fixed_decimals(measured: pl.DataFrame) -> None:
    exact = measured.with_columns(
        overall=pl.lit(70.0), worst=pl.lit(100 / 3), p_gain=pl.lit(1.23456789e-7)
    )
    rows = pl.read_csv(io.StringIO(csv_text(make(exact))), infer_schema=False)
    assert rows["overall"][0] == "70.00"
    assert rows["worst"][0] == "33.33"
    assert rows["p_gain"][0] == "1.23457e-07"
    assert rows["threshold"][0] == "0.001"
    assert make(exact)["worst"][0] == 33.33


def test_noise_below_the_decimals_does_not_change_the_bytes(measured: pl.DataFrame) -> None:
    noisy = measured.with_columns(pl.col("worst_low", "overall_high") + 1e-11)
    assert csv_text(make(noisy)) == csv_text(make(measured))


def test_empty_cells_of_random_and_targeted_rows(measured: pl.DataFrame) -> None:
    rows = pl.read_csv(io.StringIO(csv_text(make(measured))))
    random, targeted = (rows.filter(pl.col("ablation") == kind) for kind in ("random", "targeted"))
    for name in ("p_gain", "p_worst_group", "p_worst_group_holm", "p_overall", "threshold"):
        assert random[name].null_count() == len(random)
        assert targeted[name].null_count() == 0
    assert random["random_seeds"].unique().to_list() == [2]
    assert targeted["random_seeds"].null_count() == len(targeted)
    assert rows["seed"].unique().to_list() == [5]
    assert rows.filter(pl.col("dictionary") == "neurons")["trained_on"].null_count() == 8


def test_groups_are_named(measured: pl.DataFrame) -> None:
    assert set(make(measured)["baseline_worst_group"]) == {"blond men"}
    assert set(make(measured, group_names={})["worst_group_validation"]) == {"group 3"}
    assert make(measured)["acc_before_3"].unique().len() == 1


def test_paper_columns_only_in_the_papers_setting(measured: pl.DataFrame) -> None:
    ours = make(measured)
    assert ours["paper_worst"].null_count() == len(ours)
    theirs = make(measured, paper_setting=set(measured["dictionary"]), source="celeba")
    row = theirs.filter(
        pl.col("layer") == 0,
        pl.col("dictionary") == "vanilla",
        pl.col("ablation") == "targeted",
        pl.col("condition") == "strict",
    )
    assert row.select("paper_overall", "paper_worst").row(0) == (92.78, 78.89)
    random_neurons = (pl.col("dictionary") == "neurons") & (pl.col("ablation") == "random")
    assert theirs.filter(random_neurons)["paper_worst"].null_count() == 4
    other = make(measured, paper_setting=set(measured["dictionary"]), dataset="my_faces")
    assert other["paper_overall"].null_count() == len(other)
