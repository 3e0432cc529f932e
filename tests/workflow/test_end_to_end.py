"""From nothing to both tables by Snakemake, on painted worlds; then again, and again after a loss."""

from __future__ import annotations

import io
import json
import math
import shutil
from typing import Any

import polars as pl
import pytest
import yaml
from PIL import Image

from clipsteer.config.check import validate
from clipsteer.store.digest import digest_file
from clipsteer.store.objects import ObjectStore
from tests.workflow.runs import BASE, TINY, WorkingCopy, merged, nested

# In the order of docs/configuration.md, "What is written to results/".
COLUMNS = [
    "dataset",
    "source",
    "model",
    "hook_point",
    "layer",
    "dictionary",
    "trained_on",
    "ablation",
    "condition",
    "rule",
    "aggregate",
    "tokens",
    "error_term",
    "threshold",
    "n_features",
    "overall",
    "overall_low",
    "overall_high",
    "worst",
    "worst_low",
    "worst_high",
    "worst_group",
    "baseline_overall",
    "baseline_worst",
    "baseline_worst_group",
    *(f"acc_before_{group}" for group in range(4)),
    *(f"acc_after_{group}" for group in range(4)),
    *(f"acc_after_{group}_{side}" for group in range(4) for side in ("low", "high")),
    "worst_group_validation",
    "gain",
    "gain_low",
    "gain_high",
    "p_gain",
    "p_worst_group",
    "p_worst_group_holm",
    "p_overall",
    "n_images",
    "seed",
    "random_seeds",
    "paper_overall",
    "paper_worst",
]
LAYERS = [0, 2]
TABLES = {"celeba": ["topk", "neurons"], "waterbirds": ["vanilla", "neurons"]}
TRAINED_ON = {"topk": "general", "vanilla": "waterbirds"}
ACTIONS = 70  # paint 4, manifest 4, CLIP 1, heads 2, lists 8, shards 13, train 4, four steps of 8, tables 2


def tiny_config() -> dict[str, Any]:
    default = yaml.safe_load((BASE / "config.yaml").read_text())
    return merged(default, yaml.safe_load(TINY.read_text()))


def read_table(copy: WorkingCopy, name: str) -> pl.DataFrame:
    return pl.read_csv(copy.folder / "results" / name, infer_schema_length=None)


def test_tiny_is_a_valid_overlay() -> None:
    config = tiny_config()
    validate(config, BASE)
    assert config["activations"]["layers"] == LAYERS
    assert config["tables"] == TABLES


@pytest.mark.parametrize("dataset", TABLES)
def test_table_has_every_row_and_column(finished: WorkingCopy, dataset: str) -> None:
    table = read_table(finished, f"{dataset}_table.csv")
    assert table.columns == COLUMNS
    expected = [
        (layer, dictionary, ablation, condition)
        for layer in LAYERS
        for dictionary in TABLES[dataset]
        for ablation in ("targeted", "random")
        for condition in ("strict", "relaxed")
    ]
    assert table.select("layer", "dictionary", "ablation", "condition").rows() == expected
    for column, value in {
        "dataset": dataset,
        "source": "painted",
        "model": "tiny-clip-for-tests",
        "hook_point": "resid_post",
        "aggregate": "mean",
        "tokens": "all",
        "error_term": "keep",
        "n_images": 40,
    }.items():
        assert table[column].unique().to_list() == [value]
    for column in ("paper_overall", "paper_worst"):  # these are painted images
        assert table[column].is_null().all()
    for dictionary, where in table.select("dictionary", "trained_on").rows():
        assert where == TRAINED_ON.get(dictionary)


