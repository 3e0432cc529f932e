"""Every result that there is, of one configuration that shows each step once: what faults begin from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.workflow.released_trees import imported, prisma_layer
from tests.workflow.runs import merged, nested

TABLE, CONTROL, BASELINES, STORAGE = (
    f"results/celeba_{name}.csv" for name in ("table", "negative_control", "baselines", "storage")
)
BEST = "results/table1.csv"
SPARSITY = "results/celeba_sparsity.csv"
QUALITY, WORTH = (f"results/{dataset}_dictionaries.csv" for dataset in ("celeba", "general"))
STEERABILITY = "results/celeba_steerability.csv"
TYPOGRAPHIC = "results/typographic_table.csv"
EXAMPLES = "results/typographic_examples.png"
ATTACKED = "results/typographic_top_images.png"
SWEEP, STABILITY = "results/celeba_sweep.csv", "results/celeba_stability.csv"
LOOKS = (
    *("results/celeba_features/index.html", "results/celeba_top_images.png"),
    *("results/celeba_pairs.png", "results/celeba_edited_images.png"),
)
TARGETS = (
    *(TABLE, CONTROL, BASELINES, QUALITY, WORTH, SPARSITY, STORAGE, BEST),
    *(*LOOKS, STEERABILITY, SWEEP, STABILITY, TYPOGRAPHIC, EXAMPLES, ATTACKED),
)
# Every step has to be done anew, and the CLIP is soon trained.
NEW = {
    **{"seed": 1, "model": {"tiny": {"steps": 40}}},
    "models": {"signs": {"tiny": {"steps": 30}}},
}


def released(place: Path, maker: str) -> None:
    """Dictionaries that somebody has released, in a folder `theirs`."""
    for layer in (0, 2):
        folder = place / f"theirs/layer_{layer}"
        prisma_layer(folder, layer, model_name=f"open-clip:{maker}/tiny")


def with_released(place: Path) -> dict[str, Any]:
    """The configuration of a table that has them too, and of nothing that shows the same steps again."""
    theirs = nested("dictionaries.theirs", imported(place / "theirs/layer_{layer}"))
    chosen = {"grid": {"k": [2, 4]}, "choose": "rule", "rule": {"max_l0": 1000}}
    return merged(
        merged(theirs, nested("dictionaries.topk", chosen)),
        {
            "steering": {"shuffles": 2},
            "sweep": {"steer": True},
            "tables": {"celeba": ["topk", "theirs"], "waterbirds": []},
            "typographic": {"benchmarks": ["signs_ends"]},
        },
    )


def anew(place: Path) -> dict[str, Any]:
    """The same, in which every step has other results."""
    return merged(with_released(place), NEW)
