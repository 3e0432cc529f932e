"""The paper's published accuracies (Tables 5 to 8), for the `paper_*` columns of our tables.

The other tables (1 to 4) lie beside them for comparison by hand. Table 1 is never looked up: it
mixes dictionaries within one row.
"""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "paper"
_TABLES = {
    ("celeba", "strict"): "table5_celeba_strict.csv",
    ("celeba", "relaxed"): "table6_celeba_relaxed.csv",
    ("waterbirds", "strict"): "table7_waterbirds_strict.csv",
    ("waterbirds", "relaxed"): "table8_waterbirds_relaxed.csv",
}
_NEURONS = "neurons"


def files() -> list[Path]:
    """The files that `lookup` reads; a step that uses it declares them as inputs."""
    return [_FOLDER / name for name in _TABLES.values()]


def lookup(
    dataset: str, condition: str, ablation: str, dictionary: str, layer: int
) -> tuple[float, float] | None:
    """(overall, worst) in per cent as published, or None where the paper has no such row.

    `ablation` is targeted or random; `dictionary` a name such as `vanilla`, `topk64`,
    `celeba_topk128` ("Top K=64" and "CelebA K=128" in the paper) or `neurons`, of which the paper
    has no random control.
    """
    table = _TABLES.get((dataset, condition))
    if table is None or (dictionary == _NEURONS and ablation != "targeted"):
        return None
    kind = _NEURONS if dictionary == _NEURONS else {"targeted": "sae"}.get(ablation, "random_sae")
    name = "" if dictionary == _NEURONS else _plain(dictionary)
    return _rows(table).get((kind, name, layer))


def _plain(name: str) -> str:
    """A dictionary's name without its spelling.

    "Top K=64", `topk64` and `top_k_64` are one name, so are "CelebA K=64" and `celeba_topk64`.
    """
    return re.sub(r"[^a-z0-9]", "", name.lower()).replace("topk", "k")


@lru_cache(maxsize=len(_TABLES))
def _rows(table: str) -> dict[tuple[str, str, int], tuple[float, float]]:
    with (_FOLDER / table).open(encoding="utf-8", newline="") as file:
        return {
            (row["ablation"], _plain(row["sae"]), int(row["layer"])): (
                float(row["overall"]),
                float(row["worst"]),
            )
            for row in csv.DictReader(file)
        }
