"""How precisely random unit directions steer the model's output: the control for features and neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import each_layer
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.steerable import measure_place, steerable_inputs

if TYPE_CHECKING:
    import torch

    from clipsteer.dictionaries.base import Dictionary
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "hook_point()",
    "steerability.split",
    "steerability.images",
    "steerability.random",
    "steerability.strengths",
    "steerability.curves",
    "stop_below(steerability.early_stop) as stop_below",
    "model.dtype as model_dtype",
    "seed",
)
CUT = ("layers",)


def plan(job: Job) -> dict[str, Action]:
    return each_layer(job, lambda layer: steerable_inputs(job, layer))


def compute(run: Run) -> None:
    import torch

    from clipsteer.dictionaries.random_directions import RandomDirections
    from clipsteer.steering.controls import random_directions

    recipe = run.recipe

    def directions(width: int, device: torch.device) -> Dictionary:
        drawn = random_directions(recipe["random"], width, recipe["seed"] * 1000 + recipe["layer"])
        return RandomDirections(torch.from_numpy(drawn).to(device))

    measure_place(run, directions, "all", [])


def cost(job: Sizes) -> Cost:
    """As `measure_steerability`."""
    directions = int(job.config["steerability"]["random"])
    return job.steered(directions, directions)


if __name__ == "__main__":
    main(plan, compute, __doc__)
