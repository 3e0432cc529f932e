"""The paper's published accuracies (Tables 1, 2 and 5 to 8), for the `paper_*` columns of our tables.

Tables 3 and 4 are read whole, for the pages of dictionaries.
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


_TABLE1 = _FOLDER / "table1_best_per_layer.csv"


def table1_files() -> list[Path]:
    """The file that `table1` reads; a step that uses it declares it as an input."""
    return [_TABLE1]


@lru_cache(maxsize=1)
def table1() -> dict[tuple[str, str, int], tuple[float, float]]:
    """(data set, `neurons` or `SAE`, layer) -> (overall, worst) of Table 1, in per cent as published.

    In Waterbirds' layers 0 and 2 the two numbers are of different SAEs, so no row can be compared with one SAE's.
    """
    found = {}
    with _TABLE1.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["layer"].isdecimal():  # the first row is the unmodified model
                for dataset in ("celeba", "waterbirds"):
                    for basis, name in ((_NEURONS, "original"), ("SAE", "sae")):
                        pair = (f"{dataset}_{name}_overall", f"{dataset}_{name}_worst")
                        overall, worst = (float(row[column]) for column in pair)
                        found[dataset, basis, int(row["layer"])] = overall, worst
    return found


_TABLE2 = _FOLDER / "table2_typographic.csv"
_DEFENCES = {
    "none": "No Defense",
    "defense_prefix": "DP",
    "sae": "SAE (Ours)",
    "defense_prefix+sae": "DP + Ours",
}


def table2_files() -> list[Path]:
    """The file that `table2` reads; a step that uses it declares it as an input."""
    return [_TABLE2]


@lru_cache(maxsize=1)
def table2() -> dict[tuple[str, str], float]:
    """(benchmark, defence) -> accuracy on attacked images of Table 2, in per cent."""
    with _TABLE2.open(encoding="utf-8", newline="") as file:
        rows = {row["defense"]: row for row in csv.DictReader(file)}
    return {
        (benchmark, defence): 100 * float(rows[name][benchmark])
        for defence, name in _DEFENCES.items()
        for benchmark in ("rta100", "paint", "materzynska")
    }


_QUALITY = {
    "vanilla": _FOLDER / "table3_vanilla_all_patches.csv",
    "topk": _FOLDER / "table4_topk_all_patches.csv",
}


def quality_files() -> list[Path]:
    """The files that `quality_rows` reads; a step that uses it declares them as inputs."""
    return list(_QUALITY.values())


def quality_rows(kind: str) -> list[dict[str, str]]:
    """The rows of Table 3 (`vanilla`) or Table 4 (`topk`), as printed."""
    with _QUALITY[kind].open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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
