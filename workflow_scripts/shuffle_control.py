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
    import numpy as np

    from clipsteer.steering.ablation import passes, predict_prefixes, predict_selected, predict_sets
    from clipsteer.steering.choose import rules
    from clipsteer.steering.controls import shuffled_labels
    from clipsteer.steering.counts import count_groups, number_of_groups
    from clipsteer.steering.inputs import AblationSetting
    from clipsteer.steering.selection import nested_sets, select, sweep_frame, threshold_grid
    from clipsteer.steering.statistics import feature_statistics, label_differences
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    validation, test = AblationSetting(run, "validation/"), AblationSetting(run, "test/")
    edit = {"tokens": recipe["tokens"], "error_term": recipe["error_term"], "device": test.device}
    groups = read_parquet(run.blob("train/labels"))["group"].to_numpy()
    reader = open_reader(run, "train/activations")
    progress = run.progress(reader.n_images, "images")
    statistics = feature_statistics(
        validation.dictionary,
        reader.batches(64),
        groups,
        aggregate=recipe["aggregate"],
        device=test.device,
        extra_labels=shuffled_labels(groups % 2 == 1, recipe["shuffles"], recipe["seed"]),
        progress=progress,
    )
    progress.finish()
    labels = validation.targets, validation.groups, number_of_groups(validation.groups)
    nothing = np.zeros(0, dtype=np.int64)
    (resumed,) = predict_sets(
        validation.dictionary,
        validation.batches(),
        validation.embed,
        validation.classify,
        [nothing],
        device=test.device,
    )
    baseline = count_groups(resumed, *labels)
    unmodified = count_groups(validation.baseline, *labels)
    chosen = []
    progress = run.progress(recipe["shuffles"], "shuffles")
    for difference in label_differences(statistics, balance=recipe["balance"]):
        sweep = nested_sets(difference, threshold_grid(**recipe["thresholds"]))
        predictions = predict_prefixes(
            validation.dictionary,
            validation.batches(),
            validation.embed,
            validation.classify,
            sweep.order,
            sweep.distinct,
            **edit,
        )
        frame = sweep_frame(sweep, predictions, *labels)
        chosen += [
            (condition, select(frame, baseline, sweep.order, rule))
            for condition, rule in rules(recipe).items()
        ]
        progress(1)
    progress.finish()
    sets = [selection.features for _, selection in chosen]
    progress = run.progress(
        passes(sets, recipe["error_term"]) * test.n_images, "images", ("sets", len(sets))
    )
    _, predictions = predict_selected(
        test.dictionary,
        test.batches,
        test.embed,
        test.classify,
        sets,
        progress=progress,
        **edit,
    )
    progress.finish()
    labels = test.targets, test.groups, number_of_groups(test.groups)
    found: dict[str, Any] = {
        "unmodified": {"counts": unmodified.as_dict()},
        "test": count_groups(test.baseline, *labels).as_dict(),
    }
    for (condition, selection), row in zip(chosen, predictions, strict=True):
        found.setdefault(condition, []).append(
            {
                "n_features": selection.n_features,
                "counts": selection.counts.as_dict(),
                "test": count_groups(row, *labels).as_dict(),
            }
        )
    run.put_json("control", found)


def cost(job: Sizes) -> Cost:
    """A selection and an ablation for each shuffle, and the statistics of all of them at once."""
    once, read = job.resume("validation", 40), job.apply(job.images("train"), ways=1)
    seconds = once.seconds * job.config["steering"]["shuffles"] + read.seconds
    return job.takes(seconds, max(once.memory_mb, read.memory_mb), 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
