"""A released dictionary in the whole workflow: a table of it, or one sentence before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tests.workflow.released_trees import imported, prisma_layer
from tests.workflow.runs import WorkingCopy, merged

TABLE, QUALITY = "results/celeba_table.csv", "results/celeba_dictionaries.csv"


def configured(*asked: str, **dictionaries: Any) -> dict[str, Any]:
    return {
        "dictionaries": dictionaries,
        "tables": {"celeba": [*asked, "neurons"], "waterbirds": []},
        "steering": {
            "attribute_value": 0,
            "thresholds": {"low": 1.0e-4, "high": 1.0, "points": 40},
        },
    }


def test_a_table_of_released_dictionaries(twin: WorkingCopy, tmp_path: Path) -> None:
    """One on all tokens, one on CLS alone; then one layer's file changes, and no longer fits."""
    for layer in (0, 2):
        prisma_layer(tmp_path / f"all/layer_{layer}", layer)
        prisma_layer(tmp_path / f"cls/layer_{layer}", layer, cls_token_only=True)
    config = configured(
        "theirs",
        "of_cls",
        theirs=imported(tmp_path / "all/layer_{layer}"),
        of_cls=imported(tmp_path / "cls/layer_{layer}"),
    )
    twin.run(TABLE, QUALITY, config=config).ok()
    quality = pl.read_csv(twin.folder / QUALITY).filter(pl.col("dictionary") != "neurons")
    assert quality["check"].to_list() == ["accept"] * 4
    assert quality["explained_variance"].min() > 0.999  # type: ignore[operator]
    assert quality["l0"].to_list() == pytest.approx([32.0] * 4, abs=0.5)
    assert quality["trained_on"].to_list() == ["imagenet"] * 4
    table = pl.read_csv(twin.folder / TABLE)
    by_name = dict(table.select("dictionary", "tokens").unique().rows())
    assert by_name == {"theirs": "all", "of_cls": "cls", "neurons": "all"}
    assert table.filter(pl.col("dictionary") == "of_cls", pl.col("n_features") > 0).height
    assert twin.run(TABLE, config=config).ok().idle
    # the same content at another time is the same; another content is another dictionary
    os.utime(tmp_path / "all/layer_2/weights.pt")
    assert twin.run(TABLE, config=config).ok().idle
    prisma_layer(tmp_path / "all/layer_2", 2, broken=True)
    outcome = twin.run(TABLE, config=config)
    outcome.refused("dictionaries.theirs, layer 2: reject: it explains", "check: report")
    assert outcome.counts == (1, 1)  # the import of one layer, and of the other from the store
    report = {"dictionaries": {"theirs": {"check": "report"}}}
    outcome = twin.run(TABLE, QUALITY, config=merged(config, report)).ok()
    assert "warning: dictionaries.theirs, layer 2: reject: it explains" in outcome.text
    quality = pl.read_csv(twin.folder / QUALITY)
    found = dict(quality.filter(pl.col("dictionary") == "theirs").select("layer", "check").rows())
    assert found == {0: "accept", 2: "reject"}


def test_faults_are_told_together_before_anything_runs(fresh: WorkingCopy, tmp_path: Path) -> None:
    prisma_layer(tmp_path / "turned/layer_0", 2)
    prisma_layer(tmp_path / "turned/layer_2", 2)
    for layer in (0, 2):
        prisma_layer(tmp_path / f"wide/layer_{layer}", layer, d_in=768)
        prisma_layer(tmp_path / f"normed/layer_{layer}", layer, normalize_activations="layer_norm")
    config = configured(
        *("turned", "wide", "normed", "far"),
        turned=imported(tmp_path / "turned/layer_{layer}"),
        wide=imported(tmp_path / "wide/layer_{layer}"),
        normed=imported(tmp_path / "normed/layer_{layer}"),
        far=imported("hub:who/sae-{layer}"),
    )
    outcome = fresh.run(TABLE, config=config)
    outcome.refused(
        "turned/layer_0/config.json: is of layer 2", "dictionaries.turned has it for layer 0"
    )
    outcome.refused("wide/layer_2/config.json: is of width 768", "the CLIP is of width 32")
    outcome.refused("normed/layer_0/config.json", "'layer_norm', which depends on each token")
    outcome.refused(
        "dictionaries.far.source: who/sae-2 is not in the hub's cache", "hf download who/sae-2"
    )
    assert not (fresh.folder / "logs").exists()


class Wants:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("was_here",)


def test_what_only_the_weights_show_is_refused_by_the_first_job(
    fresh: WorkingCopy, tmp_path: Path
) -> None:
    for layer in (0, 2):
        wants = prisma_layer(tmp_path / f"wants/layer_{layer}", layer)
        torch.save({"state_dict": {}, "cfg": Wants()}, wants / "weights.pt")
        turned = prisma_layer(tmp_path / f"turned/layer_{layer}", layer)
        tensors = torch.load(turned / "weights.pt", weights_only=True)
        tensors["W_enc"] = tensors["W_enc"].t().contiguous()
        torch.save(tensors, turned / "weights.pt")
    names = ("wants", "turned")
    config = configured(*names, **{n: imported(tmp_path / f"{n}/layer_{{layer}}") for n in names})
    pointers = [f"artifacts/refs/dictionaries/{name}/layers_00-02.json" for name in names]
    outcome = fresh.run(
        *pointers, config=config | {"jobs": {"layers_per_job": 3}}, options=["--keep-going"]
    )
    outcome.refused("this file wants to run posix.mkdir, which is refused")
    outcome.refused("W_enc has shape (64, 32), expected (32, 64)", "lies there transposed")
    assert outcome.counts == (0, 0)
    assert not (fresh.folder / "was_here").exists()
