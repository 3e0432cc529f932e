"""Controls and baselines through Snakemake: the SAE's own rows are the table's, and only what must is made anew."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from clipsteer.report.baselines import METHODS, columns
from clipsteer.report.storage import COLUMNS
from clipsteer.store.objects import ObjectStore
from tests.workflow.runs import DROPPING, REFS, WorkingCopy, merged, nested
from tests.workflow.test_real_layouts import outputs_of, parquet

TABLE, TARGET = "results/celeba_table.csv", "results/celeba_baselines.csv"
STORAGE, PAIRS = "results/celeba_storage.csv", "results/celeba_pairs.png"
RECOVERY = "celeba/neurons/layers_00-02/recovery.json"
# Two layers: directions fitted, directions, the one SAE, readouts, other attributes, pairs painted and looked at; the
# table. The figure of pairs. What storing changes. What pairs say of the neurons' own sets.
COMPUTED = 2 + 2 + 2 + 1 + 1 + 2 + 1 + 1 + 1 + 2
OTHERS = ("Eyeglasses", "Smiling", "Wearing_Hat")


@pytest.fixture(scope="module")
def compared(finished: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """The table of baselines, beside the finished ones."""
    twin = finished.twin(tmp_path_factory.mktemp("baselines"))
    wanted = (TARGET, PAIRS, STORAGE, f"{REFS}/{RECOVERY}")
    assert twin.run(*wanted).ok().counts == (COMPUTED, 0)
    return twin


def rows(copy: WorkingCopy) -> pl.DataFrame:
    return pl.read_csv(copy.folder / TARGET, infer_schema_length=None)


def test_every_method_stands_there_under_both_conditions(compared: WorkingCopy) -> None:
    table = rows(compared)
    assert table.columns == list(columns(4, OTHERS, 2))
    assert table["method"].unique(maintain_order=True).to_list() == list(METHODS)
    assert set(table["source"]) == {"painted"}
    # two layers; both balances and conditions; two draws
    expected = {
        **dict.fromkeys(METHODS, 2 * 2 * 2), "random_features": 2 * 2 * 2,
        "random_subspace": 2 * 2 * 2 * 2, "class_bias": 2, "balanced_probe": 1,
    }  # fmt: skip
    found = table.group_by("method").len()
    assert dict(found.rows()) == expected
    one = (
        table.filter(pl.col("best_place")).group_by("method", "balance", "condition", "draw").len()
    )
    assert set(one["len"]) == {1}


@pytest.mark.parametrize(("method", "dictionary"), [("sae", "topk"), ("neurons", "neurons")])
def test_what_the_table_has_too_is_the_same(
    compared: WorkingCopy, method: str, dictionary: str
) -> None:
    named = {
        "layer",
        "condition",
        "n_features",
        "threshold",
        "overall",
        "worst",
        "worst_group",
        "p_gain",
    }
    ours = rows(compared).filter((pl.col("method") == method) & (pl.col("balance") == "none"))
    both = (name for name in columns(4) if name in ours.columns)
    wanted = [name for name in both if name in named or name.startswith("acc_")]
    table = pl.read_csv(compared.folder / TABLE).filter(
        (pl.col("dictionary") == dictionary) & (pl.col("ablation") == "targeted")
    )
    keys = ["layer", "condition"]
    assert ours.select(wanted).sort(keys).rows() == table.select(wanted).sort(keys).rows()
    if method == "neurons":  # the tiny SAE's sets are all empty
        assert table["n_features"].sum() > 0


def test_what_stands_behind_the_model_changes_nothing_for_other_attributes(
    compared: WorkingCopy,
) -> None:
    table = rows(compared)
    changes = [f"unconcerned_{name}" for name in OTHERS]
    behind = table.filter(pl.col("method").is_in(["class_bias", "balanced_probe"]))
    assert set(behind.select(changes).unpivot()["value"]) == {0.0}
    found = table.filter(pl.col("method") == "neurons").select(changes)
    assert found.to_series(0).abs().sum() > 0
    for row in table.iter_rows(named=True):
        moved = [row[name] for name in changes]
        assert abs(row["collateral_mean_change"] - sum(moved) / len(moved)) < 0.011
        assert row["collateral_largest_fall"] == max(0.0, -min(moved))
        if row["collateral_attribute"]:
            assert row[f"unconcerned_{row['collateral_attribute']}"] == min(moved)


def test_page_and_figure_lie_beside_it(compared: WorkingCopy) -> None:
    page = (compared.folder / "results/celeba_baselines.md").read_text(encoding="utf-8")
    assert "painted (synthetic)" in page
    assert all(words in page for words in METHODS.values())
    for figure in ("results/celeba_baselines.png", PAIRS):
        assert (compared.folder / figure).read_bytes().startswith(b"\x89PNG")


def test_what_pairs_say_of_a_bias_follows_from_margins_alone(compared: WorkingCopy) -> None:
    """A bias for men moves every margin of a man up and of a woman down by itself."""
    images = parquet(compared, outputs_of(compared, "celeba/readout.json", "all")["images"])
    pairs = parquet(compared, outputs_of(compared, "celeba/pairs.json", "all")["pairs"])
    before, pair = images["margin"].to_numpy(), pairs["margin"].to_numpy()
    target, blond = images["target"].to_numpy(), images["spurious"].to_numpy() == 1
    np.testing.assert_array_equal(before > 0, images["baseline"].to_numpy() == target)
    np.testing.assert_array_equal(pair > 0, pairs["prediction"].to_numpy() == target)
    assert not np.isin(pair, before).any()
    for row in rows(compared).filter(pl.col("method") == "class_bias").iter_rows(named=True):
        after = before + np.where(target == 1, 1, -1) * row["scale"]
        for c in (0, 1):
            mine, others = (target == c) & blond, (target == c) & ~blond
            effect = np.mean((pair - before)[mine] ** 2)
            left = np.mean((after - pair)[mine] ** 2)
            assert row[f"recovery_{c}"] == pytest.approx(1 - left / effect, abs=2e-4)
            moved = np.mean((after - before)[others] ** 2)
            assert row[f"pair_collateral_{c}"] == pytest.approx(moved / effect, abs=2e-4)
        for g in range(4):
            own = images["group"].to_numpy() == g
            assert row[f"pairs_acc_{g}"] == pytest.approx(100 * (pair > 0)[own].mean(), abs=0.006)


def test_what_dictionaries_are_compared_by_is_what_the_table_says_of_their_sets(
    compared: WorkingCopy,
) -> None:
    """The step that measures the selected sets alone; the tiny SAE's are all empty, the neurons' are not."""
    ours = rows(compared).filter((pl.col("method") == "neurons") & (pl.col("balance") == "none"))
    assert ours["n_features"].sum() > 0
    for row in ours.iter_rows(named=True):
        member = f"neurons/layer_{row['layer']:02d}"
        digest = outputs_of(compared, RECOVERY, member)["recovery"]
        found = json.loads(ObjectStore(compared.store).get_bytes(digest))[row["condition"]]
        for name, value in found.items():
            assert row[name] == pytest.approx(value, abs=1e-4), name


def test_what_storing_changes_is_counted_for_every_set_of_the_table(compared: WorkingCopy) -> None:
    found = pl.read_csv(compared.folder / STORAGE)
    assert found.columns == list(COLUMNS)
    table = pl.read_csv(compared.folder / TABLE).filter(pl.col("ablation") == "targeted")
    keys = ["hook_point", "layer", "dictionary"]
    sets = found.filter(pl.col("condition") != "none")
    wanted = [*keys, "condition", "n_features", "n_images"]
    assert sets.select(wanted).rows() == table.select(wanted).rows()
    # without an edit the model's own pass gives what extraction stored: the headline counts the same
    headline = json.loads((compared.folder / "results/celeba_headline.json").read_text())
    plain = found.filter(condition="none").group_by("layer").agg(pl.col("storage_changes").max())
    assert {str(n): x for n, x in plain.rows()} == headline["resumed_changes"]
    for _, place in found.group_by(keys):
        assert place.filter(n_features=0)["storage_changes"].n_unique() == 1


def test_scales_are_the_directions_own(compared: WorkingCopy) -> None:
    outcome = compared.run(TARGET, config=nested("steering.baselines.scales", [0.5])).ok()
    assert outcome.counts == (2 + 1, 0)
    scales = rows(compared).filter(pl.col("method").is_in(["mean_difference", "leace_scaled"]))
    assert set(scales["scale"]) <= {0.0, 0.5}


def test_activations_that_are_dropped_leave_the_same_table(compared: WorkingCopy) -> None:
    before = (compared.folder / TARGET).read_bytes()
    config = merged(nested("steering.baselines.scales", [0.5]), DROPPING)
    assert compared.run(TARGET, config=config).ok().counts[0] == 0
    assert (compared.folder / TARGET).read_bytes() == before
