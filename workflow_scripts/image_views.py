"""What a place's features do in single images: which are active where, and what each one's ablation changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import dictionary_inputs, each_layer, member_name
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.shown import listed_inputs, pair_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "steering.tokens",
    "steering.error_term",
    "explorer.split",
    "explorer.views",
    "model.dtype as model_dtype",
    "model.crop",
    "seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    shared = {**listed_inputs(job), **pair_inputs(job), "head": job.output("head", "head")}
    actions = each_layer(
        job,
        lambda layer: {
            **shared,
            **dictionary_inputs(job, layer),
            "selection": job.output("selection", "selection", member_name(job, layer)),
        },
    )
    named = {"class_names": job.facts("head")["class_names"]}
    return {
        name: replace(action, recipe={**action.recipe, **named}, found_in=job.each("world"))
        for name, action in actions.items()
    }


def compute(run: Run) -> None:
    from safetensors.torch import load

    from clipsteer.activations.inputs import open_backbone
    from clipsteer.backbones.tokens import tokens_meant
    from clipsteer.dictionaries.inputs import open_dictionary
    from clipsteer.dictionaries.tokens import edited, suited
    from clipsteer.steering.feature_set import chosen_sets
    from clipsteer.steering.image_views import Site, drawn_evenly, image_views
    from clipsteer.steering.shown import ShownImages

    recipe, sets = run.recipe, chosen_sets(run.json("selection"))
    model = open_backbone(run, crop=recipe["crop"])
    dictionary = suited(open_dictionary(run, model.width, model.device), model.cls)
    images = ShownImages(run, recipe["dataset"])
    numbers = drawn_evenly(images.groups, recipe["views"]["images"], recipe["seed"])
    pairs = {at: pair for at, i in enumerate(numbers) if (pair := images.pair(i)) is not None}
    site = Site(
        model,
        load(run.blob("head"))["head"],
        dictionary,
        recipe["layer"],
        recipe["hook_point"],
        edited(tokens_meant(recipe["tokens"], model.cls), dictionary),
        recipe["error_term"],
    )
    views = image_views(
        site,
        [images.image(number) for number in numbers],
        pairs,
        {name: chosen.features.tolist() for name, chosen in sets.items() if chosen.n_features},
        recipe["views"]["features"],
    )
    found = {"images": numbers, "views": [view.as_dict() for view in views]}
    run.put_json("views", {"classes": recipe["class_names"], **found})
    run.say(f"{len(numbers)} images, {len(pairs)} with a pair")


def cost(job: Sizes) -> Cost:
    """Of each image and its pair a forward pass, and of each of its features and sets one of the layers above."""
    from clipsteer.lineage.resources import CLIP

    views, tower = job.config["explorer"]["views"], job.vision
    above = (2 * views["features"] + 2) * tower["layers"] / 2
    encode = 2.0 * tower["tokens"] * job.features * tower["width"]
    flop = 2 * views["images"] * (tower["layers"] * job.layer_flop + 2 * encode)
    flop += views["images"] * above * job.layer_flop
    dictionary = 2.0 * job.features * tower["width"] * 4 / 1e6
    return job.takes(job.seconds(job.block * flop), CLIP + 3 * job.weights_mb + dictionary, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
