"""What the staleness matrix is run on: people's own files in small, and the painted worlds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.staleness.scene import Ground
from tests.workflow.real_trees import celeba_tree, make_model

TABLE = "results/celeba_table.csv"
TRAINING = {
    **{"expansion": 4, "k": 4, "epochs": 2, "batch_size": 16, "lr": 2.0e-3},
    **{"warmup_steps": 2, "dead_window": 3, "buffer_mb": 1},
}


def _files(data: Path) -> None:
    celeba_tree(data / "celeba")
    make_model(data / "clip")


def _files_config(data: Path) -> Mapping[str, Any]:
    """A tree in CelebA's layout and a random CLIP; three groups of two shards, one Top-K dictionary."""
    evaluation = {"validation": 2, "test": None}
    return {
        "model": {"name": "random-clip", "source": str(data / "clip")},
        "datasets": {"celeba": {"root": str(data / "celeba"), "evaluation": evaluation}},
        "activations": {"layers": [0, 1], "batch_size": 4, "images_per_shard": 8},
        "dictionaries": {"topk": {"trained_on": "celeba", "training": TRAINING}},
        "tables": {"celeba": ["topk", "neurons"]},
    }


def _nothing(data: Path) -> None:
    """Painted worlds and their CLIP are made by the run itself."""


def _as_it_is(data: Path) -> Mapping[str, Any]:
    return {}


TINY = "config/tiny.yaml"
FILES = Ground(
    "files",
    overlays=[TINY],
    config=_files_config,
    prepare=_files,
    table=TABLE,
    layers=[0, 1],
    new_layer=2,
    dictionaries=["topk", "neurons"],
    raw=True,
)
PAINTED = Ground(
    "tiny",
    overlays=[TINY],
    config=_as_it_is,
    prepare=_nothing,
    table=TABLE,
    layers=[0, 2],
    new_layer=1,
    dictionaries=["topk", "neurons"],
    raw=False,
)
DEFAULT = Ground(
    "default",
    overlays=[],
    config=_as_it_is,
    prepare=_nothing,
    table=TABLE,
    layers=[0, 1, 2, 3, 4, 5],
    new_layer=None,  # it has them all
    dictionaries=["vanilla", "topk", "celeba_topk", "neurons"],
    raw=False,
)
GROUNDS = {ground.name: ground for ground in (FILES, PAINTED, DEFAULT)}
