"""Every point of the grids of a table's dictionaries by quality, with the front and the point that tables use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import layers_of, member
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import gain_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes
    from clipsteer.report.sweep import Place

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "model_shape()",
    "sweeps(dictionaries.grid) as sweeps",
)


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        **job.of_members("evaluation", "evaluation"),
        **job.of_members("evaluation_test", "evaluation", "evaluation_test"),
        **job.of_members("spliced", "spliced"),
        **gain_inputs(job),
    }
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    from clipsteer.report.drawing import Title
    from clipsteer.report.sweep import in_words, sweep_table
    from clipsteer.report.sweep_figure import pareto_figure
    from clipsteer.report.table import csv_text

    recipe = run.recipe
    labels = {key: recipe[key] for key in ("dataset", "source", "model")}
    places = {
        sweep["name"]: [
            _place(run, point["name"], layer)
            for point in sweep["points"]
            for layer in layers_of(run, "evaluation", point["name"])
        ]
        for sweep in recipe["sweeps"]
    }
    table = sweep_table(recipe["sweeps"], places, labels=labels, shape=tuple(recipe["model_shape"]))
    run.put_bytes("csv", csv_text(table).encode())
    figure = run.scratch / "pareto.png"
    pareto_figure(table, figure, title=Title(**labels))
    run.put_file("figure", figure)
    for sentence in in_words(table):
        run.say(sentence)


def _place(run: Run, point: str, layer: int) -> Place:
    from clipsteer.report.sweep import Place
    from clipsteer.steering.spread import gains_at

    at = member(point, layer)
    on_validation = run.json(f"evaluation/{at}") | run.json(f"spliced/{at}")
    on_test = run.json(f"evaluation_test/{at}")
    return Place(layer, point, on_validation, on_test, gains_at(run, at))


def cost(job: Sizes) -> Cost:
    """It draws a figure."""
    return job.python(3, 100, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
