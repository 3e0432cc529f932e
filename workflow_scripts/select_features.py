"""Feature sets by Eq. 9 on a threshold grid, chosen on validation: strict and relaxed (Section 7.1)."""

from __future__ import annotations

from clipsteer.dictionaries.inputs import member_name
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import ablation_inputs

_KEYS = (
    "architecture",
    "balance",
    "thresholds",
    "tokens",
    "error_term",
    "relaxed_drop",
    "model_dtype",
)


def plan(job: Job) -> dict[str, Action]:
    recipe = job.recipe
    return {
        member_name(job, layer): Action(
            {**{k: recipe[k] for k in _KEYS}, "layer": layer},
            {
                **ablation_inputs(job, layer, "validation"),
                "statistics": job.output("statistics", "statistics", member_name(job, layer)),
            },
        )
        for layer in recipe["layers"]
    }


def compute(run: Run) -> None:
    from clipsteer.steering.ablation import predict_prefixes
    from clipsteer.steering.choose import LargestSum, Relaxed
    from clipsteer.steering.counts import count_groups, number_of_groups
    from clipsteer.steering.inputs import AblationSetting
    from clipsteer.steering.selection import (
        nested_sets,
        ranking_frame,
        select,
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
    labels = setting.targets, setting.groups, number_of_groups(setting.groups)
    frame = sweep_frame(sweep, predictions, *labels)
    baseline = count_groups(setting.baseline, *labels)
    rules = {"strict": LargestSum(), "relaxed": Relaxed(recipe["relaxed_drop"])}
    chosen = {name: select(frame, baseline, sweep.order, rule) for name, rule in rules.items()}
    run.put_bytes("sweep", parquet_bytes(frame))
    run.put_bytes("ranking", parquet_bytes(ranking_frame(sweep, differences)))
    run.put_json(
        "selection",
        {
            "baseline": {"overall": baseline.overall, "worst": baseline.worst},
            **{
                condition: {
                    "threshold": s.threshold,
                    "features": s.features.tolist(),
                    "n_features": s.n_features,
                    "overall": s.counts.overall,
                    "worst": s.counts.worst,
                }
                for condition, s in chosen.items()
            },
        },
    )
    for condition, s in chosen.items():
        run.say(
            f"{condition}: {s.n_features} features, validation worst group "
            f"{baseline.worst:.1f} -> {s.counts.worst:.1f}, "
            f"overall {baseline.overall:.1f} -> {s.counts.overall:.1f}"
        )


if __name__ == "__main__":
    main(plan, compute, __doc__)
