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
from pathlib import Path

import polars as pl

from clipsteer.report.markdown import grid

TABLE = Path("results/typographic_table.csv")
# Without and with a place; of those with one the last layer is shown, and of the SAE every other.
EVERYWHERE = ("none", "defense_prefix", "output_projection", "paint_patching")
AT_LAST = (
    *("sae", "defense_prefix+sae", "random", "neurons", "mean_difference", "leace"),
    "random_neurons",
)


def run(seed: int, cores: int, keep: Path) -> pl.DataFrame:
    """The table of a seed, made where it is not kept."""
    kept = keep / f"typographic_{seed}.csv"
    if not kept.is_file():
        words = ["snakemake", "--cores", str(cores), "--config", f"seed={seed}", "--", str(TABLE)]
        subprocess.run(words, check=True)
        keep.mkdir(parents=True, exist_ok=True)
        shutil.copy(TABLE, kept)
    return pl.read_csv(kept, infer_schema_length=None)


def numbers(table: pl.DataFrame, benchmark: str) -> dict[str, str]:
    """What stands in a seed's row: per cent of attacked images told right, by defence."""
    here = table.filter(benchmark=benchmark)
    last = here["layer"].max()
    assert isinstance(last, int)
    found = {"clean": f"{here.filter(defence='none')['clean'][0]:.1f}"}

    def attacked(defence: str, layer: int | None) -> str:
        rows = here.filter(defence=defence)
        rows = rows if layer is None else rows.filter(layer=layer)
        return f"{rows['attacked'][0]:.1f}"

    found |= {name: attacked(name, None) for name in EVERYWHERE}
    found |= {f"{name}, L{last}": attacked(name, last) for name in AT_LAST}
    for layer in reversed(range(last)):
        found |= {f"{name}, L{layer}": attacked(name, layer) for name in ("sae", "leace")}
    return found


def main() -> None:
    """Run the seeds and print a table a benchmark, and what they changed on clean images."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, default=Path("typographic_seeds"))
    given = parser.parse_args()
    tables = {seed: run(seed, given.cores, given.keep) for seed in given.seeds}
    first = next(iter(tables.values()))
    for benchmark in first["benchmark"].unique(maintain_order=True):
        rows = {seed: numbers(table, benchmark) for seed, table in tables.items()}
        names = list(next(iter(rows.values())))
        body = [[name, *(rows[seed][name] for seed in rows)] for name in names]
        means = [sum(float(rows[seed][name]) for seed in rows) / len(rows) for name in names]
        body = [[*line, f"{mean:.1f}"] for line, mean in zip(body, means, strict=True)]
        print(f"**{benchmark}**\n\n{grid(['', *map(str, rows), 'mean'], body)}\n")
    for seed, table in tables.items():
        change = table.filter(pl.col("benchmark") == first["benchmark"][0])["clean_change"]
        print(f"seed {seed}: clean images change by {change.min():+.1f} to {change.max():+.1f}")


if __name__ == "__main__":
    main()
