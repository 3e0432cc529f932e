"""An SAE's features and what stands beside them: subspaces of the same sets, random sets and subspaces.

Chosen on validation by the same rules, then tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import each_layer, member_name
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import choice_inputs, unconcerned_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "steering.balance",
    "attribute_value()",
    "steering.thresholds",
    "steering.tokens",
    "steering.error_term",
    "steering.strict",
    "steering.strict_slack",
    "steering.relaxed_drop",
    "steering.random_pool",
    "steering.random_seeds",
    "model.dtype as model_dtype",
    "seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    def inputs(layer: int) -> dict[str, str]:
        member = member_name(job, layer)
        own = choice_inputs(job, layer) | unconcerned_inputs(job)
        return own | {"statistics": job.output("statistics", "statistics", member)}

    return each_layer(job, inputs)


def compute(run: Run) -> None:
    import numpy as np

    from clipsteer.backbones.device import one_thread
    from clipsteer.steering.baselines import Trial, random_subspaces
    from clipsteer.steering.choose import rules
    from clipsteer.steering.compared import SAE
    from clipsteer.steering.controls import random_orders
    from clipsteer.steering.inputs import AblationSetting, chosen_on, tested
    from clipsteer.steering.moments import possible_balances
    from clipsteer.steering.selection import Sweep, nested_sets, threshold_grid
    from clipsteer.steering.statistics import cell_counts, difference, firing_frequency
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe, table = run.recipe, read_parquet(run.blob("statistics"))
    validation = AblationSetting(run, "validation/")
    grouping, value = validation.grouping, recipe["attribute_value"]
    choice = chosen_on(validation, rules(recipe))
    seeds = [recipe["seed"] * 1000 + i for i in range(recipe["random_seeds"])]
    balances = possible_balances(cell_counts(table, grouping, value))
    sweeps = {
        balance: nested_sets(
            difference(table, grouping, value=value, balance=balance),
            threshold_grid(**recipe["thresholds"]),
        )
        for balance in balances
    }
    trials: list[Trial] = []
    progress = run.progress(len(balances) + 1 + len(seeds) + 1, "sweeps")

    for balance, sweep in sweeps.items():
        trials += choice.of_sweep(SAE, balance, sweep)
        progress(1)

    beside = list(trials)
    trials += choice.of_spans(beside)
    progress(1)
    with one_thread():
        trials += random_subspaces(beside, choice.evaluator, seeds)

    grid = sweeps[recipe["balance"] if recipe["balance"] in sweeps else "none"]
    orders = random_orders(
        choice.evaluator.dictionary.m,
        seeds,
        pool=recipe["random_pool"],
        frequency=firing_frequency(table),
    )
    for seed, order in zip(seeds, orders, strict=True):
        sweep = Sweep(order, grid.thresholds, np.minimum(grid.sizes, len(order)))
        trials += choice.of_sweep("random_features", None, sweep, seed)
        progress(1)

    frame = tested(run, trials, choice.evaluator.dictionary)
    progress(1)
    progress.finish()
    run.put_bytes("trials", parquet_bytes(frame))


def cost(job: Sizes) -> Cost:
    return job.compare(4 * job.config["steering"]["random_seeds"])


if __name__ == "__main__":
    main(plan, compute, __doc__)
