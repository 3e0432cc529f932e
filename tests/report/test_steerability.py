"""Steerability as tables, sentences and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from clipsteer.report import steerability_figures as figures
from clipsteer.report.drawing import Title
from clipsteer.report.steerability import (
    FEATURES,
    RANDOM,
    Measurement,
    Words,
    feature_rows,
    layer_rows,
    render,
)
from clipsteer.steering.layer_metrics import Thresholds
from clipsteer.steering.outcomes import NEURONS

ENTRIES = [f"word {i}" for i in range(20)]
WORDS = Words(ENTRIES, 0.62)
LABELS = {"dataset": "celeba", "source": "painted", "model": "tiny"}
THRESHOLDS = Thresholds(0.1, 0.5)


def rows(n: int, level: float, rng: np.random.Generator) -> dict[str, Any]:
    paper = rng.random(n) * level
    order = rng.permuted(np.tile(np.arange(20), (n, 1)), axis=1)[:, :10]
    return {
        "feature": rng.permutation(n),
        "strength": np.full(n, 50.0),
        "images": np.full(n, 12),
        "s_paper": paper,
        "s_prisma": paper / 2,
        **{name: rng.random(n) for name in ("entropy", "d", "delta", "delta_max")},
        "delta_word": rng.integers(0, 20, n),
        "top_words": order.tolist(),
        "top_probabilities": np.sort(rng.random((n, 10)) / 10)[:, ::-1].tolist(),
    }


def measurement(layer: int, name: str, kind: str, n: int, m: int, level: float) -> Measurement:
    rng = np.random.default_rng(layer * 1000 + n)
    scores = pl.DataFrame(
        {
            "sample": np.arange(n),
            **rows(n, level, rng),
            "frequency": np.zeros(n),
            "token_frequency": np.zeros(n),
        }
    )
    curves = pl.concat(
        [
            pl.DataFrame({"role": roles, **rows(3, level, rng)}).with_columns(
                pl.lit(strength).alias("strength"), pl.Series("feature", [0, 1, 2])
            )
            for roles in [["most", "median", "least"]]
            for strength in (-5.0, 0.0, 20.0, 50.0)
        ]
    )
    about = {"m": m, "images": 12, "asymptote": 50.0, "reached": layer == 0}
    return Measurement("resid_post", layer, name, kind, scores, curves, about)


@pytest.fixture(scope="module")
def found() -> list[Measurement]:
    return [
        one
        for layer in (0, 2)
        for one in (
            measurement(layer, "topk", FEATURES, 40, 160, 0.9 if layer else 0.2),
            measurement(layer, "neurons", NEURONS, 16, 16, 0.15),
            measurement(layer, "random", RANDOM, 30, 30, 0.05),
        )
    ]


@pytest.fixture(scope="module")
def layers(found: list[Measurement]) -> pl.DataFrame:
    return layer_rows(found, WORDS, LABELS, THRESHOLDS, seed=0)


def test_a_row_a_feature_by_falling_steerability(found: list[Measurement]) -> None:
    table = feature_rows(found, WORDS, LABELS)
    assert table.height == 2 * (40 + 16 + 30)
    first = table.row(0, named=True)
    best = found[0].scores.sort("s_paper", descending=True).row(0, named=True)
    assert (first["feature"], first["layer"], first["dictionary"]) == (best["feature"], 0, "topk")
    assert first["concept"] == ENTRIES[best["top_words"][0]]
    assert first["top_words"].split("|") == [ENTRIES[i] for i in best["top_words"]]
    assert first["s_paper"] == pytest.approx(best["s_paper"], rel=1e-5)


def test_layers_are_compared_at_equal_numbers_and_shares(
    found: list[Measurement], layers: pl.DataFrame
) -> None:
    sizes = {
        (row["comparison"], row["dictionary"]): row["n_features"]
        for row in layers.filter(layer=2, reading="paper").iter_rows(named=True)
    }
    assert sizes == {
        **{("sample", name): n for name, n in (("topk", 40), ("neurons", 16), ("random", 30))},
        **{("equal_number", name): 16 for name in ("topk", "neurons", "random")},
        **{("equal_share", name): n for name, n in (("topk", 40), ("neurons", 4), ("random", 30))},
    }
    own = found[3].scores
    row = layers.row(
        by_predicate=(pl.col("layer") == 2)
        & (pl.col("comparison") == "sample")
        & (pl.col("reading") == "prisma")
        & (pl.col("dictionary") == "topk"),
        named=True,
    )
    assert row["s"] == pytest.approx(own["s_prisma"].mean(), rel=1e-5)
    assert row["share_steerable"] == pytest.approx((own["s_prisma"] > 0.1).mean(), rel=1e-5)
    few = own.filter(pl.col("sample") < 16)
    cut = layers.filter(layer=2, comparison="equal_number", reading="paper", dictionary="topk")
    assert cut["s"][0] == pytest.approx(few["s_paper"].mean(), rel=1e-5)


def test_the_page_says_what_was_found_and_names_painted_data(layers: pl.DataFrame) -> None:
    page = render(layers)
    assert "source: painted (synthetic)" in page
    best = layers.filter(layer=2, comparison="equal_number", dictionary="topk").sort("reading")
    paper, prisma = (f"{100 * share:.1f} %" for share in best["share_steerable"])
    first, second, third = page.split("\n\n")[2].split("\n")
    assert first.startswith(
        "1. At layer 2, which topk steers most, and of 16 each, S_f is above 0.1"
    )
    assert f"for {paper}" in first
    assert f"as the authors' code has it, for {prisma}" in first
    assert "of neurons (fewer)" in first
    assert "of 20 words" in second
    assert "does not hold here (its length is 0.62)" in third
    assert "(end)" in page


def test_figures_are_drawn_and_equal_tables_give_equal_bytes(
    found: list[Measurement], layers: pl.DataFrame, tmp_path: Path
) -> None:
    title = Title(**LABELS)
    shown = figures.shown_place(found)
    assert (shown.dictionary, shown.layer) == ("topk", 2)
    drawn = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        figures.curves_figure(shown, ENTRIES, folder / "curves.png", title)
        figures.histogram_figure(found, 0.1, folder / "histogram.png", title)
        figures.layers_figure(layers, folder / "layers.png", title)
        figures.words_figure(shown, ENTRIES, folder / "words.png", title)
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 4
