"""Feature sets by Eq. 9 on a threshold grid, chosen on validation: strict and relaxed (Section 7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipsteer.dictionaries.inputs import each_layer, member_name
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import ablation_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "attribute_value()",
    "steering.balance",
    "steering.thresholds",
    "steering.tokens",
    "steering.error_term",
    "steering.strict",
    "steering.strict_slack",
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
    from dataclasses import replace

    from clipsteer.steering.ablation import predict_prefixes
    from clipsteer.steering.choose import rules
    from clipsteer.steering.counts import GroupCounts, count_groups
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

    def counted(counts: GroupCounts) -> dict[str, Any]:
        return {"overall": counts.overall, "worst": counts.worst, "counts": counts.as_dict()}

    recipe = run.recipe
    setting = AblationSetting(run)
    differences = difference(
        read_parquet(run.blob("statistics")),
        setting.grouping,
        value=recipe["attribute_value"],
        balance=recipe["balance"],
    )
    sweep = nested_sets(differences, threshold_grid(**recipe["thresholds"]))
    evaluator = setting.evaluator
    progress = run.progress(
        evaluator.passes * setting.n_images, "images", ("sets", len(sweep.distinct))
    )
    resumed, predictions = predict_prefixes(evaluator, sweep.order, sweep.distinct, progress)
    progress.finish()
    labels = setting.targets, setting.groups, setting.grouping.n_groups
    frame = sweep_frame(sweep, predictions, *labels)
    baseline = count_groups(resumed, *labels)
    unmodified = count_groups(setting.baseline, *labels)
    how = {name: recipe[name] for name in ("attribute_value", "balance")}
    chosen = {
        condition: replace(
            select(frame, baseline, sweep.order, rule),
            hook_point=recipe["hook_point"],
            layer=recipe["layer"],
            how={"condition": condition, **how},
        )
        for condition, rule in rules(recipe).items()
    }
    run.put_bytes("sweep", parquet_bytes(frame))
    run.put_bytes("ranking", parquet_bytes(ranking_frame(sweep, differences)))
    run.put_json(
        "selection",
        {
            # without an edit: resumed from these activations, which the choice compares with, and the
            # unmodified model's own forward pass, the same at every place
            "baseline": counted(baseline),
            "unmodified": counted(unmodified),
            **{condition: found.as_dict() for condition, found in chosen.items()},
        },
    )
    for condition, s in chosen.items():
        run.say(
            f"{condition}: {s.n_features} features, validation worst group "
            f"{baseline.worst:.1f} -> {s.counts.worst:.1f}, "
            f"overall {baseline.overall:.1f} -> {s.counts.overall:.1f}"
        )


def cost(job: Sizes) -> Cost:
    """As if every second threshold had a set of its own for every image."""
    return job.resume("validation", job.config["steering"]["thresholds"]["points"] // 2)


if __name__ == "__main__":
    main(plan, compute, __doc__)
