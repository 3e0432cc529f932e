"""Feature sets by Eq. 9 on a threshold grid, chosen on validation: strict and relaxed (Section 7.1)."""

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
    "steering.balance",
    "steering.thresholds",
    "steering.tokens",
    "steering.error_term",
    "steering.relaxed_drop",
    "model.dtype as model_dtype",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    return each_layer(
        job,
        lambda layer: {
            **ablation_inputs(job, layer, "validation"),
            "statistics": job.output("statistics", "statistics", member_name(job, layer)),
        },
    )


def compute(run: Run) -> None:
    from clipsteer.steering.ablation import predict_prefixes
    from clipsteer.steering.inputs import AblationSetting
    from clipsteer.steering.selection import (
        count_groups,
        nested_sets,
        ranking_frame,
        select_relaxed,
        select_strict,
        sweep_frame,
        threshold_grid,
    )
    from clipsteer.steering.statistics import difference
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe = run.recipe
    setting = AblationSetting(run)
    differences = difference(read_parquet(run.blob("statistics")), balance=recipe["balance"])
    sweep = nested_sets(differences, threshold_grid(**recipe["thresholds"]))
    progress = run.progress(setting.n_images, "images", ("sets", len(sweep.distinct)))
    predictions = predict_prefixes(
        setting.dictionary,
        setting.batches(),
        setting.embed,
        setting.classify,
        sweep.order,
        sweep.distinct,
        tokens=recipe["tokens"],
        error_term=recipe["error_term"],
        device=setting.device,
        progress=progress,
    )
    progress.finish()
    frame = sweep_frame(sweep, predictions, setting.targets, setting.groups)
    baseline = count_groups(setting.baseline, setting.targets, setting.groups)
    chosen = [
        select_strict(frame, baseline, sweep.order),
        select_relaxed(frame, baseline, sweep.order, max_drop=recipe["relaxed_drop"]),
    ]
    run.put_bytes("sweep", parquet_bytes(frame))
    run.put_bytes("ranking", parquet_bytes(ranking_frame(sweep, differences)))
    run.put_json(
        "selection",
        {
            "baseline": {"overall": baseline.overall, "worst": baseline.worst},
            **{
                s.condition: {
                    "threshold": s.threshold,
                    "features": s.features.tolist(),
                    "n_features": s.n_features,
                    "overall": s.overall,
                    "worst": s.worst,
                }
                for s in chosen
            },
        },
    )
    for s in chosen:
        run.say(
            f"{s.condition}: {s.n_features} features, validation worst group "
            f"{baseline.worst:.1f} -> {s.worst:.1f}, overall {baseline.overall:.1f} -> {s.overall:.1f}"
        )


def cost(job: Sizes) -> Cost:
    """As if every second threshold had a set of its own for every image."""
    return job.resume("validation", job.config["steering"]["thresholds"]["points"] // 2)


if __name__ == "__main__":
    main(plan, compute, __doc__)
