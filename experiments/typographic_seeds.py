"""Typographic attacks under several seeds: what each defence reaches on each benchmark, every seed shown.

    python experiments/typographic_seeds.py --seeds 10 11 12 13 14 [--cores N] [--keep FOLDER]

Each seed paints other pictures and words and trains another CLIP, another dictionary and another prefix. Run from the
project's root, with the environment active; prints the tables of docs/typographic.md. `--keep`: where the tables of
seeds are put, and taken from if they are there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from clipsteer.report.markdown import grid

TABLE = Path("results/typographic_table.csv")


def run(seed: int, cores: int, keep: Path) -> pl.DataFrame:
    """The table of a seed, made where it is not kept."""
    kept = keep / f"typographic_{seed}.csv"
    if not kept.is_file():
        words = ["snakemake", "--cores", str(cores), "--config", f"seed={seed}", "--", str(TABLE)]
        subprocess.run(words, check=True)
        keep.mkdir(parents=True, exist_ok=True)
        shutil.copy(TABLE, kept)
    return pl.read_csv(kept, infer_schema_length=None)


def shown(tables: Sequence[pl.DataFrame], benchmark: str) -> str:
    """A row a defence, a column a layer: per cent of attacked images told right, in each seed, then the mean."""
    here = [table.filter(benchmark=benchmark) for table in tables]
    layers = here[0]["layer"].unique().sort().to_list()  # none first: defences without a place

    def cell(column: str, defence: str, layer: int | None) -> str:
        rows = [table.filter(pl.col("layer").eq_missing(layer), defence=defence) for table in here]
        if any(found.is_empty() for found in rows):
            return ""
        each = [float(found[column][0]) for found in rows]
        return f"{', '.join(f'{one:.0f}' for one in each)}: {sum(each) / len(each):.1f}"

    names = here[0]["defence"].unique(maintain_order=True)
    body = [["clean", cell("clean", "none", None), *[""] * (len(layers) - 1)]]
    body += [[name, *(cell("attacked", name, layer) for layer in layers)] for name in names]
    header = ["", *("" if layer is None else f"layer {layer}" for layer in layers)]
    return grid(header, body)


def main() -> None:
    """Run the seeds and print a table a benchmark, and what they changed on clean images."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, default=Path("typographic_seeds"))
    given = parser.parse_args()
    tables = {seed: run(seed, given.cores, given.keep) for seed in given.seeds}
    first = tables[given.seeds[0]]["benchmark"]
    for benchmark in first.unique(maintain_order=True):
        print(f"**{benchmark}**\n\n{shown([*tables.values()], benchmark)}\n")
    for seed, table in tables.items():
        change = table.filter(benchmark=first[0])["clean_change"]
        print(f"seed {seed}: clean images change by {change.min():+.1f} to {change.max():+.1f}")


if __name__ == "__main__":
    main()
