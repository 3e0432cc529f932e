"""The paper's Figures 2 and 10: top images of base neurons beside those of the features that were selected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.shown import shown_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "model.crop",
    "shown(tables) as dictionaries",
    "steering.strict",
    "steering.strict_slack",
    "steering.relaxed_drop",
    "explorer.split",
)


def plan(job: Job) -> dict[str, Action]:
    selections = job.of_members("selection", "selection")
    return {"all": Action(job.recipe, {**shown_inputs(job), **selections}, job.each("world"))}


def compute(run: Run) -> None:
    from clipsteer.report.top_images_figure import Panel, panels, top_images_figure
    from clipsteer.steering.choose import rules
    from clipsteer.steering.shown import ShownImages, shown_places

    recipe = run.recipe
    settings = {one["name"]: one for one in recipe["dictionaries"]}
    neurons = {name for name, one in settings.items() if one["architecture"] == "neurons"}
    shown = shown_places(run, list(settings))
    selections = {
        (place.layer, place.dictionary): run.json(
            f"selection/{place.dictionary}/layer_{place.layer:02d}"
        )
        for place in shown
    }
    images = ShownImages(run, recipe["dataset"])
    hooks = {name: one["hook_point"] for name, one in settings.items()}
    found: list[Panel] = panels(shown, selections, hooks, neurons, rules(recipe))
    figure = run.scratch / "top_images.png"
    top_images_figure(
        found,
        images.seen,
        figure,
        title=f"{recipe['dataset']}, {recipe['model']}, {recipe['split']} split",
        source=recipe["source"],
        grid=images.grid,
    )
    run.put_file("figure", figure)
    for panel in found:
        run.say(panel.title)


def cost(job: Sizes) -> Cost:
    """It draws a figure."""
    return job.python(6, 200, 2.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
