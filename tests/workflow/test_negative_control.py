"""The negative control through Snakemake: every shuffle chooses its place on validation, as the true labels do."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from clipsteer.store.objects import ObjectStore
from tests.workflow.runs import WorkingCopy, merged, nested

TARGET = "results/celeba_negative_control.csv"
SHUFFLES = 3


@pytest.fixture(scope="module")
def controlled(finished: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """The control's table, beside the finished ones."""
    twin = finished.twin(tmp_path_factory.mktemp("control"))
    outcome = twin.run(TARGET, config=drop_error(SHUFFLES)).ok()
    # SAE and neurons in two layers: chosen and ablated anew, as is the table; then the control of the SAE
    assert outcome.counts == (2 * 2 * 2 + 1 + 2 + 1, 0)
    return twin


def drop_error(shuffles: int) -> dict[str, Any]:
    """Some SAE's set gains then, which none does in this tiny world otherwise."""
    return merged(nested("steering.shuffles", shuffles), nested("steering.error_term", "drop"))


def _rows(copy: WorkingCopy) -> pl.DataFrame:
    return pl.read_csv(copy.folder / TARGET)


def _measured(copy: WorkingCopy) -> dict[int, Any]:
    """What each shuffle measured, by layer."""
    store = ObjectStore(copy.store)
    members = copy.members("celeba/topk/layers_00-02/control.json")
    found = {name: m["outputs"]["control"]["digest"] for name, m in members.items()}
    return {int(name[-2:]): json.loads(store.get_bytes(digest)) for name, digest in found.items()}


def test_rows_are_what_was_measured_at_their_places(controlled: WorkingCopy) -> None:
    measured, rows = _measured(controlled), _rows(controlled)
    assert set(measured) == {0, 2}
    for condition in ("strict", "relaxed"):
        for i in range(SHUFFLES):
            here = rows.filter(condition=condition, labels=f"shuffle {i}")
            assert {"its own"} <= {*here["place_of"]} <= {"its own", "true labels'"}
            for row in here.drop_nulls("layer").iter_rows(named=True):
                found = measured[row["layer"]][condition][i]
                right, images = found["test"]["correct"], found["test"]["images"]
                shares = [100 * r / n for r, n in zip(right, images, strict=True)]
                assert row["n_features"] == found["n_features"]
                assert [row[f"acc_after_{g}"] for g in range(4)] == pytest.approx(shares, abs=0.006)


def test_the_true_rows_are_the_headline(controlled: WorkingCopy) -> None:
    headline = json.loads((controlled.folder / "results/celeba_headline.json").read_text())
    for true in _rows(controlled).filter(labels="true").iter_rows(named=True):
        found = headline[true["condition"]]
        assert (true["layer"], true["dictionary"]) == (found["layer"], found["dictionary"])
        assert true["gain"] == pytest.approx(found["gain"]["points"], abs=0.01)
        assert true["source"] == "painted"
    true = _rows(controlled).filter(labels="true")
    assert set(true["condition"]) == {"strict", "relaxed"}
    assert true.filter(condition="relaxed")["n_features"].min() > 0
    assert set(true.filter(condition="relaxed")["place_of"]) == {"its own", "true labels'"}


def test_only_the_control_depends_on_the_number_of_shuffles(controlled: WorkingCopy) -> None:
    before = _rows(controlled).height
    outcome = controlled.run(TARGET, config=drop_error(SHUFFLES - 1)).ok()
    assert outcome.counts == (2 + 1, 0)
    kinds = _rows(controlled).select("condition", "place_of").unique().height
    assert before - _rows(controlled).height == kinds


def test_table_one_has_both_numbers_of_one_dictionary(controlled: WorkingCopy) -> None:
    controlled.run("results/table1.csv", config=drop_error(SHUFFLES - 1)).ok()
    best = pl.read_csv(controlled.folder / "results/table1.csv", infer_schema_length=None)
    assert best.select("dataset", "layer", "basis").rows() == [
        (dataset, layer, basis)
        for dataset in ("celeba", "waterbirds")
        for layer in (0, 2)
        for basis in ("SAE", "neurons")
    ]
    for row in best.iter_rows(named=True):
        table = pl.read_csv(
            controlled.folder / f"results/{row['dataset']}_table.csv", infer_schema_length=None
        )
        same = ("layer", "dictionary", "n_features", "overall", "worst", "gain", "p_gain")
        found = table.filter(ablation="targeted", condition="strict").select(same).rows()
        assert tuple(row[name] for name in same) in found
        assert row["paper_overall"] is None
    page = (controlled.folder / "results/table1.md").read_text()
    assert "Not to be compared row by row" in page
    assert "painted (synthetic)" in page
