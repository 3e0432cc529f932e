"""Whether dictionaries find the same again: between seeds, settings, architectures and what they learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import layers_of, member
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import gain_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "names_given(datasets.class_names) as class_names",
    "relations(dictionaries.grid) as relations",
)


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        **job.of_members("likeness", "likeness"),
        **gain_inputs(job),
        **job.of_members("recovery", "recovery"),
    }
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    from clipsteer.report.stability import render, stability_table
    from clipsteer.report.table import csv_text
    from clipsteer.steering.spread import effects_at, gains_at

    recipe = run.recipe
    labels = {key: recipe[key] for key in ("dataset", "source", "model")}
    found = []
    for relation in recipe["relations"]:
        names = relation["dictionaries"]
        pair = ":".join(names)
        for layer in layers_of(run, "likeness", pair):
            likeness = run.json(f"likeness/{member(pair, layer)}")
            places = [member(name, layer) for name in names]
            sides = [gains_at(run, place) | effects_at(run, place) for place in places]
            found.append((relation, layer, likeness, sides))
    table = stability_table(found, labels, len(recipe["class_names"]))
    run.put_bytes("csv", csv_text(table).encode())
    run.put_bytes("markdown", render(table, recipe["class_names"]).encode())


def cost(job: Sizes) -> Cost:
    return job.python(2, 100, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