@pytest.mark.parametrize("dataset", TABLES)
def test_rows_make_sense(finished: WorkingCopy, dataset: str) -> None:
    table = read_table(finished, f"{dataset}_table.csv")
    groups = set(tiny_config()["datasets"][dataset]["group_names"])
    for row in table.iter_rows(named=True):
        assert 0 <= row["overall_low"] <= row["overall"] <= row["overall_high"] <= 100
        assert 0 <= row["worst_low"] <= row["worst_high"] <= 100
        assert row["worst"] <= row["overall"]
        assert row["baseline_worst"] <= row["baseline_overall"]
        named = {row[f"{name}worst_group"] for name in ("", "baseline_")}
        assert named | {row["worst_group_validation"]} <= groups
        targeted = row["ablation"] == "targeted"
        tests = [row[name] for name in COLUMNS if name.startswith("p_")]
        tested = targeted and row["n_features"] > 0
        assert [p is None for p in tests] == [not tested] * 4
        for p in filter(None, tests):
            assert 0 <= p <= 1
        if tested:
            assert row["gain_low"] <= row["gain"] <= row["gain_high"]
            assert row["p_worst_group"] <= row["p_worst_group_holm"]
            assert (row["p_gain"] < 0.025) == (row["gain_low"] > 0)
        after = [row[f"acc_after_{group}"] for group in range(4)]
        assert row["worst"] <= min(after)  # of random rows the mean of minima
        if targeted:
            assert row["worst"] == min(after)
        assert row["baseline_worst"] == min(row[f"acc_before_{group}"] for group in range(4))
        assert row["seed"] == 0
        assert row["random_seeds"] == (None if targeted else 2)
        if targeted:
            assert (row["threshold"] is None) == (row["n_features"] == 0)
        else:
            assert row["threshold"] is None
    # the random control has as many features as the set that it controls for
    sizes = table.pivot("ablation", index=["layer", "dictionary", "condition"], values="n_features")
    assert (sizes["targeted"] == sizes["random"]).all()
    assert table["baseline_overall"].n_unique() == 1


def test_something_was_ablated(finished: WorkingCopy) -> None:
    """Guards the other tests: tables without any feature would prove nothing."""
    sizes = [read_table(finished, f"{dataset}_table.csv")["n_features"] for dataset in TABLES]
    assert max(size for column in sizes for size in column) > 0


@pytest.mark.parametrize("dataset", TABLES)
def test_rows_follow_from_the_stored_predictions(finished: WorkingCopy, dataset: str) -> None:
    """Accuracies counted afresh from the predictions in the store, without the report's code."""
    table = read_table(finished, f"{dataset}_table.csv").filter(pl.col("ablation") == "targeted")
    store = ObjectStore(finished.store)
    names = tiny_config()["datasets"][dataset]["group_names"]

    def parquet(outputs: dict[str, Any], name: str) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(store.get_bytes(outputs[name]["digest"])))

    for row in table.iter_rows(named=True):
        place = f"{dataset}/{row['dictionary']}/layers_00-02/ablation.json"
        member = f"{row['dictionary']}/layer_{row['layer']:02d}"
        outputs = finished.members(place)[member]["outputs"]
        rows, images = parquet(outputs, "ablation"), parquet(outputs, "images")
        chosen = rows.filter(
            (pl.col("ablation") == "targeted") & (pl.col("condition") == row["condition"])
        )
        for column, predicted in (
            ("", chosen["predictions"][0]),
            ("baseline_", images["baseline"]),
        ):
            right = [p == t for p, t in zip(predicted, images["target"], strict=True)]
            shares = {}
            for group in range(4):
                here = [r for r, g in zip(right, images["group"], strict=True) if g == group]
                assert len(here) == 10  # the balanced evaluation subset of twelve
                shares[names[group]] = 100 * sum(here) / len(here)
                when = "before" if column else "after"
                assert row[f"acc_{when}_{group}"] == pytest.approx(shares[names[group]])
            assert row[f"{column}overall"] == pytest.approx(100 * sum(right) / 40)
            assert row[f"{column}worst"] == pytest.approx(min(shares.values()))
            assert shares[row[f"{column}worst_group"]] == min(shares.values())


@pytest.mark.parametrize("dataset", TABLES)
def test_what_a_choice_keeps_on_validation(finished: WorkingCopy, dataset: str) -> None:
    """Strict lowers no group below the pass without an edit; relaxed helps the worst one at least as much."""
    store = ObjectStore(finished.store)
    for dictionary in TABLES[dataset]:
        place = f"{dataset}/{dictionary}/layers_00-02/selection.json"
        for member in finished.members(place).values():
            found = json.loads(store.get_bytes(member["outputs"]["selection"]["digest"]))
            counts = {name: found[name]["counts"]["correct"] for name in found}
            (images,) = {tuple(part["counts"]["images"]) for part in found.values()}
            before = counts["baseline"]
            worst = min(range(4), key=lambda g: (before[g] / images[g], g))
            assert sum(images) == {"celeba": 32, "waterbirds": 16}[dataset]
            assert all(now >= then for now, then in zip(counts["strict"], before, strict=True))
            assert counts["relaxed"][worst] >= counts["strict"][worst] >= before[worst]
            for condition in ("strict", "relaxed"):
                if found[condition]["n_features"] == 0:
                    assert counts[condition] == before


