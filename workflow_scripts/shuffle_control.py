"""Negative control: Eq. 9 with shuffled training labels, selected and evaluated as the real ones are.

Only the labels that define D_A and D_notA are shuffled; validation and test groups stay true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipsteer.activations.inputs import array_inputs, array_name, open_reader
from clipsteer.dictionaries.inputs import each_layer
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import choice_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "steering.aggregate",
    "attribute_value()",
    "steering.balance",
    "steering.thresholds",
    "steering.tokens",
    "steering.error_term",
    "steering.strict",
    "steering.strict_slack",
    "steering.relaxed_drop",
    "steering.shuffles",
    "model.dtype as model_dtype",
    "seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    def inputs(layer: int) -> dict[str, str]:
        array = array_name(job.recipe["hook_point"], layer)
        found = choice_inputs(job, layer) | {"train/labels": job.output("manifest", "labels_train")}
        return found | array_inputs(job, array, "train/activations", activations="train")

    return each_layer(job, inputs)


def compute(run: Run) -> None:
    from clipsteer.backbones.tokens import refuse_without_cls
    from clipsteer.dictionaries.tokens import its_own
    from clipsteer.steering.ablation import predict_prefixes, predict_sets
    from clipsteer.steering.choose import rules
    from clipsteer.steering.controls import shuffled_labels
    from clipsteer.steering.counts import count_groups
    from clipsteer.steering.inputs import AblationSetting
    from clipsteer.steering.selection import nested_sets, select, sweep_frame, threshold_grid
    from clipsteer.steering.statistics import feature_statistics, label_differences
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    validation, test = AblationSetting(run, "validation/"), AblationSetting(run, "test/")
    evaluator = validation.evaluator
    train = read_parquet(run.blob("train/labels"))
    in_a = (train["spurious"] == recipe["attribute_value"]).to_numpy()
    reader = open_reader(run, "train/activations")
    refuse_without_cls("steering.aggregate", recipe["aggregate"], reader.cls)
    progress = run.progress(reader.n_images, "images")
    statistics = feature_statistics(
        evaluator.dictionary,
        its_own(reader.batches(64), evaluator.dictionary, recipe["aggregate"]),
        train["group"].to_numpy(),
        validation.grouping,
        aggregate=recipe["aggregate"],
        device=evaluator.device,
        extra_labels=shuffled_labels(in_a, recipe["shuffles"], recipe["seed"]),
        progress=progress,
    )
    progress.finish()
    labels = validation.targets, validation.groups, validation.grouping.n_groups
    unmodified = count_groups(validation.baseline, *labels)
    chosen = []
    progress = run.progress(recipe["shuffles"], "shuffles")
    for difference in label_differences(statistics, balance=recipe["balance"]):
        sweep = nested_sets(difference, threshold_grid(**recipe["thresholds"]))
        found = predict_prefixes(evaluator, sweep.order, sweep.distinct)
        frame, baseline = (
            sweep_frame(sweep, found.edited, *labels),
            count_groups(found.resumed, *labels),
        )
        chosen += [
            (condition, select(frame, baseline, sweep.order, rule))
            for condition, rule in rules(recipe).items()
        ]
        progress(1)
    progress.finish()
    sets = [selection.features for _, selection in chosen]
    progress = run.progress(test.evaluator.passes * test.n_images, "images", ("sets", len(sets)))
    predictions = predict_sets(test.evaluator, sets, progress).edited
    progress.finish()
    labels = test.targets, test.groups, validation.grouping.n_groups
    made: dict[str, Any] = {
        "unmodified": {"counts": unmodified.as_dict()},
        "test": count_groups(test.baseline, *labels).as_dict(),
    }
    for (condition, selection), row in zip(chosen, predictions, strict=True):
        made.setdefault(condition, []).append(
            {
                "n_features": selection.n_features,
                "counts": selection.counts.as_dict(),
                "test": count_groups(row, *labels).as_dict(),
            }
        )
    run.put_json("control", made)


def cost(job: Sizes) -> Cost:
    """A selection and an ablation for each shuffle, and the statistics of all of them at once."""
    once, read = job.resume("validation", 40), job.apply(job.images("train"), ways=1)
    seconds = once.seconds * job.config["steering"]["shuffles"] + read.seconds
    return job.takes(seconds, max(once.memory_mb, read.memory_mb), 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
