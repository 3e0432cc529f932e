"""How precisely features of a dictionary, or neurons, steer the model's output (Eq. 4, 5, 11), place by place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import dictionary_inputs, each_layer
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.steerable import measure_place, steerable_inputs

if TYPE_CHECKING:
    import torch

    from clipsteer.dictionaries.base import Dictionary
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "steerability.split",
    "steerability.images",
    "steerability.features",
    "steerability.strengths",
    "steerability.curves",
    "steerability.show",
    "stop_below(steerability.early_stop) as stop_below",
    "model.dtype as model_dtype",
    "seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    return each_layer(
        job, lambda layer: {**steerable_inputs(job, layer), **dictionary_inputs(job, layer)}
    )


def compute(run: Run) -> None:
    from clipsteer.dictionaries.inputs import open_dictionary

    def dictionary(width: int, device: torch.device) -> Dictionary:
        return open_dictionary(run, width, device)

    measure_place(run, dictionary, run.recipe["features"], run.recipe["show"])


def cost(job: Sizes) -> Cost:
    """Of every sampled feature and image a pass of the layers above, or a formula."""
    from clipsteer.sampled import sampled

    m = job.features or job.vision["width"]
    features = sampled(job.config["steerability"]["features"], m)
    return job.steered(features, m)


if __name__ == "__main__":
    main(plan, compute, __doc__)
