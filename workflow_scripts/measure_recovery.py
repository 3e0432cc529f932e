"""How much of the attribute's true effect each selected set undoes on test, and what else it moves, from pairs."""

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
    "steering.tokens",
    "steering.error_term",
    "model.dtype as model_dtype",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    return each_layer(
        job,
        lambda layer: {
            **ablation_inputs(job, layer, "test"),
            "selection": job.output("selection", "selection", member_name(job, layer)),
            "pairs": job.output("pairs", "pairs"),
        },
    )


def compute(run: Run) -> None:
    import polars as pl
    import torch

    from clipsteer.activations.inputs import open_reader
    from clipsteer.backbones.zero_shot import zero_shot_logits
    from clipsteer.steering.feature_set import chosen_sets
    from clipsteer.steering.inputs import AblationSetting
    from clipsteer.steering.pairs import Pairs, margins
    from clipsteer.steering.recovery import recoveries
    from clipsteer.tables import read_parquet

    setting = AblationSetting(run)
    embeddings = torch.from_numpy(open_reader(run, "embedding").read(0, setting.n_images))
    scores = zero_shot_logits(embeddings.to(setting.head.device), setting.head).cpu().numpy()
    images = read_parquet(run.blob("labels")).with_columns(
        margin=pl.Series(margins(scores, setting.targets))
    )
    pairs = Pairs.of(images, read_parquet(run.blob("pairs")), run.recipe["attribute_value"])
    found = {}
    if pairs is not None:
        chosen = chosen_sets(run.json("selection"))
        sets: dict[str, Any] = {condition: found.features for condition, found in chosen.items()}
        progress = run.progress(
            setting.evaluator.passes * setting.n_images, "images", ("sets", len(sets))
        )
        found = recoveries(setting.evaluator, setting.head, sets, pairs, progress)
        progress.finish()
    run.put_json("recovery", found)


def cost(job: Sizes) -> Cost:
    """The sets of both conditions."""
    return job.resume("test", 2)


if __name__ == "__main__":
    main(plan, compute, __doc__)
