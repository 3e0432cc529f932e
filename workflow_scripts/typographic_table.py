"""Accuracy under typographic attacks by benchmark and defence, in the layout of the paper's Table 2, and by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipsteer.errors import ClipsteerError
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "typographic_datasets() as datasets",
    "typographic_model() as model",
    "typographic_places() as dictionaries",
    "papers_defences() as paper",
)


def plan(job: Job) -> dict[str, Action]:
    if not job.recipe["datasets"]:
        raise ClipsteerError(
            "results/typographic_table.csv: found no benchmark, expected some: typographic.benchmarks is empty. Name "
            "data sets there, and typographic.tuned_on."
        )
    inputs = job.of_members("tuning", "chosen", "chosen")
    for dataset, _ in job.recipe["datasets"]:
        inputs[f"labels/{dataset}"] = job.output(f"classes/{dataset}", "labels_test")
        inputs |= job.of_members(f"attacked/{dataset}", "answers", f"answers/{dataset}")
        if job.inputs["patched"].members:
            inputs[f"patched/{dataset}"] = job.output(f"patched/{dataset}", "answers")
            inputs["alpha"] = job.output("patched", "alpha")
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    import polars as pl

    from clipsteer.defences.evaluating import PATCHING
    from clipsteer.report import typographic as report
    from clipsteer.report.table import csv_text
    from clipsteer.report.typographic_figures import layers_figure
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    members = [key.removeprefix("chosen/") for key in run.inputs if key.startswith("chosen/")]
    layers = {member: int(member.rpartition("_")[2]) for member in members}
    last = max(layers.values())
    scales = {PATCHING: run.json("alpha")} if "alpha" in run.inputs else {}

    def chosen(member: str) -> dict[str, Any]:
        found = run.json(f"chosen/{member}")
        return {**found, "scales": {**found["scales"], **scales}}

    def answers(dataset: str, member: str) -> pl.DataFrame:
        names = (f"answers/{dataset}/{member}", f"patched/{dataset}")
        return pl.concat([read_parquet(run.blob(name)) for name in names if name in run.inputs])

    places = [
        report.Answered(
            *(dataset, source, hook_point, layers[member], name),
            chosen(member),
            answers(dataset, member),
            read_parquet(run.blob(f"labels/{dataset}")),
            papers and layers[member] == last,
        )
        for dataset, source in recipe["datasets"]
        for name, hook_point, _, papers in recipe["dictionaries"]
        for member in sorted(members)
        if member.rpartition("/")[0] == name
    ]
    tuned = recipe["datasets"][0][0]
    found = report.table(places, recipe["model"], tuned)
    run.put_bytes("csv", csv_text(found).encode())
    run.put_bytes("markdown", report.render(found, tuned, last).encode())
    figure = run.scratch / "layers.png"
    layers_figure(found, tuned, figure)
    run.put_file("figure", figure)


def cost(job: Sizes) -> Cost:
    return job.python(8, 300, 2.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
