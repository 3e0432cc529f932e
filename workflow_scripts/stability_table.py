"""Whether dictionaries find the same again: between seeds, settings, architectures and what they learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import layers_of, member
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "relations(dictionaries.grid) as relations",
)


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        **job.of_members("likeness", "likeness"),
        **job.of_members("selection", "selection"),
        **job.of_members("ablation", "ablation"),
        **job.of_members("ablation", "images"),
    }
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    from clipsteer.report.stability import render, stability_table
    from clipsteer.report.table import csv_text
    from clipsteer.steering.spread import gains_at

    recipe = run.recipe
    labels = {key: recipe[key] for key in ("dataset", "source", "model")}
    found = []
    for relation in recipe["relations"]:
        names = relation["dictionaries"]
        pair = ":".join(names)
        for layer in layers_of(run, "likeness", pair):
            likeness = run.json(f"likeness/{member(pair, layer)}")
            gains = [gains_at(run, member(name, layer)) for name in names]
            found.append((relation, layer, likeness, gains))
    table = stability_table(found, labels)
    run.put_bytes("csv", csv_text(table).encode())
    run.put_bytes("markdown", render(table).encode())


def cost(job: Sizes) -> Cost:
    return job.python(2, 100, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