@pytest.mark.parametrize("dataset", TABLES)
def test_feature_sets_follow_from_the_stored_statistics(
    finished: WorkingCopy, dataset: str
) -> None:
    """Eq. 9 worked out afresh: exactly the features above the threshold, by their difference."""
    table = read_table(finished, f"{dataset}_table.csv").filter(pl.col("ablation") == "targeted")
    sets = read_table(finished, f"{dataset}_feature_sets.csv")
    store = ObjectStore(finished.store)
    place = ["hook_point", "layer", "dictionary", "condition"]
    labels = [name for name in sets.columns if name in COLUMNS]
    assert sets.select(labels).unique(maintain_order=True).equals(table.select(labels))
    for row in table.iter_rows(named=True):
        here = sets.filter(*(pl.col(name) == row[name] for name in place))
        if row["n_features"] == 0:
            assert here.select("rank", "feature", "difference").rows() == [(None, None, None)]
            continue
        member = f"{row['dictionary']}/layer_{row['layer']:02d}"
        pointer = finished.members(f"{dataset}/{row['dictionary']}/layers_00-02/statistics.json")
        digest = pointer[member]["outputs"]["statistics"]["digest"]
        statistics = pl.read_parquet(io.BytesIO(store.get_bytes(digest)))
        means: dict[int, dict[bool, list[float]]] = {}
        for line in statistics.iter_rows(named=True):
            sums = means.setdefault(line["feature"], {True: [0.0, 0.0], False: [0.0, 0.0]})
            sums[line["group"] % 2 == 1][0] += line["mean"] * line["n_images"]
            sums[line["group"] % 2 == 1][1] += line["n_images"]
        by_feature = {
            j: s[True][0] / s[True][1] - s[False][0] / s[False][1] for j, s in means.items()
        }
        right = sorted((-v, j) for j, v in by_feature.items() if v > row["threshold"])
        assert here["feature"].to_list() == [j for _, j in right]
        assert here["difference"].to_list() == pytest.approx([-v for v, _ in right])
        assert here["rank"].to_list() == list(range(1, row["n_features"] + 1))


