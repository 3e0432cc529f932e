"""Names the classes that attacked images are told apart by, and the word on each image or to be printed on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("photographed(datasets.layout) as photographed", "seed")


def plan(job: Job) -> dict[str, Action]:
    inputs = {name: job.output("manifest", name) for name in ("manifest", "class_names")}
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    import polars as pl

    from clipsteer.data.labels import SPLITS
    from clipsteer.data.manifest import split_rows
    from clipsteer.defences.classes import photographed, to_be_attacked
    from clipsteer.tables import parquet_bytes, read_parquet

    manifest, told = read_parquet(run.blob("manifest")), run.json("class_names")
    rows = pl.concat([split_rows(manifest, split) for split in SPLITS])
    seed, own = run.recipe["seed"], run.recipe["photographed"]
    named = photographed(rows, told) if own else to_be_attacked(rows, told, seed)
    run.put_json("classes", named.names)
    every = pl.concat([rows.select("digest", "path", "split"), named.rows], how="horizontal")
    for split in SPLITS:
        own = every.filter(pl.col("split") == split).drop("split")
        run.put_bytes(f"words_{split}", parquet_bytes(own.select("digest", "path", "printed")))
        run.put_bytes(f"labels_{split}", parquet_bytes(own.select("target", "word")))
        run.fact(f"images_{split}", own.height)
    run.fact("classes", len(named.names))
    words = int((named.rows["word"] >= 0).sum())
    run.say(f"{len(named.names)} classes; {words} of {rows.height} images with a word")


def cost(job: Sizes) -> Cost:
    return job.labels()


if __name__ == "__main__":
    main(plan, compute, __doc__)
