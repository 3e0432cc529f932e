"""Made-up ablations with known properties, for the report's and the outcomes' tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

GROUPS = {
    0: "dark-haired women",
    1: "blonde women",
    2: "dark-haired men",
    3: "blond men",
}
HARDEST = 3  # the group that the baseline is weak on
SAES = {"vanilla": "general", "topk64": "general", "celeba_topk64": "celeba"}


def fake_images(
    per_group: int = 60,
    seed: int = 0,
    shares: Sequence[float] = (0.95, 0.92, 0.9, 0.35),
    n_spurious: int = 2,
) -> pl.DataFrame:
    """Balanced groups; the baseline tells `shares` of them right, and is weak on group 3."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(shares)), per_group)
    target = group // n_spurious
    right = rng.random(len(group)) < np.array(shares)[group]
    return pl.DataFrame(
        {
            "index": np.arange(len(group)),
            "target": target.astype(np.int8),
            "spurious": (group % n_spurious).astype(np.int8),
            "group": group.astype(np.int8),
            "baseline": np.where(right, target, _another(target)).astype(np.int8),
        }
    )


def _another(target: np.ndarray) -> np.ndarray:
    """A wrong class for each image: the next one."""
    return (target + 1) % (target.max() + 1)


def _row(
    images: pl.DataFrame,
    layer: int,
    name: str,
    kind: str,
    condition: str,
    seed: int | None,
    hardest: int,
) -> dict[str, Any]:
    strength = {"targeted": 0.45, "random": 0.04}[kind] * (0.25 if name == "neurons" else 1.0)
    strength *= np.exp(-((layer - 3) ** 2) / 4) * (1.3 if condition == "relaxed" else 1.0)
    rng = np.random.default_rng([layer, len(name), kind == "random", seed or 0])
    base, target = images["baseline"].to_numpy(), images["target"].to_numpy()
    mend = (rng.random(len(base)) < strength) & (images["group"].to_numpy() == hardest)
    spoil = rng.random(len(base)) < 0.01
    found = np.where(mend, target, np.where(spoil, _another(target), base))
    return {
        "hook_point": "resid_post",
        "layer": layer,
        "dictionary": name,
        "trained_on": SAES.get(name),
        "ablation": kind,
        "condition": condition,
        "aggregate": "mean",
        "tokens": "all",
        "error_term": "keep",
        "threshold": 1e-3 * (1 + layer) if kind == "targeted" else None,
        "n_features": 10 * (layer + 1),
        "features": list(range(10 * (layer + 1))) if kind == "targeted" else None,
        "seed": seed,
        "predictions": found.astype(np.int8).tolist(),
    }


def fake_ablations(
    images: pl.DataFrame, layers: int = 6, seeds: int = 3, hardest: int = HARDEST
) -> pl.DataFrame:
    """Every layer and dictionary, targeted once and random `seeds` times, both conditions."""
    rows = [
        _row(images, layer, name, kind, condition, seed, hardest)
        for layer in range(layers)
        for name in [*SAES, "neurons"]
        for condition in ("strict", "relaxed")
        for kind, drawn in (("targeted", [None]), ("random", list(range(seeds))))
        for seed in drawn
    ]
    types = {"predictions": pl.List(pl.Int8), "features": pl.List(pl.Int64), "seed": pl.Int64}
    return pl.DataFrame(rows, schema_overrides=types)


def counts_of(images: pl.DataFrame, predictions: list[int]) -> dict[str, list[int]]:
    """Correct predictions and images by group, image by image."""
    n_groups = max(len(GROUPS), *(group + 1 for group in images["group"]))
    correct, number = [0] * n_groups, [0] * n_groups
    for image, prediction in zip(images.iter_rows(named=True), predictions, strict=True):
        number[image["group"]] += 1
        correct[image["group"]] += prediction == image["target"]
    return {"correct": correct, "images": number}


def fake_selections(
    ablations: pl.DataFrame, validation: pl.DataFrame, empty: tuple[str, ...] = ()
) -> dict[tuple[int, str], dict[str, Any]]:
    """What select_features might have written at each SAE's place, had the ablations' images been validation's.

    `empty`: conditions under which nothing is chosen anywhere.
    """
    without = {"counts": counts_of(validation, validation["baseline"].to_list())}
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for row in ablations.iter_rows(named=True):
        if row["ablation"] == "targeted" and row["dictionary"] != "neurons":
            here = {
                "n_features": row["n_features"],
                "counts": counts_of(validation, row["predictions"]),
            }
            place = found.setdefault(
                (row["layer"], row["dictionary"]), {"unmodified": without, "baseline": without}
            )
            nothing = {"n_features": 0, **without}
            place[row["condition"]] = nothing if row["condition"] in empty else here
    return found


STEERING = {"strict": "no_group_falls", "strict_slack": 0, "relaxed_drop": 4.0}
