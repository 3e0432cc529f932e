"""Negative control: Eq. 9 with shuffled training labels, selected and evaluated as the real ones are.

Only the labels that define D_A and D_notA are shuffled; validation and test groups stay true.
"""

from __future__ import annotations

from clipsteer.activations.inputs import array_inputs, open_reader
from clipsteer.dictionaries.inputs import member_name
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import choice_inputs

_KEYS = (
    *("architecture", "aggregate", "balance", "thresholds", "tokens", "error_term"),
    *("strict", "strict_slack", "relaxed_drop", "shuffles", "seed", "model_dtype"),
)


def plan(job: Job) -> dict[str, Action]:
    recipe = job.recipe
    actions = {}
    for layer in recipe["layers"]:
        array = f"{recipe['hook_point']}/{layer:02d}"
        inputs = choice_inputs(job, layer)
        inputs["train/labels"] = job.output("manifest", "labels_train")
        inputs |= array_inputs(job, array, "train/activations", activations="train")
        actions[member_name(job, layer)] = Action(
            {**{k: recipe[k] for k in _KEYS}, "layer": layer}, inputs
        )
    return actions


def compute(run: Run) -> None:
    import numpy as np
    import polars as pl

    from clipsteer.steering.ablation import passes, predict_prefixes, predict_selected, predict_sets
    from clipsteer.steering.choose import rules
    from clipsteer.steering.controls import shuffled_labels
    from clipsteer.steering.counts import count_groups, number_of_groups
    from clipsteer.steering.inputs import AblationSetting
    from clipsteer.steering.selection import nested_sets, select, sweep_frame, threshold_grid
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
    baseline, rule = count_groups(resumed, *labels), rules(recipe)["strict"]
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
        chosen.append(select(frame, baseline, sweep.order, rule))
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
    labels = test.targets, test.groups, number_of_groups(test.groups)
    before = count_groups(test.baseline, *labels)
    counts = [count_groups(row, *labels) for row in predictions]
    frame = pl.DataFrame(
        {
            "shuffle": range(len(chosen)),
            "n_features": [s.n_features for s in chosen],
            "validation_overall": [s.counts.overall for s in chosen],
            "validation_worst": [s.counts.worst for s in chosen],
            "overall": [c.overall for c in counts],
            "worst": [c.worst for c in counts],
            "baseline_worst": [before.worst for _ in counts],
        }
    )
    run.put_bytes("control", parquet_bytes(frame))


if __name__ == "__main__":
    main(plan, compute, __doc__)
