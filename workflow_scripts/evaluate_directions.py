"""Baselines that need no dictionary: directions and neurons of a layer, chosen on validation, then tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import each_layer, member_name
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import choice_inputs, unconcerned_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "neurons() as architecture",
    "hook_point()",
    "attribute_value()",
    "steering.thresholds",
    "steering.tokens",
    "steering.error_term",
    "steering.strict",
    "steering.strict_slack",
    "steering.relaxed_drop",
    "steering.baselines.scales",
    "model.dtype as model_dtype",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    def inputs(layer: int) -> dict[str, str]:
        member = member_name(job, layer)
        own = choice_inputs(job, layer) | unconcerned_inputs(job)
        return own | {
            name: job.output("directions", name, member) for name in ("directions", "neurons")
        }

    return each_layer(job, inputs)


def compute(run: Run) -> None:
    import numpy as np
    from safetensors.torch import load

    from clipsteer.steering.ablation import predict_edits
    from clipsteer.steering.baselines import (
        Option,
        Trial,
        stream_edits,
    )
    from clipsteer.steering.choose import rules
    from clipsteer.steering.directions import read_tensors
    from clipsteer.steering.inputs import AblationSetting, chosen_on, tested
    from clipsteer.steering.intervention import AffineEdit, NoEdit
    from clipsteer.steering.selection import nested_sets, threshold_grid
    from clipsteer.steering.statistics import difference
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe = run.recipe
    validation = AblationSetting(run, "validation/")
    grouping, value = validation.grouping, recipe["attribute_value"]
    choice = chosen_on(validation, rules(recipe))
    trials: list[Trial] = []

    table = read_parquet(run.blob("neurons"))
    fitted = read_tensors(load(run.blob("directions")))
    progress = run.progress(3 * len(fitted) + 1, "sweeps")
    for balance in fitted:
        differences = difference(table, grouping, value=value, balance=balance)
        for method, ranked in (
            ("neurons", differences),
            ("neurons_two_sided", np.abs(differences)),
        ):
            sweep = nested_sets(ranked, threshold_grid(**recipe["thresholds"]))
            trials += choice.of_sweep(method, balance, sweep)
            progress(1)

        # LEACE is one edit, at scale 1; `leace_scaled` chooses its scale as the others do
        scales = sorted({*recipe["scales"], 1.0})
        options = {
            method: [Option(AffineEdit(maps, scale), scale=scale) for scale in scales]
            for method, maps in fitted[balance].items()
        }
        every = stream_edits(option for found in options.values() for option in found)
        predicted = predict_edits(choice.evaluator, every)
        nothing = Option(NoEdit(), scale=0.0)
        for number, (method, found) in enumerate(options.items()):
            first = number * len(scales)
            places = [first + n for n, scale in enumerate(scales) if scale in recipe["scales"]]
            asked = [option for option in found if option.scale in recipe["scales"]]
            if method == "leace":
                whole = scales.index(1.0)
                mine = predicted.rows([first + whole])
                trials += choice.of_options(method, balance, [found[whole]], mine, nothing)
                method = "leace_scaled"
            trials += choice.of_options(method, balance, asked, predicted.rows(places), nothing)
        progress(1)

    frame = tested(run, trials, choice.evaluator.dictionary)
    progress(1)
    progress.finish()
    run.put_bytes("trials", parquet_bytes(frame))


def cost(job: Sizes) -> Cost:
    return job.compare(len(job.config["steering"]["baselines"]["scales"]))


if __name__ == "__main__":
    main(plan, compute, __doc__)
