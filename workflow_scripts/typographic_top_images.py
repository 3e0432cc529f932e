"""Figures 2 and 10 for typographic attacks: top attacked images of base neurons beside those of F*."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.defences.setting import image_inputs
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "typographic_datasets() as datasets",
    "typographic_model() as model",
    "typographic_crop(model.crop) as crop",
    "typographic_places() as dictionaries",
)
_VIEW = "validation_attacked"


def plan(job: Job) -> dict[str, Action]:
    inputs = {"model": job.output("model", "model"), **image_inputs(job, [_VIEW])}
    for output in ("chosen", "sweep"):
        inputs |= job.of_members("tuning", output)
    for output in ("features", "examples"):
        inputs |= job.of_members("top_attacked", output)
    return {"all": Action(job.recipe, inputs, job.each("world"))}


def compute(run: Run) -> None:
    from clipsteer.backbones.pixels import load_process
    from clipsteer.backbones.shape import read_shape
    from clipsteer.defences.setting import view_images
    from clipsteer.dictionaries.inputs import layers_of, member
    from clipsteer.report.attacked_top_images import Tuned, panels
    from clipsteer.report.top_images_figure import top_images_figure
    from clipsteer.steering.shown import Seen
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    dataset, source = recipe["datasets"][0]
    places = [
        Tuned(
            *(name, layer, hook_point, architecture == "neurons"),
            run.json(f"chosen/{at}"),
            *(read_parquet(run.blob(f"{kind}/{at}")) for kind in ("sweep", "features", "examples")),
        )
        for name, hook_point, architecture, _ in recipe["dictionaries"]
        for layer in layers_of(run, "chosen", name)
        for at in [member(name, layer)]
    ]
    folder = run.folder("model")
    shape = read_shape(folder)
    seen = Seen(load_process(folder, shape.image_size, recipe["crop"]))
    images = view_images(run, _VIEW)

    def as_seen(row: int) -> NDArray[np.uint8]:
        return seen(images.load(row))

    found = panels(places)
    figure = run.scratch / "top_images.png"
    top_images_figure(
        *(found, as_seen, figure),
        title=f"{dataset}, {recipe['model']}, attacked images of the validation split",
        source=source,
        grid=shape.grid,
    )
    run.put_file("figure", figure)
    for panel in found:
        run.say(panel.title)


def cost(job: Sizes) -> Cost:
    """It draws a figure."""
    return job.python(6, 200, 2.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
