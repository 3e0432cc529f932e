"""Whether dictionaries find the same again: between seeds, settings, architectures and what they learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipsteer.dictionaries.inputs import member
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

    recipe = run.recipe
    labels = {key: recipe[key] for key in ("dataset", "source", "model")}
    found = []
    for relation in recipe["relations"]:
        names = relation["dictionaries"]
        for layer in _layers(run, ":".join(names)):
            likeness = run.json(f"likeness/{member(':'.join(names), layer)}")
            gains = [_gains(run, name, layer) for name in names]
            found.append((relation, layer, likeness, gains))
    table = stability_table(found, labels)
    run.put_bytes("csv", csv_text(table).encode())
    run.put_bytes("markdown", render(table).encode())


def _layers(run: Run, pair: str) -> list[int]:
    found = (name.rpartition("/layer_") for name in run.inputs)
    return sorted(int(layer) for place, _, layer in found if place == f"likeness/{pair}")


def _gains(run: Run, name: str, layer: int) -> dict[str, Any]:
    from clipsteer.steering.spread import set_gains
    from clipsteer.tables import read_parquet

    at = member(name, layer)
    if f"selection/{at}" not in run.inputs:
        return {}
    ablation, images = (read_parquet(run.blob(f"{kind}/{at}")) for kind in ("ablation", "images"))
    return set_gains(run.json(f"selection/{at}"), ablation, images)


def cost(job: Sizes) -> Cost:
    return job.python(2, 100, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
