"""Attacked images of each benchmark with what the model says before and after ablation, chosen by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "typographic_datasets() as datasets",
    "typographic_model() as model",
    "typographic_places() as dictionaries",
)


def plan(job: Job) -> dict[str, Action]:
    inputs = {}
    for dataset, _ in job.recipe["datasets"][1:]:
        for output in ("classes", "labels_test"):
            inputs[f"{output}/{dataset}"] = job.output(f"classes/{dataset}", output)
        members = job.inputs[f"attacked/{dataset}"].members
        names = [name for name, _, of, _ in job.recipe["dictionaries"] if of != "neurons"]
        own = [member for member in sorted(members) if member.rpartition("/")[0] in names[:1]]
        for member in own[-1:]:  # the last layer
            answers = job.output(f"attacked/{dataset}", "answers", member)
            inputs[f"answers/{dataset}/{member}"] = answers
        for shard in job.inputs[f"shards/{dataset}"].members["all"].outputs:
            inputs[f"shards/{dataset}/{shard}"] = job.output(f"shards/{dataset}", shard)
    return {"all": Action(job.recipe, inputs, job.each("world"))}


def compute(run: Run) -> None:
    from clipsteer.data.source import ImageSource
    from clipsteer.data.words import load_attacked
    from clipsteer.report.typographic_examples import Panel, draw, told
    from clipsteer.tables import read_parquet

    panels: list[Panel] = []
    where = ""
    for dataset, source in run.recipe["datasets"][1:]:
        ours = f"answers/{dataset}/"
        key = next((name for name in run.inputs if name.startswith(ours)), None)
        if key is None:  # no SAE among the dictionaries
            continue
        where = key.removeprefix(ours)
        labels = read_parquet(run.blob(f"labels_test/{dataset}"))
        examples = told(read_parquet(run.blob(key)), labels, run.json(f"classes/{dataset}"))
        images: dict[int, Image] = {}
        for name in sorted(n for n in run.inputs if n.startswith(f"shards/{dataset}/")):
            listing = run.json(name)
            start, stop = listing["start"], listing["start"] + len(listing["images"])
            place = run.files(dataset)
            files = ImageSource(run.store, place, listing["images"], start, seed=None)
            load = load_attacked(files.load, listing)
            images |= {e.row: load(e.row) for e in examples if start <= e.row < stop}
        panels.append(Panel(dataset, source, [(images[e.row], e) for e in examples]))
    figure = run.scratch / "examples.png"
    draw(panels, figure, f"{run.recipe['model']}, {where}")
    run.put_file("figure", figure)


def cost(job: Sizes) -> Cost:
    return job.python(6, 200, 2.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