@pytest.mark.parametrize("dataset", TABLES)
def test_what_stands_beside_the_table(finished: WorkingCopy, dataset: str) -> None:
    results = finished.folder / "results"
    text = (results / f"{dataset}_table.md").read_text()
    table = read_table(finished, f"{dataset}_table.csv")
    for name in (*TABLES[dataset], "Strict", "Relaxed"):
        assert name.lower() in text.lower()
    with Image.open(results / f"{dataset}_layers.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 400
    summary = (results / f"{dataset}_summary.txt").read_text()
    headline = json.loads((results / f"{dataset}_headline.json").read_text())
    assert "painted" in summary
    for condition in ("strict", "relaxed"):
        found = headline[condition]
        if found["layer"] is None:
            assert f"{condition}" in summary
            assert "nothing is ablated" in summary
            mine = table.filter(pl.col("condition") == condition, pl.col("dictionary") != "neurons")
            assert mine["n_features"].sum() == 0
        else:
            assert f"layer {found['layer']}, {found['dictionary']}" in summary
    assert headline["worst_group_validation"] == table["worst_group_validation"].unique().item()
    # the pointer ties every file to the object that it is a copy of
    outputs = finished.members(f"{dataset}/table.json")["all"]["outputs"]
    for name, file in {
        "csv": f"{dataset}_table.csv",
        "markdown": f"{dataset}_table.md",
        "figure": f"{dataset}_layers.png",
        "feature_sets": f"{dataset}_feature_sets.csv",
        "summary": f"{dataset}_summary.txt",
        "headline": f"{dataset}_headline.json",
    }.items():
        assert outputs[name]["digest"] == digest_file(results / file)


def training_log(copy: WorkingCopy, dictionary: str, layer: int) -> dict[str, list[float]]:
    """The columns of what one layer's training logged."""
    members = copy.members(f"dictionaries/{dictionary}/layers_00-02.json")
    digest = members[f"{dictionary}/layer_{layer:02d}"]["outputs"]["log"]["digest"]
    log = pl.read_parquet(io.BytesIO(ObjectStore(copy.store).get_bytes(digest)))
    return log.to_dict(as_series=False)


def test_what_dictionaries_are_worth(twin: WorkingCopy) -> None:
    """Of the set that is edited: its validation images. The tables neither wait for it nor are made again."""
    tables = {name: twin.pointers()[name] for name in twin.pointers() if "table.json" in name}
    results = [f"results/{dataset}_dictionaries.csv" for dataset in (*TABLES, "general")]
    # of the general set besides: list, extract, classes, and the two layers of the dictionary that learns from it
    assert twin.run(*results).ok().counts == (8 + 2 + 3 + 2 * 2 + 1, 0)
    assert {name: twin.pointers()[name] for name in tables} == tables
    for dataset, images in {"celeba": 32, "waterbirds": 16}.items():
        quality = read_table(twin, f"{dataset}_dictionaries.csv")
        rows = quality.select("dictionary", "layer").rows()
        assert rows == [(name, layer) for name in TABLES[dataset] for layer in LAYERS]
        assert quality["n_images"].unique().to_list() == [images]
        assert quality["n_classes"].unique().to_list() == [2]
        assert quality["ce"].n_unique() == 1
        for row in quality.iter_rows(named=True):
            assert row["explained_variance"] <= 1
            if row["dictionary"] == "neurons":
                assert row["explained_variance"] == 1
                assert row["ce_reconstruction"] == pytest.approx(row["ce"], abs=2e-3)  # stored
                assert row["embedding_cosine"] == pytest.approx(1, abs=1e-4)
                assert row["ghost_share"] is row["dead_in_training"] is None
                continue
            if "topk" in row["dictionary"]:
                assert 0 < row["l0"] <= 4  # k
            log = training_log(twin, row["dictionary"], row["layer"])
            assert row["dead_in_training"] == pytest.approx(max(log["dead"]), abs=1e-4)
            assert row["dead_at_the_end"] == pytest.approx(log["dead"][-1], abs=1e-4)
            acting = [ghost > 0 for ghost in log["ghost"]]
            assert row["ghost_share"] == pytest.approx(sum(acting) / len(acting), abs=1e-4)
            # the window is 3 steps of 7 or more: the first step, which is logged, has no dead feature
            assert not acting[0]
            assert any(acting) or row["dictionary"] == "vanilla"
    general = read_table(twin, "general_dictionaries.csv")
    assert general.select("dictionary", "layer").rows() == [("topk", 0), ("topk", 2)]
    assert (general["n_images"].to_list(), general["n_classes"].to_list()) == ([40] * 2, [33] * 2)
    # without the model's scale cosines hardly tell two classes apart
    outcome = twin.run("results/celeba_dictionaries.csv", config=nested("head.logit_scale", "none"))
    assert outcome.ok().counts == (4 + 1, 0)
    bare = read_table(twin, "celeba_dictionaries.csv")
    assert bare["logit_scale"].unique().to_list() == [1]
    assert bare["ce"].to_list() == pytest.approx([math.log(2)] * 4, abs=0.3)


def test_nothing_is_left_lying_about(finished: WorkingCopy) -> None:
    assert finished.leftovers() == []
    said = (finished.folder.parent / "said").read_text()
    assert f"computed={ACTIONS} restored=0" in said
    assert "clipsteer: results/celeba_table.csv" in said


def test_second_run_has_nothing_to_do(twin: WorkingCopy) -> None:
    assert twin.run().ok().idle
    # settings of the machine are no part of a result
    runtime = {"runtime": {"device": "cpu", "threads": 2}, "raw": {"threads": 1}}
    assert twin.run(config=runtime).ok().idle


def test_lost_working_copy_is_restored_from_the_store(
    finished: WorkingCopy, twin: WorkingCopy
) -> None:
    for name in ("artifacts", "results", ".snakemake", "logs"):
        shutil.rmtree(twin.folder / name)
    computed, restored = twin.run().ok().counts
    assert (computed, restored) == (0, ACTIONS)
    assert twin.pointers() == finished.pointers()
    for name in finished.results():
        assert (twin.folder / "results" / name).read_bytes() == (
            finished.folder / "results" / name
        ).read_bytes()
    assert twin.results() == finished.results()


def test_one_key_of_one_dictionary(twin: WorkingCopy, finished: WorkingCopy) -> None:
    """Training, evaluation, statistics, selection, ablation of its two layers, and the table."""
    change = nested("dictionaries.vanilla.training.l1", 0.5)
    outcome = twin.run(config=change).ok()
    assert outcome.counts == (2 * 5 + 1, 0)
    stale = {name for name, data in twin.pointers().items() if finished.pointers()[name] != data}
    assert "dictionaries/vanilla/layers_00-02.json" in stale
    assert all("vanilla" in name or name == "waterbirds/table.json" for name in stale)
    # and back: what was computed before is still in the store
    assert twin.run().ok().counts == (0, 11)
    assert twin.pointers() == finished.pointers()
