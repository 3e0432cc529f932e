"""Models of each family and released shape reach a table on a CPU, in several number formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import torch

from clipsteer.activations.reader import ActivationReader
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import StoreTree
from tests.workflow.real_trees import celeba_tree, make_model, real_config
from tests.workflow.runs import WorkingCopy, merged

TABLE = "results/celeba_table.csv"
# One image of each group, and three in validation, so that there is something to gain.
FACES = [(split, male, blond) for split in (0, 1, 1, 1, 2) for male in (0, 1) for blond in (0, 1)]
# How far the embedding of a resumed pass may be from the model's own, over its length.
ROUNDED = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2, "int8": 4e-2}
# Family, image size, patch size, tokens; dtype and codec of the activations, dtype of the model; a value of the
# attribute whose features are worth ablating.
SHAPES: list[tuple[Family, int, int, int, str, str, str, int]] = [
    ("clip", 224, 32, 50, "float16", "none", "float32", 1),  # ViT-B/32
    ("clip", 224, 16, 197, "bfloat16", "blosc-lz4", "bfloat16", 1),  # ViT-B/16
    ("clip", 336, 14, 577, "int8", "zstd", "float32", 1),  # ViT-L/14-336
    ("clip", 384, 16, 577, "float16", "blosc-lz4", "float32", 0),  # ViT-B/16-384
    ("clip", 378, 14, 730, "bfloat16", "none", "float32", 1),  # ViT-H/14-378
    ("siglip", 256, 16, 256, "float32", "blosc-zstd-bits", "float32", 0),  # SigLIP ViT-B/16-256
]


def test_each_shape_reaches_a_table(fresh: WorkingCopy, tmp_path: Path) -> None:
    """Narrow models of three layers, two of them above the edit, on four images a split, but for validation."""
    celeba = celeba_tree(tmp_path / "celeba", FACES)
    for family, image, patch, tokens, dtype, codec, precision, value in SHAPES:
        model = make_model(
            tmp_path / f"{family}{image}_{patch}", family=family, image_size=image, patch_size=patch
        )
        changes = {
            "model": {"name": model.name, "dtype": precision},
            "datasets": {"celeba": {"evaluation": {"validation": None}}},
            "activations": {"layers": [0], "dtype": dtype, "codec": codec},
            "dictionaries": {"celeba_topk": {"training": {"epochs": 1, "buffer_mb": 8}}},
            # any group may lose any image, so that a single one more that is right is a gain
            "steering": {
                **{"attribute_value": value, "strict_slack": 12},
                "thresholds": {"low": 1.0e-6, "points": 25},
            },
            "tables": {"celeba": ["celeba_topk", "neurons"], "waterbirds": []},
        }
        fresh.run(TABLE, config=merged(real_config(model, celeba), changes)).ok()
        table = pl.read_csv(fresh.folder / TABLE, infer_schema_length=None)
        assert table["model"].unique().to_list() == [model.name]
        assert table.height == 2 * 2 * 2  # dictionaries, ablations, conditions
        assert table["n_images"].unique().to_list() == [4]
        assert table["n_features"].sum(), f"{model.name}: nothing is edited"
        (shard,) = fresh.members("celeba/activations/test/part_0.json").values()
        stored, embedding = (
            StoreTree(ObjectStore(fresh.store), shard["outputs"][name]["digest"])
            for name in ("resid_post/00", "embedding")
        )
        array = json.loads(stored.read("zarr.json"))
        assert array["attributes"]["clipsteer_dtype"] == dtype
        assert ("clipsteer_cls" in array["attributes"]) == (family == "siglip")
        assert array["shape"] == [4, tokens, 16 + 4 * (dtype == "int8")]
        # through the layers above from what was stored
        x, own = (
            torch.from_numpy(ActivationReader([(0, 4, tree)]).read(0, 4).astype(np.float32))
            for tree in (stored, embedding)
        )
        resumed = load_backbone(model, device="cpu", dtype=precision).resume(0, x)
        apart = (resumed - own).norm(dim=1) / own.norm(dim=1)
        assert float(apart.max()) <= ROUNDED[dtype]
        if dtype == "float32":
            summary = (fresh.folder / "results/celeba_summary.txt").read_text()
            assert "without an edit: at most 0 of 4 at any layer" in summary
