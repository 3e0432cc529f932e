"""Accuracies, intervals and comparisons from predictions, against plain loops."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from clipsteer.steering.outcomes import SETTING, baseline_interval, headline, measure
from clipsteer.steering.significance import bootstrap_worst, mcnemar_exact, wilson_interval
from tests.report.fakes import SAES, fake_ablations, fake_images


@pytest.fixture(scope="module")
def images() -> pl.DataFrame:
    return fake_images(per_group=40)


@pytest.fixture(scope="module")
def ablations(images: pl.DataFrame) -> pl.DataFrame:
    return fake_ablations(images, layers=3, seeds=3)


@pytest.fixture(scope="module")
def measured(ablations: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    return measure(ablations, images, seed=7)


def brute(images: pl.DataFrame, predictions: list[int]) -> tuple[float, dict[int, float]]:
    """Overall accuracy and each group's, in per cent, image by image."""
    right: dict[int, list[bool]] = {}
    for image, prediction in zip(images.iter_rows(named=True), predictions, strict=True):
        right.setdefault(image["group"], []).append(prediction == image["target"])
    every = [hit for hits in right.values() for hit in hits]
    return 100 * sum(every) / len(every), {g: 100 * sum(h) / len(h) for g, h in right.items()}


def correct(images: pl.DataFrame, predictions: list[int]) -> np.ndarray:
    return np.array(predictions) == images["target"].to_numpy()


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
    hardest = min(base_groups, key=lambda g: (base_groups[g], g))
    inside = images["group"].to_numpy() == hardest
    rows = measured.filter(pl.col("ablation") == "targeted").iter_rows(named=True)
    given = ablations.filter(pl.col("ablation") == "targeted").iter_rows(named=True)
    for row, source in zip(rows, given, strict=True):
        after = correct(images, source["predictions"])
        overall, groups = brute(images, source["predictions"])
        low, high = wilson_interval(int(after.sum()), len(after))
        worst_low, worst_high = bootstrap_worst(after, images["group"].to_numpy(), seed=7)
        assert row["overall"] == pytest.approx(overall)
        assert row["worst"] == pytest.approx(min(groups.values()))
        assert groups[row["worst_group"]] == min(groups.values())
        assert (row["overall_low"], row["overall_high"]) == pytest.approx((100 * low, 100 * high))
        assert (row["worst_low"], row["worst_high"]) == pytest.approx(
            (100 * worst_low, 100 * worst_high)
        )
        assert row["baseline_overall"] == pytest.approx(base_overall)
        assert row["baseline_worst"] == pytest.approx(base_groups[hardest])
        assert row["baseline_worst_group"] == hardest
        assert row["p_value"] == mcnemar_exact(base[inside], after[inside])
        assert row["p_value_overall"] == mcnemar_exact(base, after)
        assert (row["seed"], row["random_seeds"], row["n_images"]) == (7, None, 160)
        assert row["threshold"] == source["threshold"]


