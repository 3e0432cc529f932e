"""The paper's Figure 1: images, what the model says of them as they are and edited, and what was suppressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.shown import listed_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "datasets.group_names",
    "places(tables) as dictionaries",
    "architectures(tables) as architectures",
    "steering.tokens",
    "steering.error_term",
    "steering.strict",
    "steering.strict_slack",
    "steering.relaxed_drop",
    "explorer.split",
    "model.dtype as model_dtype",
    "model.crop",
)
IMPORTS = ("clipsteer.dictionaries.{architectures}",)
_FEATURES = 4  # that are named of an image


def plan(job: Job) -> dict[str, Action]:
    inputs = {**listed_inputs(job), "head": job.output("head", "head")}
    for kind in ("dictionary", "selection"):
        inputs |= job.of_members(kind, kind)
    recipe = {**job.recipe, "class_names": job.facts("head")["class_names"]}
    return {"all": Action(recipe, inputs, job.each("world"))}


def compute(run: Run) -> None:
    import numpy as np
    from safetensors.torch import load

    from clipsteer.activations.inputs import open_backbone
    from clipsteer.backbones.tokens import tokens_meant
    from clipsteer.dictionaries.inputs import member, named_in, open_dictionary
    from clipsteer.dictionaries.tokens import edited, suited
    from clipsteer.report.drawing import Title
    from clipsteer.report.edited_figure import EditedImage, edited_figure
    from clipsteer.steering.choose import rules
    from clipsteer.steering.edited_images import chosen_images, edited_images
    from clipsteer.steering.feature_set import chosen_sets
    from clipsteer.steering.image_views import Site
    from clipsteer.steering.places import first_choice, unmodified_counts
    from clipsteer.steering.shown import ShownImages

    recipe = run.recipe
    hooks = {name: hook for name, hook, _ in recipe["dictionaries"]}
    saes = {name for name, _, kind in recipe["dictionaries"] if kind != "neurons"}
    selections = {}
    for input_name in sorted(n for n in run.inputs if n.startswith("selection/")):
        of, number = named_in(input_name.removeprefix("selection/"))
        if of in saes:
            selections[number, of] = run.json(input_name)
    unmodified = unmodified_counts(selections)
    condition, (layer, name) = first_choice(selections, hooks, rules(recipe), unmodified)
    sets = chosen_sets(selections[layer, name])
    features = sets[condition].features if condition else np.zeros(0, dtype=np.int64)
    model = open_backbone(run, crop=recipe["crop"])
    place = f"dictionary/{member(name, layer)}"
    dictionary = suited(open_dictionary(run, model.width, model.device, place), model.cls)
    tokens = edited(tokens_meant(recipe["tokens"], model.cls), dictionary)
    head = load(run.blob("head"))["head"]
    site = Site(model, head, dictionary, layer, hooks[name], tokens, recipe["error_term"])
    images = ShownImages(run, recipe["dataset"])
    progress = run.progress(len(images.files), "images")
    found = edited_images(site, features, images.image, len(images.files), progress)
    progress.finish()
    rows = []
    for one in chosen_images(found, images.targets, images.groups, unmodified.worst_group):
        active = found.active[one.image]
        order = [j for j in np.argsort(-active, kind="stable")[:_FEATURES] if active[j] > 0]
        group = recipe["group_names"][images.groups[one.image]]
        rows.append(
            EditedImage(
                f"{group}: {one.why}",
                images.seen(one.image),
                found.moved[one.image].reshape(images.grid),
                found.before[one.image],
                found.after[one.image],
                [(int(features[j]), float(active[j])) for j in order],
            )
        )
        run.say(f"{images.files[one.image]}, {rows[-1].title}")
    figure = run.scratch / "edited_images.png"
    what = f"{recipe['split']} split; {name}, layer {layer}: " + (
        f"{condition} set of {len(features)} features"
        if condition
        else "no set was selected, so nothing"
    )
    title = Title(recipe["dataset"], recipe["model"], recipe["source"])
    edited_figure(rows, recipe["class_names"], figure, title=title, set_name=what)
    run.put_file("figure", figure)


def cost(job: Sizes) -> Cost:
    """A forward pass of the split's images, and one of half the layers of them edited."""
    from clipsteer.lineage.resources import CLIP

    images, vision = job.images(job.config["explorer"]["split"]), job.vision
    seconds = job.seconds(images * 1.5 * vision["layers"] * job.layer_flop)
    seconds += job.decoding(images, job.threads)
    return job.takes(seconds, CLIP + 3 * job.weights_mb + 300, 2.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
