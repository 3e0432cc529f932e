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
    from dataclasses import replace

    from clipsteer.backbones.tokens import refuse_without_cls
    from clipsteer.dictionaries.tokens import its_own
    from clipsteer.steering.ablation import predict_edits
    from clipsteer.steering.baselines import Trial, stream_edits
    from clipsteer.steering.choose import rules
    from clipsteer.steering.controls import shuffled_labels
    from clipsteer.steering.counts import count_groups
    from clipsteer.steering.inputs import AblationSetting, chosen_on
    from clipsteer.steering.selection import nested_sets, threshold_grid
    from clipsteer.steering.statistics import feature_statistics, label_differences
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    validation, test = AblationSetting(run, "validation/"), AblationSetting(run, "test/")
    choice = chosen_on(validation, rules(recipe))
    evaluator = choice.evaluator
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
    trials = list[Trial]()
    progress = run.progress(recipe["shuffles"], "shuffles")
    for difference in label_differences(statistics, balance=recipe["balance"]):
        sweep = nested_sets(difference, threshold_grid(**recipe["thresholds"]))
        trials += choice.of_sweep("shuffled", recipe["balance"], sweep)
        progress(1)
    progress.finish()
    edits = stream_edits(trial.option for trial in trials)
    progress = run.progress(test.evaluator.passes * test.n_images, "images", ("sets", len(edits)))
    on_test = replace(test.evaluator, dictionary=evaluator.dictionary)
    predictions = predict_edits(on_test, edits, progress).edited
    progress.finish()
    labels = test.targets, test.groups, validation.grouping.n_groups
    made: dict[str, Any] = {
        "unmodified": {"counts": choice.counts(validation.baseline).as_dict()},
        "test": count_groups(test.baseline, *labels).as_dict(),
    }
    for trial, row in zip(trials, predictions, strict=True):
        made.setdefault(str(trial.condition), []).append(
            {
                "n_features": trial.option.n_features,
                "counts": trial.counts.as_dict(),
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