def test_random_rows_are_means_over_seeds(
    measured: pl.DataFrame, ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    for row in measured.filter(pl.col("ablation") == "random").iter_rows(named=True):
        members = ablations.filter(*(pl.col(n).eq_missing(row[n]) for n in SETTING))
        assert len(members) == 3
        found = [brute(images, p) for p in members["predictions"].to_list()]
        bounds = [
            bootstrap_worst(correct(images, p), images["group"].to_numpy(), seed=7)
            for p in members["predictions"].to_list()
        ]
        assert row["overall"] == pytest.approx(np.mean([overall for overall, _ in found]))
        assert row["worst"] == pytest.approx(np.mean([min(g.values()) for _, g in found]))
        assert row["worst_low"] == pytest.approx(100 * np.mean([low for low, _ in bounds]))
        assert row["worst_high"] == pytest.approx(100 * np.mean([high for _, high in bounds]))
        empty = ("p_value", "p_value_overall", "seed", "threshold")
        assert [row[name] for name in empty] == [None] * 4
        assert row["random_seeds"] == 3


def test_order_of_rows_does_not_change_numbers(
    measured: pl.DataFrame, ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    turned = measure(ablations.reverse(), images, seed=7)
    keys = ["layer", "dictionary", "ablation", "condition"]
    numbers = pl.selectors.numeric()
    left, right = measured.sort(keys).select(numbers), turned.sort(keys).select(numbers)
    assert np.allclose(
        left.to_numpy().astype(float), right.to_numpy().astype(float), rtol=1e-12, equal_nan=True
    )


def test_ties_between_groups_go_to_the_smaller(images: pl.DataFrame) -> None:
    perfect = images.with_columns(baseline=pl.col("target"))
    ablations = fake_ablations(perfect, layers=1).head(1)
    ablations = ablations.with_columns(predictions=pl.Series([perfect["target"].to_list()]))
    row = measure(ablations, perfect, seed=0).row(0, named=True)
    assert (row["worst"], row["worst_group"], row["baseline_worst_group"]) == (100, 0, 0)
    assert (row["p_value"], row["p_value_overall"]) == (1, 1)


def test_wrong_frames_are_refused(ablations: pl.DataFrame, images: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="160"):
        measure(ablations, images.head(100), seed=0)
    with pytest.raises(ValueError, match="2 targeted rows"):
        measure(pl.concat([ablations.head(1), ablations.head(1)]), images, seed=0)


def test_baseline_interval(images: pl.DataFrame) -> None:
    base = correct(images, images["baseline"].to_list())
    low, high = bootstrap_worst(base, images["group"].to_numpy(), seed=7)
    assert baseline_interval(images, seed=7) == pytest.approx((100 * low, 100 * high))


def find(measured: pl.DataFrame, layer: int, name: str, kind: str) -> float:
    row = measured.filter(
        pl.col("layer") == layer,
        pl.col("dictionary") == name,
        pl.col("ablation") == kind,
        pl.col("condition") == "strict",
    )
    return float(row["worst"].item())


def test_headline_points(
    measured: pl.DataFrame, ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    choice = {0: "vanilla", 1: "topk64", 2: "topk64"}
    h = headline(
        ablations, images, hook_point="resid_post", layer=2, dictionary="topk64",
        per_layer=choice, seed=7,
    )  # fmt: skip
    row = measured.filter(
        pl.col("layer") == 2,
        pl.col("dictionary") == "topk64",
        pl.col("ablation") == "targeted",
        pl.col("condition") == "strict",
    ).row(0, named=True)
    for name in ("overall", "worst", "baseline_worst", "p_value", "p_value_overall", "n_features"):
        assert h[name] == pytest.approx(row[name])
    assert h["gain"]["points"] == pytest.approx(row["worst"] - row["baseline_worst"])
    assert h["gain"]["low"] < h["gain"]["points"] < h["gain"]["high"]
    scopes = {
        "all": [(n, d) for n in range(3) for d in SAES],
        "chosen": [(n, "topk64") for n in range(3)],
        "per_layer": list(choice.items()),
    }
    for scope, places in scopes.items():
        over_neurons = [
            find(measured, n, d, "targeted") - find(measured, n, "neurons", "targeted")
            for n, d in places
        ]
        over_random = [
            find(measured, n, d, "targeted") - find(measured, n, d, "random") for n, d in places
        ]
        assert h["sae_over_neurons"][scope]["points"] == pytest.approx(np.mean(over_neurons))
        assert h["sae_over_random"][scope]["points"] == pytest.approx(np.mean(over_random))


def test_layers_count_alike_even_where_a_dictionary_is_missing(
    measured: pl.DataFrame, ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    gone = (pl.col("layer") == 0) & (pl.col("dictionary") == "vanilla")
    rest = ablations.filter(~gone)
    h = headline(rest, images, hook_point="resid_post", layer=2, dictionary="topk64", seed=7)
    layers = [
        np.mean(
            [
                find(measured, n, d, "targeted") - find(measured, n, "neurons", "targeted")
                for d in SAES
                if (n, d) != (0, "vanilla")
            ]
        )
        for n in range(3)
    ]
    assert h["sae_over_neurons"]["all"]["points"] == pytest.approx(np.mean(layers))
    assert "per_layer" not in h["sae_over_neurons"]


def test_paired_intervals_are_those_of_a_loop_over_draws(
    ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    """The gain's interval, by drawing images in a plain loop with another generator."""
    h = headline(ablations, images, hook_point="resid_post", layer=1, dictionary="vanilla", seed=0)
    source = ablations.filter(
        pl.col("layer") == 1,
        pl.col("dictionary") == "vanilla",
        pl.col("ablation") == "targeted",
        pl.col("condition") == "strict",
    )["predictions"].to_list()[0]
    after, base = correct(images, source), correct(images, images["baseline"].to_list())
    groups = images["group"].to_numpy()
    rng = np.random.default_rng(11)
    gains = []
    for _ in range(2000):
        draw = [rng.choice(np.flatnonzero(groups == g), size=40) for g in range(4)]
        gains.append(min(after[i].mean() for i in draw) - min(base[i].mean() for i in draw))
    low, high = np.percentile(gains, [2.5, 97.5])
    assert h["gain"]["low"] == pytest.approx(100 * low, abs=2.6)  # one image is 2.5 points
    assert h["gain"]["high"] == pytest.approx(100 * high, abs=2.6)


def test_no_difference_has_no_interval(ablations: pl.DataFrame, images: pl.DataFrame) -> None:
    same = images["baseline"].to_list()
    still = ablations.with_columns(predictions=pl.Series([same] * len(ablations)))
    h = headline(still, images, hook_point="resid_post", layer=0, dictionary="vanilla", seed=0)
    for gap in (h["gain"], h["sae_over_neurons"]["all"], h["sae_over_random"]["chosen"]):
        assert list(gap.values()) == pytest.approx([0, 0, 0], abs=1e-9)
    assert h["p_value"] == 1


def test_headline_needs_the_chosen_place(ablations: pl.DataFrame, images: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="layer 9"):
        headline(ablations, images, hook_point="resid_post", layer=9, dictionary="vanilla", seed=0)


def test_comparisons_without_controls_are_left_out(
    ablations: pl.DataFrame, images: pl.DataFrame
) -> None:
    part = ablations.filter(pl.col("ablation") == "targeted", pl.col("dictionary") != "neurons")
    h = headline(part, images, hook_point="resid_post", layer=0, dictionary="vanilla", seed=0)
    assert h["sae_over_neurons"] == {}
    assert h["sae_over_random"] == {}
