"""Negative control: Eq. 9 with shuffled training labels, selected and evaluated as the real ones are.

Only the labels that define D_A and D_notA are shuffled; validation and test groups stay true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.activations.inputs import array_inputs, array_name, open_reader
from clipsteer.dictionaries.inputs import each_layer
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import ablation_inputs

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
    "steering.shuffles",
    "model.dtype as model_dtype",
    "seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    def inputs(layer: int) -> dict[str, str]:
        array = array_name(job.recipe["hook_point"], layer)
        found = {
            f"{split}/{name}": digest
            for split in ("validation", "test")
            for name, digest in ablation_inputs(job, layer, split, activations=split).items()
        }
        found["train/labels"] = job.output("manifest", "labels_train")
        return found | array_inputs(job, array, "train/activations", activations="train")

    return each_layer(job, inputs)


def compute(run: Run) -> None:
    import polars as pl

    from clipsteer.steering.ablation import passes, predict_prefixes, predict_selected
    from clipsteer.steering.controls import shuffled_labels
    from clipsteer.steering.inputs import AblationSetting
    from clipsteer.steering.selection import (
        count_groups,
        nested_sets,
        select_strict,
        sweep_frame,
        threshold_grid,
    )
    from clipsteer.steering.statistics import feature_statistics, label_differences
    from clipsteer.tables import parquet_bytes, read_parquet

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
    baseline = count_groups(validation.baseline, validation.targets, validation.groups)
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
        frame = sweep_frame(sweep, predictions, validation.targets, validation.groups)
        chosen.append(select_strict(frame, baseline, sweep.order))
        progress(1)
    progress.finish()
    sets = [selection.features for selection in chosen]
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
    before = count_groups(test.baseline, test.targets, test.groups)
    counts = [count_groups(row, test.targets, test.groups) for row in predictions]
    frame = pl.DataFrame(
        {
            "shuffle": range(len(chosen)),
            "n_features": [s.n_features for s in chosen],
            "validation_overall": [s.overall for s in chosen],
            "validation_worst": [s.worst for s in chosen],
            "overall": [c.overall for c in counts],
            "worst": [c.worst for c in counts],
            "baseline_worst": [before.worst for _ in counts],
        }
    )
    run.put_bytes("control", parquet_bytes(frame))


def cost(job: Sizes) -> Cost:
    """A selection and an ablation for each shuffle, and the statistics of all of them at once."""
    once, read = job.resume("validation", 40), job.apply(job.images("train"), ways=1)
    seconds = once.seconds * job.config["steering"]["shuffles"] + read.seconds
    return job.takes(seconds, max(once.memory_mb, read.memory_mb), 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
