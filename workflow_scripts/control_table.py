"""The negative control in one table: what the whole procedure gains when Eq. 9's labels are shuffled.

Each shuffle chooses its layer and dictionary on validation, as the real labels do.
"""

from __future__ import annotations

from clipsteer.runner.step import Action, Job, Run, main

USES = ("dataset()", "images_from() as source")


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        f"control/{member}": job.output("control", "control", member)
        for member in job.inputs["control"].members
    }
    inputs["headline"] = job.output("table", "headline")
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    import polars as pl

    from clipsteer.steering.places import best_place
    from clipsteer.tables import read_parquet

    headline = run.json("headline")
    frames = []
    for name in sorted(n for n in run.inputs if n.startswith("control/")):
        dictionary, _, layer = name.removeprefix("control/").rpartition("/layer_")
        frames.append(
            read_parquet(run.blob(name)).with_columns(
                pl.lit(int(layer)).alias("layer"), pl.lit(dictionary).alias("dictionary")
            )
        )
    every = pl.concat(frames).with_columns(
        (pl.col("validation_overall") + pl.col("validation_worst")).alias("score")
    )
    chosen = []
    for _, part in every.sort("shuffle").group_by("shuffle", maintain_order=True):
        scores = dict(zip(part.select("layer", "dictionary").rows(), part["score"], strict=True))
        best_layer, best_dictionary = best_place(scores)
        chosen.append(
            part.filter((pl.col("layer") == best_layer) & (pl.col("dictionary") == best_dictionary))
        )
    best = pl.concat(chosen)
    columns = ["labels", "layer", "dictionary", "n_features", "overall", "worst", "gain"]
    rows = best.with_columns(
        pl.format("shuffle {}", "shuffle").alias("labels"),
        (pl.col("worst") - pl.col("baseline_worst")).alias("gain"),
    ).select(columns)
    real = pl.DataFrame(
        [
            {
                "labels": "true",
                **{
                    k: headline[k]
                    for k in ("layer", "dictionary", "n_features", "overall", "worst")
                },
                "gain": headline["gain"]["points"],
            }
        ],
        schema=rows.schema,
    )
    table = pl.concat([real, rows]).with_columns(
        pl.lit(run.recipe["dataset"]).alias("dataset"), pl.lit(run.recipe["source"]).alias("source")
    )
    run.put_bytes("csv", table.write_csv(float_precision=2).encode())
    gain, gains = headline["gain"]["points"], rows["gain"].to_list()
    run.say(
        f"true labels gain {gain:+.1f} points; {sum(g >= gain for g in gains)} of {len(gains)} shuffles "
        f"gain as much (the best {max(gains):+.1f})"
    )


if __name__ == "__main__":
    main(plan, compute, __doc__)
