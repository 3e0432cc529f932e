from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl

from clipsteer.report.baselines import (
    METHODS,
    baselines_table,
    columns,
    headline_rows,
    render,
)
from clipsteer.report.baselines_figure import baselines_figure
from clipsteer.report.drawing import Title
from clipsteer.report.pairs_figure import pairs_figure
from clipsteer.report.table import csv_text
from clipsteer.steering.compared import compare
from clipsteer.steering.contenders import effects
from tests.steering.test_compared import RULES, UNCONCERNED, frames, row
from tests.steering.test_pairs import pairs_of

CLASSES = ["landbird", "waterbird"]
GROUPS = ["land on land", "land on water", "water on land", "water on water"]


def made_of(seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Trials, and the images."""
    rows = [row("balanced_probe", None, None)]
    for condition in ("relaxed", "strict"):
        rows += [
            row("sae", condition, 2, dictionary="topk", balance=b, n_features=9, threshold=0.01)
            for b in ("group", "none")
        ]
        rows.append(row("leace", condition, 1, balance="none", scale=0.0))
        rows += [row("random_features", condition, d, draw=d, n_features=3 + d) for d in (0, 1)]
        rows += [
            row("random_subspace", condition, 2, dictionary="topk", balance=b, draw=d, rank=r)
            for d in (0, 1)
            for b, r in (("none", 3 + d), ("group", 0))
        ]
        rows.append(row("class_bias", condition, None, scale=-0.0123456789))
    return frames(seed, rows)


def table(seed: int = 0, paired: bool = False) -> pl.DataFrame:
    trials, images = made_of(seed)
    pairs = pairs_of(seed, images)[0] if paired else None
    found = compare(trials, images, UNCONCERNED, n_groups=4, rules=RULES, pairs=pairs)
    return baselines_table(
        found, dataset="birds", source="painted", model="tiny", group_names=GROUPS
    )


def test_the_table_has_its_columns_in_order_and_reads_back() -> None:
    made = table()
    assert made.columns == list(columns(4, ("Hat", "Tie")))
    assert made["method"].unique(maintain_order=True).to_list() == [
        method for method in METHODS if method in made["method"].to_list()
    ]
    sae = made.filter(pl.col("method") == "sae")
    assert sae.select("balance", "condition").rows() == [
        ("none", "strict"), ("none", "relaxed"), ("group", "strict"), ("group", "relaxed"),
    ]  # fmt: skip
    again = pl.read_csv(io.StringIO(csv_text(made)))
    for name in ("worst", "share_of_gap", "scale", "largest_fall"):
        np.testing.assert_array_equal(
            again[name].cast(pl.Float64).to_numpy(), made[name].to_numpy(), err_msg=name
        )
    assert made.filter(pl.col("method") == "class_bias")["scale"].to_list() == [-0.0123457] * 2
    assert set(made["worst_group_validation"]) == {"water on land"}


def test_the_page_says_what_was_taken_and_what_fell() -> None:
    made = table()
    attributes = {"Hat": 57.8, "Tie": None, "Scarf": 71.25}
    names = {"group_names": GROUPS, "class_names": CLASSES}
    page = render(made, balance="none", attributes=attributes, **names)
    told = "Hat 57.8 % (near chance: what changes there says little), Tie no images of one of its values"
    assert f"Unmodified model: {told}, Scarf 71.2 %." in page
    unnamed = render(made, balance="none", attributes={}, **names)
    assert "Other attributes: none is named" in unnamed
    assert "## Pairs: the true effect\n\nNo image names a pair" in page
    assert "source: painted (synthetic)" in page
    assert "Worst on validation: water on land" in page
    for condition in ("Strict", "Relaxed"):
        part = page.split(f"## {condition} condition")[1].split("##")[0]
        rows = {line.split("|")[1].strip(): line for line in part.splitlines() if "|" in line}
        assert set(rows) >= {METHODS[method] for method in made["method"].to_list()}
        assert "none passed" in rows[METHODS["leace"]]
        assert rows[METHODS["sae"]].split("|")[10].strip() == "-5.0, -5.0 Hat"
        assert rows[METHODS["random_features"]].split("|")[10].strip() == "-5.0, -5.0"
        assert "2 draws, each its own" in rows[METHODS["random_features"]]
        assert "| bias -0.0123 |" in " ".join(rows[METHODS["class_bias"]].split())
        beside = [line.split("|")[3].strip() for line in part.splitlines() if "subspace" in line]
        assert beside == ["L2 topk, 2 draws", "none passed"]
    for one in headline_rows(made, "strict", GROUPS):
        mine = made.filter(
            (pl.col("method") == one["method"])
            & pl.col("balance").eq_missing(one["balance"])
            & (pl.col("condition").is_null() | (pl.col("condition") == "strict"))
        )
        gains = (mine["acc_after_2"] - mine["acc_before_2"]).to_list()
        assert one["own_gain"] == sum(gains) / len(gains)
        no_rank = one["method"] == "random_subspace" and one["balance"] == "group"
        assert one["is_nothing"] == (one["method"] == "leace" or no_rank)


def test_equal_tables_give_equal_pictures(tmp_path: Path) -> None:
    drawn = []
    for number, seed in enumerate((0, 0, 1)):
        path = tmp_path / f"{number}.png"
        baselines_figure(table(seed), path, balance="none", group_names=GROUPS)
        drawn.append(path.read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0].startswith(b"\x89PNG")


def test_the_page_has_what_pairs_say_and_draws_are_means() -> None:
    made = table(paired=True)
    assert made.columns == list(columns(4, ("Hat", "Tie"), 2))
    assert made.drop(columns(4, (), 2)[-12:]).equals(table())
    names = {"group_names": GROUPS, "class_names": CLASSES}
    page = render(made, balance="none", attributes={}, **names)
    part = page.split("## Pairs: the true effect")[1].split("## How to read")[0]
    first = made.row(0, named=True)
    reach = ", ".join(f"{name} {first[f'pairs_acc_{g}']:.1f} %" for g, name in enumerate(GROUPS))
    assert reach in part
    shown = part.split("### Strict condition")[1].split("###")[0]
    cells = {
        (line.split("|")[1].strip(), line.split("|")[2].strip()): [
            cell.strip() for cell in line.split("|")[4:8]
        ]
        for line in shown.splitlines()
        if line.startswith("|")
    }
    named = [f"{kind}_{n}" for kind in ("recovery", "pair_collateral") for n in (0, 1)]
    for method, balance in (("sae", "group"), ("class_bias", None), ("random_features", None)):
        mine = made.filter(
            (pl.col("method") == method) & pl.col("best_place") & (pl.col("condition") == "strict")
            & pl.col("balance").eq_missing(balance)
        )  # fmt: skip
        means = [float(mine[name].mean()) for name in named]  # type: ignore[arg-type]
        found = [float(cell) for cell in cells[METHODS[method], balance or "–"]]
        np.testing.assert_allclose(found, means, atol=0.0051)
    assert cells[METHODS["balanced_probe"], "–"] == ["–"] * 4


def test_pairs_are_drawn_alike_from_equal_tables(tmp_path: Path) -> None:
    drawn = []
    title = Title("birds", "tiny", "painted")
    for number, seed in enumerate((0, 0, 1)):
        trials, images = made_of(seed)
        shown = effects(trials, RULES, "none", pairs_of(seed, images)[0])
        if number == 2:  # the SAE's sets were empty
            shown = shown.filter(pl.col("side") == "baseline")
        pairs_figure(shown, tmp_path / f"{number}.png", title=title, class_names=CLASSES)
        drawn.append((tmp_path / f"{number}.png").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
