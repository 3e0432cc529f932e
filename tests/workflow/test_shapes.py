"""Models of each family and released shape reach a table on a CPU, in several number formats."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from clipsteer.backbones.shaped import Family
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import StoreTree
from tests.workflow.real_trees import celeba_tree, make_model, real_config
from tests.workflow.runs import WorkingCopy, merged

TABLE = "results/celeba_table.csv"
ONE_EACH = [(split, male, blond) for split in (0, 1, 2) for male in (0, 1) for blond in (0, 1)]
# Family, image size, patch size, tokens; dtype and codec of the activations, dtype of the model.
SHAPES: list[tuple[Family, int, int, int, str, str, str]] = [
    ("clip", 224, 32, 50, "float16", "none", "float32"),  # ViT-B/32
    ("clip", 224, 16, 197, "bfloat16", "blosc-lz4", "bfloat16"),  # ViT-B/16
    ("clip", 336, 14, 577, "int8", "zstd", "float32"),  # ViT-L/14-336
    ("clip", 384, 16, 577, "float16", "blosc-lz4", "float32"),  # ViT-B/16-384
    ("clip", 378, 14, 730, "bfloat16", "none", "float32"),  # ViT-H/14-378
    ("siglip", 256, 16, 256, "float32", "blosc-zstd-bits", "float32"),  # SigLIP ViT-B/16-256
]


def test_each_shape_reaches_a_table(fresh: WorkingCopy, tmp_path: Path) -> None:
    """Narrow models of three layers, two of them above the edit, on four images a split."""
    celeba, edited = celeba_tree(tmp_path / "celeba", ONE_EACH), 0
    for family, image, patch, tokens, dtype, codec, precision in SHAPES:
        model = make_model(
            tmp_path / f"{family}{image}_{patch}", family=family, image_size=image, patch_size=patch
        )
        changes = {
            "model": {"name": model.name, "dtype": precision},
            "datasets": {"celeba": {"evaluation": {"validation": None}}},
            "activations": {"layers": [0], "dtype": dtype, "codec": codec},
            "dictionaries": {"celeba_topk": {"training": {"epochs": 1, "buffer_mb": 8}}},
            "tables": {"celeba": ["celeba_topk"], "waterbirds": []},
        }
        fresh.run(TABLE, config=merged(real_config(model, celeba), changes)).ok()
        table = pl.read_csv(fresh.folder / TABLE, infer_schema_length=None)
        assert table["model"].unique().to_list() == [model.name]
        assert table.height == 2 * 2  # ablations, conditions
        assert table["n_images"].unique().to_list() == [4]
        edited += table["n_features"].sum()
        (shard,) = fresh.members("celeba/activations/train/part_0.json").values()
        tree = StoreTree(ObjectStore(fresh.store), shard["outputs"]["resid_post/00"]["digest"])
        array = json.loads(tree.read("zarr.json"))
        assert array["attributes"]["clipsteer_dtype"] == dtype
        assert ("clipsteer_cls" in array["attributes"]) == (family == "siglip")
        assert array["shape"] == [4, tokens, 16 + 4 * (dtype == "int8")]
        if (
            dtype == "float32"
        ):  # through the layers above from what was stored: the same predictions
            summary = (fresh.folder / "results/celeba_summary.txt").read_text()
            assert "without an edit: at most 0 of 4 at any layer" in summary
    assert edited, "nothing is edited in any of them: this test would show little"
