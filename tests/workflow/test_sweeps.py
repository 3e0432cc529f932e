"""Grids through Snakemake: a grid that grows trains its new points only, and tables do not see it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import clipsteer
from clipsteer.errors import ClipsteerError
from tests.workflow.runs import BASE, REFS, WorkingCopy, merged, nested

SWEEP, STABILITY, TABLE = (f"results/celeba_{n}.csv" for n in ("sweep", "stability", "table"))
# At two layers: a dictionary trained, and evaluated on validation; the sweep evaluates each point on test, and
# puts its reconstructions in place of activations.
LAYERS = 2


def grid(**lists: list[Any]) -> dict[str, Any]:
    return nested("dictionaries.topk.grid", lists)


@pytest.fixture(scope="module")
def swept(finished: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """Two seeds of the tiny table's dictionary, one of which the table has."""
    twin = finished.twin(tmp_path_factory.mktemp("sweeps"))
    first = twin.run(SWEEP, STABILITY, config=grid(seed=[1, 0]))
    new, statistics, of_both, tables = 2 * LAYERS, LAYERS, 2 * LAYERS * 2, LAYERS + 2
    assert first.ok().counts == (new + statistics + of_both + tables, 0)
    return twin


def test_what_is_told_of_the_points(swept: WorkingCopy) -> None:
    table = pl.read_csv(swept.folder / SWEEP)
    assert table["seed"].to_list() == [0, 1] * LAYERS
    assert table["point"].to_list()[0] == "topk"
    assert table["chosen"].to_list() == [True, False] * LAYERS
    alike = pl.read_csv(swept.folder / STABILITY)
    assert alike["relation"].to_list() == ["seed"] * LAYERS
    assert (alike["cosine"] > alike["random_cosine"]).all()
    assert alike["relaxed_gain"].is_null().all()  # points are not steered


def test_a_grid_that_grows_trains_its_new_points_and_no_order_or_spelling_matters(
    swept: WorkingCopy, finished: WorkingCopy
) -> None:
    grown = swept.run(SWEEP, config=grid(seed=[0, 1], lr=["1e-2", 0.004]))
    assert grown.ok().counts == (2 * (4 * LAYERS) + 1, 0)  # two seeds of another rate
    again = swept.run(SWEEP, config=grid(lr=[4.0e-3, "0.01", 0.0100], seed=[1, 0, 0]))
    assert again.ok().idle
    table = swept.run(TABLE, config=grid(seed=[0, 1, 2, 3]))
    assert table.ok().idle
    assert swept.exported()["celeba_table.csv"] == finished.exported()["celeba_table.csv"]


def test_a_notebook_has_the_point_that_tables_have(swept: WorkingCopy) -> None:
    """Beside a dictionary of the same name from before it was chosen; and that one once it counts again."""
    block, layer = "layers_00-02.json", "topk/layer_02"
    pointers = [f"{REFS}/celeba/topk/layers_00-02/chosen.json", f"{REFS}/dictionaries/topk/{block}"]
    points = grid(seed=[1], lr=[0.01, 0.004])
    chosen = merged(points, nested("dictionaries.topk.choose", "pareto"))
    for config, pointer, other in ((chosen, *pointers), (points, *pointers[::-1])):
        swept.run(pointer, config=config).ok()
        digests = [
            swept.members(str(Path(one).relative_to(REFS)))[layer]["outputs"]["dictionary"][
                "digest"
            ]
            for one in (pointer, other)
        ]
        assert digests[0] != digests[1]
        run = clipsteer.open_run(swept.folder, store=swept.store)
        expected = clipsteer.load_dictionary(digests[0], store=swept.store).dictionary.W_dec
        assert torch.equal(run.dictionary("topk", 2).dictionary.W_dec, expected)
        assert torch.equal(run.dictionary("topk", 2, dataset="celeba").dictionary.W_dec, expected)
    with pytest.raises(ClipsteerError, match="found 'celebb', expected one of celeba"):
        run.dictionary("topk", 2, dataset="celebb")


def test_the_command_says_what_is_there_and_shows_the_front(swept: WorkingCopy) -> None:
    def ask(lists: dict[str, list[Any]]) -> str:
        words = swept.command(config=grid(**lists))
        overlays = words[words.index("--configfile") :]
        snakefile = ["--snakefile", str(BASE / "Snakefile")]
        return swept.asked("sweep", "celeba", *snakefile, *overlays).ok().text

    text = ask({"seed": [0, 1, 9]})
    assert "topk (topk, 3 points)" in text
    assert re.search(r"topk +0 +2 there", text)
    assert re.search(r"topk_g\w+ +9 +2 to train", text)
    assert "snakemake --cores all results/celeba_sweep.csv --configfile" in text
    swept.run(SWEEP, config=grid(seed=[0, 1])).ok()
    known = ask({"seed": [0, 1]})
    assert "Nothing would be computed" in known
    assert "The front of topk" in known
    assert re.search(r"0 +0 +4\.0 +0\.\d+ +1 of 1 +1 +\*", known)


def test_a_large_grid_runs_nothing(swept: WorkingCopy) -> None:
    seeds = [[*range(40)], [*range(1, 3)]]
    refused = swept.run(SWEEP, config=grid(seed=seeds[0], batch_size=seeds[1]))
    refused.refused("dictionaries.topk.grid: found 80 combinations, 160 dictionaries for 2 layers")
