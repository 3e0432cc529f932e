"""How many features are active on each token, by layer: the paper's Figures 4 and 8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "valued(dictionary_tables) as dictionaries",
)


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe, job.of_members("spliced", "sparsity"))}


def compute(run: Run) -> None:
    from clipsteer.report.drawing import Title
    from clipsteer.report.sparsity import Shown, sparsity_figure, sparsity_rows
    from clipsteer.report.table import csv_text

    places = []
    for settings in run.recipe["dictionaries"]:
        if settings["architecture"] == "neurons":  # a coordinate is nothing that fires or does not
            continue
        about = {key: settings[key] for key in ("name", "architecture", "hook_point", "trained_on")}
        before = f"sparsity/{settings['name']}/"
        places += [
            Shown(**about, layer=int(name.rpartition("_")[2]), sparsity=run.json(name))
            for name in sorted(name for name in run.inputs if name.startswith(before))
        ]
    title = Title(*(run.recipe[key] for key in ("dataset", "model", "source")))
    run.put_bytes("csv", csv_text(sparsity_rows(places, title)).encode())
    figure = run.scratch / "sparsity.png"
    sparsity_figure(places, figure, title)
    run.put_file("figure", figure)


def cost(job: Sizes) -> Cost:
    """It draws a figure."""
    return job.python(5, 150, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
