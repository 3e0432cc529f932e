"""The negative control through Snakemake: every shuffle chooses its place on validation, as the true labels do."""

from __future__ import annotations

import io
import json

import polars as pl
import pytest

from clipsteer.store.objects import ObjectStore
from tests.workflow.runs import WorkingCopy, nested

TARGET = "results/celeba_negative_control.csv"
SHUFFLES = 3


@pytest.fixture(scope="module")
def controlled(finished: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """The control's table, beside the finished ones."""
    twin = finished.twin(tmp_path_factory.mktemp("control"))
    outcome = twin.run(TARGET, config=nested("steering.shuffles", SHUFFLES)).ok()
    assert outcome.counts == (
        2 + 1,
        0,
    )  # one SAE in two layers, and the table; the neurons have none
    return twin


def _measured(copy: WorkingCopy) -> pl.DataFrame:
    """What each shuffle measured at each layer."""
    store = ObjectStore(copy.store)
    frames = []
    for name, member in copy.members("celeba/topk/layers_00-02/control.json").items():
        frame = pl.read_parquet(io.BytesIO(store.get_bytes(member["outputs"]["control"]["digest"])))
        frames.append(frame.with_columns(pl.lit(int(name[-2:])).alias("layer")))
    return pl.concat(frames)


def test_each_shuffle_stands_at_its_best_place(controlled: WorkingCopy) -> None:
    measured = _measured(controlled)
    assert measured.group_by("layer").len().sort("layer").rows() == [(0, SHUFFLES), (2, SHUFFLES)]
    table = pl.read_csv(controlled.folder / TARGET).filter(pl.col("labels") != "true")
    assert table["labels"].to_list() == [f"shuffle {i}" for i in range(SHUFFLES)]
    for i, row in enumerate(table.iter_rows(named=True)):
        mine = measured.filter(pl.col("shuffle") == i)
        score = (mine["validation_overall"] + mine["validation_worst"]).to_list()
        best = mine.row(score.index(max(score)), named=True)
        assert (row["layer"], row["n_features"]) == (best["layer"], best["n_features"])
        assert row["worst"] == pytest.approx(best["worst"], abs=0.005)
        assert row["gain"] == pytest.approx(best["worst"] - best["baseline_worst"], abs=0.01)


def test_the_true_row_is_the_headline(controlled: WorkingCopy) -> None:
    headline = json.loads((controlled.folder / "results/celeba_headline.json").read_text())[
        "strict"
    ]
    true = pl.read_csv(controlled.folder / TARGET).row(0, named=True)
    assert true["labels"] == "true"
    assert (true["layer"], true["dictionary"]) == (headline["layer"], headline["dictionary"])
    assert true["gain"] == pytest.approx(headline["gain"]["points"], abs=0.01)
    assert true["source"] == "painted"


def test_only_the_control_depends_on_the_number_of_shuffles(controlled: WorkingCopy) -> None:
    outcome = controlled.run(TARGET, config=nested("steering.shuffles", SHUFFLES - 1)).ok()
    assert outcome.counts == (2 + 1, 0)
    assert pl.read_csv(controlled.folder / TARGET).height == 1 + SHUFFLES - 1
