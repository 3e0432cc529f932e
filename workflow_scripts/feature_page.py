"""A page for the browser: the features of all places of a table, and the images that they answer to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipsteer.dictionaries.inputs import member
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.shown import pair_inputs, shown_inputs

if TYPE_CHECKING:
    import polars as pl

    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "painted_or_files() as images",
    "model.name as model",
    "model.crop",
    "datasets.group_names",
    "shown(tables) as dictionaries",
    "steering.aggregate",
    "explorer.split",
    "explorer.examples",
    "explorer.thumbnail",
    "explorer.max_mb",
    "page_files()",
)


def plan(job: Job) -> dict[str, Action]:
    views = job.of_members("image_views", "views")
    inputs = {**shown_inputs(job), **(pair_inputs(job) if views else {}), **views}
    inputs |= job.of_members("comparison", "nearest")
    return {"all": Action(job.recipe, inputs, job.each("world"))}


def compute(run: Run) -> None:
    from clipsteer.report.explorer import About, Images, Place, feature_page
    from clipsteer.report.thumbnails import thumbnail
    from clipsteer.steering.shown import ShownImages, shown_places
    from clipsteer.steering.top_images import Numbers

    recipe = run.recipe
    hooks = {settings["name"]: settings["hook_point"] for settings in recipe["dictionaries"]}
    shown = shown_places(run, list(hooks))
    images = ShownImages(run, recipe["dataset"])
    views = {
        (place.dictionary, place.layer): run.json(f"views/{member(place.dictionary, place.layer)}")
        for place in shown
        if any(name.startswith("views/") for name in run.inputs)
    }
    one: dict[str, Any] = next(iter(views.values()), {"classes": [], "images": []})
    examples = {image for place in shown for image in place.examples["image"].to_list()}
    used = sorted(examples.union(one["images"]))
    pictures, pairs = dict[int, bytes](), dict[int, bytes]()
    if recipe["thumbnail"]:
        progress = run.progress(len(used), "images")
        for image in used:
            pictures[image] = thumbnail(images.seen(image), recipe["thumbnail"])
            progress(1)
        progress.finish()
        for image in one["images"]:
            if (pair := images.pair(image)) is not None:
                pairs[image] = thumbnail(images.as_seen(pair), recipe["thumbnail"])
    page = feature_page(
        [
            Place(
                place.dictionary, hooks[place.dictionary], place.layer, place.about["m"],
                place.about["dictionary"], place.features, place.examples,
                views[place.dictionary, place.layer]["views"] if views else (),
                _beside(run, place.dictionary, place.layer),
            )
            for place in shown
        ],
        Images(
            recipe["split"], recipe["images"] == "painted", images.files, images.groups.tolist(), pictures,
            images.targets.tolist(), one["images"], pairs,
        ),
        About(
            **{key: recipe[key] for key in ("dataset", "source", "model", "aggregate", "group_names")},
            grid=images.grid,
            cls=shown[0].about["cls"] is not None,
            numbers=Numbers(**recipe["examples"]),
            class_names=one["classes"],
        ),
        recipe["max_mb"],
    )  # fmt: skip
    run.put_bytes("page", page.encode())
    run.say(
        f"{sum(place.features.height for place in shown)} features, {len(used)} images, "
        f"{len(page) / 1e6:.1f} MB"
    )


def _beside(run: Run, dictionary: str, layer: int) -> pl.DataFrame | None:
    """The nearest directions of other dictionaries, for the features of one place."""
    from clipsteer.tables import read_parquet

    name = f"nearest/layer_{layer:02d}"
    if name not in run.inputs:
        return None
    return read_parquet(run.blob(name)).filter(dictionary=dictionary).drop("dictionary")


def cost(job: Sizes) -> Cost:
    """It decodes the images shown, at most all of the split, and writes the page."""
    explorer = job.config["explorer"]
    seconds = 3 + job.decoding(job.images(explorer["split"]))
    return job.python(seconds, 400 + 4 * explorer["max_mb"], explorer["max_mb"])


if __name__ == "__main__":
    main(plan, compute, __doc__)
