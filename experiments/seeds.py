"""The finding under several seeds: does it hold in each? Writes docs/seeds.md and its figure.

Every seed paints other worlds, trains another CLIP and other dictionaries, and draws other controls. What each
seed came to is kept in experiments/seeds/, and the page shows them once all are there. Run from the project's root,
with the environment active: python experiments/seeds.py [--seeds 20 21] [--datasets celeba] [--cores N]; without
seeds (--seeds) it only writes these.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from clipsteer.dictionaries.inputs import member
from clipsteer.steering.counts import GroupCounts
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import read_pointer
from clipsteer.store.roots import REFS
from clipsteer.tables import read_parquet
from experiments.seeds_criteria import CONDITIONS, DATASETS, DRAWS, FRESH, SHUFFLES, complete
from experiments.seeds_figure import seeds_figure
from experiments.seeds_page import page
from experiments.worlds import auc
from experiments.worlds_sheet import output

PAGE, FIGURE = Path("docs/seeds.md"), Path("docs/images/seeds.png")
RECORDS = Path(__file__).parent / "seeds"
SETTINGS = (
    f"steering={json.dumps({'random_seeds': DRAWS, 'shuffles': SHUFFLES})}",
    f"jobs={json.dumps({'layers_per_job': 1})}",  # so that the control runs at one place alone
)

Json = dict[str, Any]


def run(seed: int, cores: int, targets: Iterable[str]) -> None:
    """One run of the workflow."""
    command = ["snakemake", "--cores", str(cores), *targets, "--config", f"seed={seed}", *SETTINGS]
    subprocess.run(command, check=True)


def record(dataset: str) -> Json:
    """What the last run's table says of one data set: the model, and each method at its place."""
    table = pl.read_csv(f"results/{dataset}_baselines.csv", infer_schema_length=None)
    first = table.row(0, named=True)
    images = read_parquet(
        ObjectStore(Path("artifacts")).get_bytes(output(dataset, "readout", "images"))
    )
    found: Json = {
        "n_images": first["n_images"],
        "unmodified": [first[f"acc_before_{group}"] for group in range(4)],
        "pairs": [first[f"pairs_acc_{group}"] for group in range(4)],
        "auc": within(images),
        "true_effect": [first[f"true_effect_{number}"] for number in classes_of(table)],
        "worst_group_validation": first["worst_group_validation"],
    }
    return found | {condition: methods(table, condition) for condition in CONDITIONS}


def within(images: pl.DataFrame) -> list[float]:
    """The AUC of the margin of class 1 against class 0 within each spurious value."""
    target, spurious, own = (images[name].to_numpy() for name in ("target", "spurious", "margin"))
    margin = np.where(target == 1, own, -own)
    return [
        auc(margin[(spurious == s) & (target == 1)], margin[(spurious == s) & (target == 0)])
        for s in (0, 1)
    ]


def classes_of(table: pl.DataFrame) -> list[str]:
    """The numbers of the target classes that have pairs."""
    return [name.rpartition("_")[2] for name in table.columns if name.startswith("recovery_")]


def methods(table: pl.DataFrame, condition: str) -> dict[str, Json]:
    """Of each method and balance, at its own best place: what it gained and lost, recovery and collateral.

    Recovery and collateral are means over classes, and by class; of several draws all numbers are means, and places
    are left out.
    """
    best = table.filter(pl.col("best_place") & (pl.col("condition") == condition))
    found: dict[str, Json] = {}
    for (method, balance), rows in best.group_by("method", "balance", maintain_order=True):
        means: Json = {}
        for kind in ("recovery", "pair_collateral"):
            by_class = [rows[f"{kind}_{number}"].mean() for number in classes_of(table)]
            means |= {kind: mean(by_class), f"{kind}_by_class": by_class}
        gained = ("gain", "gain_low", "gain_high", "p_gain", "largest_fall")
        here = {name: mean(rows[name]) for name in gained}
        if rows.height == 1:
            kept = ("layer", "dictionary", "n_features", "scale", "largest_fall_group")
            here |= {name: rows[name][0] for name in kept}
        found[f"{method}/{balance or 'none'}"] = {**means, **here}
    return found


def mean(values: Iterable[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def place_of(found: Mapping[str, Any]) -> tuple[int, str] | None:
    """Layer and dictionary of the SAE's relaxed set; None where nothing is ablated."""
    sae = found["relaxed"]["sae/none"]
    return (sae["layer"], sae["dictionary"]) if sae["n_features"] else None


def control_of(dataset: str, place: tuple[int, str]) -> Path:
    """The pointer of the negative control at this place alone."""
    layer, dictionary = place
    found = [
        path.with_name("control.json")
        for path in Path(REFS, dataset, dictionary).glob("*/baselines.json")
        if {*read_pointer(path).members} == {member(dictionary, layer)}
    ]
    return found[0]


def shuffled(pointer: Path, hardest: int) -> list[float]:
    """The relaxed gains of all shuffles in points, as `gain` of the true labels."""
    (only,) = read_pointer(pointer).members.values()
    found = json.loads(ObjectStore(Path("artifacts")).get_bytes(only.outputs["control"].digest))
    before = GroupCounts.from_dict(found["test"]).accuracy(hardest)
    assert before is not None
    return [round(GroupCounts.from_dict(one["test"]).worst - before, 4) for one in found["relaxed"]]


def records() -> dict[str, list[Json]]:
    """What was found so far of the fresh seeds, by data set and seed; other seeds can be run, but do not count."""
    paths = {
        dataset: [RECORDS / f"{dataset}_{seed}.json" for seed in FRESH] for dataset in DATASETS
    }
    return {
        dataset: [json.loads(path.read_text(encoding="utf-8")) for path in every if path.exists()]
        for dataset, every in paths.items()
    }


def document() -> str:
    """The page of seeds."""
    return page(records())


def found_of(seed: int, datasets: Sequence[str], cores: int) -> None:
    """Run one seed, and keep what it came to."""
    run(seed, cores, [f"results/{dataset}_baselines.csv" for dataset in datasets])
    found = {dataset: {"seed": seed, **record(dataset)} for dataset in datasets}
    places = {dataset: place_of(one) for dataset, one in found.items()}
    controls = {dataset: control_of(dataset, place) for dataset, place in places.items() if place}
    if controls:
        run(seed, cores, [str(path) for path in controls.values()])
    for dataset, one in found.items():
        one["shuffles"] = None
        if dataset in controls:
            hardest = DATASETS[dataset].groups.index(one["worst_group_validation"])
            one["shuffles"] = shuffled(controls[dataset], hardest)
        text = json.dumps(one, indent=1, sort_keys=True)
        (RECORDS / f"{dataset}_{seed}.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=list(FRESH))
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), default=list(DATASETS))
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    RECORDS.mkdir(exist_ok=True)
    for seed in arguments.seeds:
        found_of(seed, arguments.datasets, arguments.cores)
    PAGE.write_text(document(), encoding="utf-8")
    seeds_figure(complete(records(), len(FRESH)), FIGURE)


if __name__ == "__main__":
    main()
