"""The typographic table against plain counts over made answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from clipsteer.defences.evaluating import (
    BOTH,
    EVERYWHERE,
    NONE,
    PATCHING,
    PREFIX,
    RANDOM,
    SAE,
    SCHEMA,
)
from clipsteer.report import paper
from clipsteer.report import typographic as report
from clipsteer.report import typographic_examples as examples
from clipsteer.report import typographic_figures as figures

N = 40
TARGETS = np.arange(N) % 4
WORDS = (TARGETS + 1 + np.arange(N) // 4 % 3) % 4
DEFENCES = (*((name, 1) for name in EVERYWHERE), (SAE, 1), (BOTH, 1), (RANDOM, 3), ("leace", 1))


def answers(seed: int, views: tuple[str, ...]) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (
            view,
            name,
            draw if times > 1 else None,
            rng.integers(0, 4, N).tolist(),
            rng.normal(size=N).tolist(),
        )
        for view in views
        for name, times in DEFENCES
        for draw in range(times)
    ]
    return pl.DataFrame(rows, SCHEMA, orient="row")


def place(benchmark: str, seed: int, **changed: Any) -> report.Answered:
    chosen = {
        **{"tau": 0.1, "lambda": None, "n_f": 2, "features": [4, 1, 7]},
        **{"random_cosine": 0.25, "scales": {"leace": 1.5, PATCHING: 0.4}},
    }
    views = changed.pop("views", ("test", "test_attacked"))
    words = changed.pop("words", WORDS)
    of = {
        **{"benchmark": benchmark, "source": "painted", "hook_point": "resid_post", "layer": 1},
        **{"dictionary": "topk", "chosen": chosen, "answers": answers(seed, views), "papers": True},
    }
    labels = pl.DataFrame({"target": TARGETS, "word": words})
    return report.Answered(**{**of, "labels": labels, **changed})


def told(one: report.Answered, view: str, defence: str) -> tuple[np.ndarray, np.ndarray]:
    rows = one.answers.filter(view=view, defence=defence)
    return np.array(rows["predictions"].to_list()), np.array(rows["margins"].to_list())


def test_every_number_is_that_of_a_plain_count() -> None:
    tuned, bench = place("tuning", 1), place("bench", 2)
    found = report.table([tuned, bench], "clip", "tuning")
    assert tuple(found.columns) == report.COLUMNS
    assert found.height == 2 * len(DEFENCES)
    plain = {view: told(bench, view, NONE) for view in ("test", "test_attacked")}
    base = (told(tuned, "test", NONE)[0] == TARGETS).mean()
    for name, times in DEFENCES:
        (row,) = found.filter(benchmark="bench", defence=name).iter_rows(named=True)
        attacked, margins = told(bench, "test_attacked", name)
        clean, kept = told(bench, "test", name)
        assert row["attacked"] == pytest.approx(100 * (attacked == TARGETS).mean(), abs=0.006)
        assert row["clean"] == pytest.approx(100 * (clean == TARGETS).mean(), abs=0.006)
        assert row["fooled"] == pytest.approx(100 * (attacked == WORDS).mean(), abs=0.006)
        own = (told(tuned, "test", name)[0] == TARGETS).mean()
        assert row["clean_change"] == pytest.approx(100 * (own - base), abs=0.006)
        assert row["draws"] == (times if name == RANDOM else None)
        assert (row["layer"] is None) == (name in EVERYWHERE)
        if name in (SAE, "leace"):
            effect = ((plain["test_attacked"][1][0] - plain["test"][1][0]) ** 2).sum()
            left = ((margins[0] - plain["test"][1][0]) ** 2).sum()
            assert row["recovery"] == pytest.approx(1 - left / effect, abs=6e-5)
            moved = ((kept[0] - plain["test"][1][0]) ** 2).sum()
            assert row["pair_collateral"] == pytest.approx(moved / effect, abs=6e-5)
        if name in (PREFIX, BOTH, RANDOM, PATCHING):
            assert row["recovery"] is None
        assert row["scale"] == {"leace": 1.5, PATCHING: 0.4}.get(name)
    none = found.filter(benchmark="bench", defence=NONE).row(0, named=True)
    assert (none["recovery"], none["pair_collateral"], none["p_none"]) == (0.0, 0.0, None)


def test_photographs_are_parted_by_whether_they_have_a_word() -> None:
    words = np.where(np.arange(N) < 10, -1, WORDS)
    bench = place("paint", 3, views=("test",), words=words, source="real")
    found = report.table([place("tuning", 1), bench], "clip", "tuning")
    (row,) = found.filter(benchmark="paint", defence=SAE).iter_rows(named=True)
    predictions = told(bench, "test", SAE)[0]
    right = predictions == TARGETS
    assert (row["n_attacked"], row["n_clean"]) == (30, 10)
    assert row["attacked"] == pytest.approx(100 * right[0, 10:].mean(), abs=0.006)
    assert row["clean"] == pytest.approx(100 * right[0, :10].mean(), abs=0.006)
    assert row["recovery"] is None
    assert row["paper"] == pytest.approx(67)  # Table 2, PAINT, SAE


def test_the_papers_numbers_stand_where_the_setting_is_the_papers() -> None:
    assert paper.table2()["materzynska", BOTH] == pytest.approx(88)
    for changed in ({"source": "painted"}, {"papers": False}, {"hook_point": "mlp_out"}):
        bench = place("rta100", 3, **{"views": ("test",), "source": "real", **changed})
        found = report.table([place("tuning", 1), bench], "clip", "tuning")
        assert found["paper"].is_null().all()


def test_the_page_has_every_benchmark_and_layer() -> None:
    places = [
        place("tuning", 1),
        place("a", 2, layer=0, papers=False),
        place("a", 3),
        place("b", 4),
    ]
    page = report.render(report.table(places, "clip", "tuning"), "tuning", 1)
    assert "| defence" in page
    assert "painted (synthetic)" in page
    for words in ("**a**", "**b**", "| L0", "standard deviation of 0.250", "DP + ours, topk"):
        assert words in page
    assert "**tuning**" not in page
    chosen = page.partition("## What was chosen")[2]
    assert re.search(r"\| patched weights \(PAINT\) +\| – +\|.*\| 0\.4 +\|", chosen)


def test_examples_are_the_first_of_each_kind() -> None:
    bench = place("bench", 5, words=np.where(np.arange(N) % 5 == 0, -1, WORDS))
    labels = bench.labels
    found = examples.told(bench.answers, labels, ["a", "b", "c", "d"])
    before, after = (told(bench, "test_attacked", name)[0][0] for name in (NONE, SAE))
    expected = []
    for kind, most in examples.KINDS.items():
        rows = []
        for row in range(N):
            was, now = before[row] == TARGETS[row], after[row] == TARGETS[row]
            of = {(False, True): "mended", (False, False): "still wrong", (True, False): "broken"}
            if row % 5 and of.get((bool(was), bool(now))) == kind:
                rows.append((kind, row, *("abcd"[x[row]] for x in (TARGETS, before, after))))
        expected += rows[:most]
    assert [tuple(example) for example in found] == expected


def test_figures_are_drawn(tmp_path: Path) -> None:
    places = [place("tuning", 1), place("a", 2, layer=0, papers=False), place("a", 3)]
    table = report.table(places, "clip", "tuning")
    figures.layers_figure(table, "tuning", tmp_path / "layers.png")
    shown = examples.told(places[1].answers, places[1].labels, ["a", "b", "c", "d"])
    grey = Image.new("RGB", (32, 32))
    panel = examples.Panel("a", "painted", [(grey, example) for example in shown])
    for name in ("one", "two"):
        examples.draw([panel], tmp_path / f"{name}.png", "clip")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert Image.open(tmp_path / "layers.png").size > (400, 400)
