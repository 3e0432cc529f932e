"""The table of a sweep and its figure, and the table of stability, from small evaluations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clipsteer.report.drawing import Title
from clipsteer.report.stability import RELATIONS, render, stability_table
from clipsteer.report.stability import columns as stability_columns
from clipsteer.report.sweep import Place, columns, in_words, sweep_table
from clipsteer.report.sweep_figure import pareto_figure
from clipsteer.report.table import csv_text
from clipsteer.steering.choose import CONDITIONS

LABELS = {"dataset": "celeba", "source": "painted", "model": "tiny"}
VALUES = {"expansion": 16, "batch_size": 1024, "warmup_steps": 50, "prefixes": None}
# lr, l1, L0 and explained variance on validation, on test
MEASURED = [
    (0.1, 1e-3, (50.0, 0.90), (52.0, 0.91)),
    (0.1, 1e-2, (10.0, 0.80), (11.0, 0.57)),
    (0.2, 1e-3, (60.0, 0.88), (61.0, 0.89)),
    (0.2, 1e-2, (2.0, 0.20), (2.0, 0.21)),
    (0.3, 1e-3, (70.0, 0.95), (71.0, 0.95)),
    (0.3, 1e-2, (0.0, 0.00), (0.0, 0.00)),
]


def evaluation(pair: tuple[float, float]) -> dict[str, Any]:
    l0, explained = pair
    others = {"n_features": 8, "l0_cls": None, "dead_fraction": 0.5, "cosine_similarity": 0.9}
    others |= {"ce_recovered": 100 * explained**2 if l0 else None}
    return {"l0": l0, "explained_variance": explained, **others}


def swept(choice: dict[str, Any], shape: tuple[int, int] = (6, 96), **labels: str) -> pl.DataFrame:
    points = [
        {"name": f"v_g{i}", "values": {**VALUES, "lr": lr, "l1": l1, "seed": 0}, "own": i == 2}
        for i, (lr, l1, _, _) in enumerate(MEASURED)
    ]
    sweep = {
        **{"name": "v", "architecture": "vanilla", "trained_on": "general"},
        **{"hook_point": "resid_post", "choice": choice, "keys": ["l1", "lr"]},
        **{"points": points, "candidates": [point["name"] for point in points]},
    }
    places = [
        Place(3, f"v_g{i}", evaluation(validation), evaluation(test), {})
        for i, (_, _, validation, test) in enumerate(MEASURED)
    ]
    return sweep_table([sweep], {"v": places}, labels=LABELS | labels, shape=shape)


def test_a_row_a_point_with_its_settings_its_place_and_who_beats_it() -> None:
    table = swept({"by": "pareto"})
    assert table.columns == list(columns(["l1", "lr"], steered=False))
    assert table["lr"].to_list() == [lr for lr, _, _, _ in MEASURED]
    assert table["pareto"].to_list() == [True, True, False, True, True, False]
    # from (2, 0.20) to (70, 0.95): the second point lies highest above that line
    assert table["chosen"].to_list() == [False, True, False, False, False, False]
    assert table["rank"].to_list()[1] == 1
    assert table["rank_test"].to_list()[1] == 2  # on test the first one bends more
    # a learning rate at the end of its list, of points on the front; the chosen one's l1 too
    assert table["edge"].to_list() == ["lr", "l1 lr", None, None, "lr", None]
    assert not table["paper"].any()
    (sentence,) = in_words(table)
    assert "v, layer 3: pareto takes v_g1, L0 10.0, explained variance 0.800" in sentence
    assert sentence.endswith("place 1 of 6 on validation, 2 on test")


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        ({"by": "fixed"}, 2),
        ({"by": "rule", "max_l0": 55}, 0),
        ({"by": "rule", "min_explained_variance": 0.9}, 0),
        ({"by": "rule", "min_explained_variance": 0.1}, 3),
    ],
)
def test_the_point_that_tables_use(choice: dict[str, Any], taken: int) -> None:
    chosen = swept(choice)["chosen"].to_list()
    assert [i for i, is_chosen in enumerate(chosen) if is_chosen] == [taken]


def test_of_several_seeds_one_point_is_taken() -> None:
    places = [Place(0, n, evaluation((2, 0.5)), evaluation((2, 0.5)), {}) for n in ("v", "v_g1")]

    def taken(choice: dict[str, Any], candidates: list[str]) -> list[bool]:
        sweep = {
            **{"name": "v", "architecture": "topk", "trained_on": "general"},
            **{"hook_point": "resid_post", "choice": choice, "keys": ["seed"]},
            "points": [
                {"name": "v", "values": {"k": 2, "seed": 0}, "own": True},
                {"name": "v_g1", "values": {"k": 2, "seed": 1}, "own": False},
            ],
            "candidates": candidates,
        }
        table = sweep_table([sweep], {"v": places}, labels=LABELS, shape=(6, 96))
        assert table["points"].to_list() == table["rank"].to_list() == [1, 1]
        return table["chosen"].to_list()

    assert taken({"by": "fixed"}, ["v"]) == [True, False]
    assert taken({"by": "fixed"}, ["v_g1"]) == [True, False]  # the grid lacks the table's own seed
    assert taken({"by": "pareto"}, ["v_g1"]) == [False, True]


def test_only_the_papers_settings_on_real_data_are_the_papers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key, value in {"expansion": 64, "batch_size": 4096, "warmup_steps": 200}.items():
        monkeypatch.setitem(VALUES, key, value)
    measured = [(lr, 1e-5 if i < 2 else l1, v, t) for i, (lr, l1, v, t) in enumerate(MEASURED)]
    monkeypatch.setattr("tests.report.test_sweep.MEASURED", measured)
    assert not swept({"by": "fixed"})["paper"].any()
    real = swept({"by": "fixed"}, (12, 768), source="real")["paper"].to_list()
    assert real == [True, True, False, False, False, False]


def test_the_figure_is_drawn_and_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    table = swept({"by": "pareto"})
    for name in ("one.png", "two.png"):
        pareto_figure(table, tmp_path / name, title=Title(**LABELS))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    other = table.with_columns(pl.col("explained_variance") + 0.01)
    pareto_figure(other, tmp_path / "two.png", title=Title(**LABELS))
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()
    pareto_figure(table.filter(pl.col("l0") < 0), tmp_path / "none.png", title=Title(**LABELS))


def gains(points: float) -> dict[str, Any]:
    """Of a set that gains so much: what pairs say of it goes by that, of the second class nothing."""
    each = {"n_features": 5, "gain": points, "gain_low": points - 1, "gain_high": points + 1}
    each |= {"recovery_0": points / 20, "pair_collateral_0": points / 100}
    return {f"{c}_{name}": value for c in CONDITIONS for name, value in each.items()}


def test_stability_by_relation_and_layer() -> None:
    likeness = {"alive": 10, "alive_back": 12, "cosine": 0.81, "cosine_back": 0.7949}
    likeness |= {"random_cosine": 0.33, "strict_overlap": 0.5}
    pairs = [
        ({"relation": "seed", "hook_point": "resid_post", "dictionaries": [a, b]}, 3, likeness, g)
        for (a, b), g in {
            ("t", "t_g1"): [gains(10.0), gains(12.0)],
            ("t", "t_g2"): [gains(10.0), gains(5.0)],
            ("t_g1", "t_g2"): [{}, {}],
        }.items()
    ]
    table = stability_table(pairs, LABELS, 2)
    assert table.columns == list(stability_columns(2))
    assert table["strict_recovery_0"].to_list() == [0.5, 0.5, None]
    assert table["strict_pair_collateral_0_back"].to_list() == [0.12, 0.05, None]
    assert table["strict_recovery_1"].is_null().all()
    assert table["relaxed_gain_back"].to_list() == [12.0, 5.0, None]
    assert csv_text(table).count("\n") == 4
    page = render(table, ["woman", "man"])
    assert RELATIONS["seed"].capitalize() in page
    assert RELATIONS["settings"].capitalize() not in page
    assert re.search(r"\| 3 +\| 3 +\| 0\.79 to 0\.81 +\|", page)
    assert "+10.0, +12.0, +5.0 | +9.0 |" in page
    assert "painted (synthetic)" in page
    # of t, t_g1 and t_g2: 0.5, 0.6 and 0.25; the second class has no pairs
    assert "| layer | recovery, woman     | recovery, man | collateral, woman" in page
    assert "| 3     | 0.45 (0.25 to 0.60) | –             | 0.09 (0.05 to 0.12) | –" in page
    quality = render(stability_table([(*pair[:3], [{}, {}]) for pair in pairs], LABELS, 2), ["a"])
    assert "sets" not in quality.partition("##")[2]
    unpaired = [
        (*pair[:3], [{k: v for k, v in side.items() if "_0" not in k} for side in pair[3]])
        for pair in pairs
    ]
    without = render(stability_table(unpaired, LABELS, 2), ["woman", "man"])
    assert "+10.0, +12.0, +5.0 | +9.0 |" in without
    assert "ecovery" not in without
