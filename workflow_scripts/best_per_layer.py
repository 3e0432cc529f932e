"""The paper's Table 1: each layer's best dictionary, chosen on validation, for all data sets side by side."""

from __future__ import annotations

from clipsteer.errors import ClipsteerError
from clipsteer.runner.step import Action, Job, Run, main

USES = ("tables(tables) as datasets", "papers_best() as paper")


def plan(job: Job) -> dict[str, Action]:
    if not job.inputs:
        raise ClipsteerError(
            "results/table1.csv: found no data set with dictionaries in `tables`, expected at least one: it is made "
            "of the data sets' own tables. Name some dictionaries in tables.<data set>."
        )
    inputs = {
        f"{dataset}/{output}": job.output(dataset, output)
        for dataset in job.inputs
        for output in ("csv", "headline")
    }
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    import io

    import polars as pl

    from clipsteer.report.best_per_layer import best_per_layer, render
    from clipsteer.report.table import csv_text
    from clipsteer.report.table_page import table_page

    tables = {}
    for dataset in run.recipe["datasets"]:
        table = pl.read_csv(io.BytesIO(run.blob(f"{dataset}/csv")), infer_schema_length=None)
        tables[dataset] = best_per_layer(table, run.json(f"{dataset}/headline")["strict"])
    run.put_bytes("csv", csv_text(pl.concat(tables.values(), how="diagonal")).encode())
    page = render(tables)
    run.put_bytes("markdown", page.encode())
    run.put_bytes("html", table_page(page).encode())


if __name__ == "__main__":
    main(plan, compute, __doc__)
