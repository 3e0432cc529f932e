"""What storing activations changes in the predictions: of each place without an edit and with its sets ablated.

Selection and ablation resume from stored activations, which are rounded (`activations.dtype`). Here the model runs
over the test images once more, is edited as it runs with the sets that were chosen, and the predictions are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "places(tables) as dictionaries",
    "architectures(tables) as architectures",
    "steering.tokens",
    "steering.error_term",
    "model.dtype as model_dtype",
    "model.crop",
)
IMPORTS = ("clipsteer.dictionaries.{architectures}",)


def plan(job: Job) -> dict[str, Action]:
    inputs = {name: job.output(name, name) for name in ("model", "head")}
    outputs = job.inputs["shards"].members["all"].outputs
    inputs |= {f"shards/{shard}": output.digest for shard, output in outputs.items()}
    for kind in ("dictionary", "selection", "ablation"):
        inputs |= job.of_members(kind, kind)
    inputs |= job.of_members("ablation", "images")
    return {"all": Action(job.recipe, inputs, job.each("world"))}


def compute(run: Run) -> None:
    from functools import partial

    import numpy as np
    from safetensors.torch import load

    from clipsteer.activations.inputs import open_backbone
    from clipsteer.data.source import ImageSource
    from clipsteer.dictionaries.inputs import named_in, open_dictionary
    from clipsteer.dictionaries.tokens import suited
    from clipsteer.report.storage import Row, storage_table
    from clipsteer.report.table import csv_text
    from clipsteer.steering.ablation import predict_sets
    from clipsteer.steering.feature_set import chosen_sets
    from clipsteer.steering.heads import Heads
    from clipsteer.steering.inputs import resumed_evaluator
    from clipsteer.steering.live import LiveActivations
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    hooks = {name: hook_point for name, hook_point, _ in recipe["dictionaries"]}
    neurons = [name for name, _, kind in recipe["dictionaries"] if kind == "neurons"]
    members = sorted(
        (name.removeprefix("selection/") for name in run.inputs if name.startswith("selection/")),
        key=lambda member: (list(hooks).index(member.rpartition("/")[0]), member),
    )
    places = {
        member: (hooks[name], layer) for member in members for name, layer in [named_in(member)]
    }
    images = [
        image
        for name in sorted(name for name in run.inputs if name.startswith("shards/"))
        for image in run.json(name)["images"]
    ]
    backbone = open_backbone(run, crop=recipe["crop"])
    device = backbone.device
    source = ImageSource(run.store, run.files(run.runtime.name), images, 0, seed=None)
    progress = run.progress(len(images), "images", ("tokens", backbone.n_tokens))
    live = LiveActivations(
        backbone, source.load, len(images), set(places.values()), run.scratch / "live", progress
    )
    progress.finish()
    heads = Heads(load(run.blob("head"))["head"].to(device))
    rows = list[Row]()
    progress = run.progress(len(places), "places")
    for member, (hook_point, layer) in places.items():
        sets = chosen_sets(run.json(f"selection/{member}"))
        chosen = [found.features for found in sets.values()]
        dictionary = open_dictionary(run, backbone.width, device, f"dictionary/{member}")
        evaluator = resumed_evaluator(
            backbone,
            suited(dictionary, backbone.cls),
            partial(live.batches, hook_point, layer),
            heads.codes,
            {**recipe, "hook_point": hook_point, "layer": layer},
        )
        resumed, ablated = predict_sets(evaluator, chosen)
        targeted = read_parquet(run.blob(f"ablation/{member}")).filter(ablation="targeted")
        stored = {"none": read_parquet(run.blob(f"images/{member}"))["resumed"].to_numpy()} | {
            condition: np.array(predictions)
            for condition, predictions in targeted.select("condition", "predictions").rows()
        }
        for condition, features, found in zip(
            ("none", *sets), (np.zeros(0), *chosen), (resumed, *ablated), strict=True
        ):
            changes = int((found != stored[condition]).sum())
            name, _, _ = member.rpartition("/")
            rows.append((hook_point, layer, name, condition, len(features), changes))
        progress(1)
    progress.finish()
    named = {key: recipe[key] for key in ("dataset", "source", "model")}
    table = storage_table(rows, named, neurons=neurons, n_images=len(images))
    run.put_bytes("csv", csv_text(table).encode())
    most = max(changes for _, _, _, condition, _, changes in rows if condition != "none")
    run.say(f"at most {most} of {len(images)} predictions differ with a set ablated")


def cost(job: Sizes) -> Cost:
    """A forward pass of the test split, and three resumed ones from each place; activations in float32 in between."""
    from clipsteer.lineage.resources import CLIP, FLOAT, expansion

    vision, images = job.vision, job.images("test")
    names = job.config["tables"][job.names["dataset"]]
    features = max(expansion(job.config["dictionaries"][n]) for n in names) * vision["width"]
    resumed = 3 * len(names) * job.extracted * vision["layers"] / 2
    flop = images * (vision["layers"] + resumed) * job.layer_flop
    flop += (
        2.0 * images * vision["tokens"] * vision["width"] * features * len(names) * job.extracted
    )
    written = float(images * job.extracted * vision["tokens"] * vision["width"] * FLOAT)
    memory = CLIP + 3 * job.weights_mb + 2 * features * vision["width"] * FLOAT / 1e6 + 300
    return job.takes(job.seconds(flop) + job.decoding(images), memory, written / 1e6)


if __name__ == "__main__":
    main(plan, compute, __doc__)
