"""Test predictions with the selected features ablated, and with random sets of the same size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import each_layer, member_name
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import ablation_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "steering.tokens",
    "steering.error_term",
    "steering.random_pool",
    "steering.random_seeds",
    "model.dtype as model_dtype",
    "seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    return each_layer(
        job,
        lambda layer: {
            **ablation_inputs(job, layer, "test"),
            "selection": job.output("selection", "selection", member_name(job, layer)),
            "statistics": job.output("statistics", "statistics", member_name(job, layer)),
        },
    )


def compute(run: Run) -> None:
    import numpy as np
    import polars as pl

    from clipsteer.steering.ablation import predict_sets
    from clipsteer.steering.controls import random_sets
    from clipsteer.steering.feature_set import chosen_sets
    from clipsteer.steering.inputs import AblationSetting
    from clipsteer.steering.statistics import firing_frequency
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe = run.recipe
    setting = AblationSetting(run)
    if recipe["architecture"] == "neurons":  # a coordinate is never dead, whatever its sign
        frequency = np.ones(setting.evaluator.dictionary.m)
    else:
        frequency = firing_frequency(read_parquet(run.blob("statistics")))
    seeds = [recipe["seed"] * 1000 + i for i in range(recipe["random_seeds"])]
    sets, rows = [], []
    for condition, chosen in chosen_sets(run.json("selection")).items():
        targeted = chosen.features
        controls = random_sets(
            setting.evaluator.dictionary.m,
            len(targeted),
            seeds,
            pool=recipe["random_pool"],
            frequency=frequency,
            like=targeted,
        )
        sets += [targeted, *controls]
        rows.append(("targeted", condition, chosen.threshold, len(targeted), None))
        rows += [
            ("random", condition, None, len(c), s) for c, s in zip(controls, seeds, strict=True)
        ]
    evaluator = setting.evaluator
    progress = run.progress(evaluator.passes * setting.n_images, "images", ("sets", len(sets)))
    resumed, predictions = predict_sets(evaluator, sets, progress)
    progress.finish()
    frame = pl.DataFrame(
        rows,
        schema={
            "ablation": pl.String,
            "condition": pl.String,
            "threshold": pl.Float64,
            "n_features": pl.Int64,
            "seed": pl.Int64,
        },
        orient="row",
    ).with_columns(
        pl.Series("predictions", predictions.astype(np.int16).tolist(), pl.List(pl.Int16))
    )
    run.put_bytes("ablation", parquet_bytes(frame))
    images = read_parquet(run.blob("labels")).with_columns(
        pl.Series("baseline", setting.baseline, pl.Int16),
        pl.Series("resumed", resumed, pl.Int16),
    )
    run.put_bytes("images", parquet_bytes(images.with_row_index("index")))
    run.say(
        f"{int((resumed != setting.baseline).sum())} of {setting.n_images} predictions change "
        "when the forward pass resumes from the stored activations"
    )


def cost(job: Sizes) -> Cost:
    """The chosen set, and random ones."""
    return job.resume("test", job.config["steering"]["random_seeds"] + 1)


if __name__ == "__main__":
    main(plan, compute, __doc__)
