"""The negative control in one table: what the whole procedure gains when Eq. 9's labels are shuffled."""

from __future__ import annotations

from clipsteer.dictionaries.inputs import named_in
from clipsteer.runner.step import Action, Job, Run, main

USES = (
    "dataset()",
    "images_from() as source",
    "datasets.group_names",
    "hook_points()",
    "steering.strict",
    "steering.strict_slack",
    "steering.relaxed_drop",
)


def plan(job: Job) -> dict[str, Action]:
    inputs = job.of_members("control", "control")
    inputs["headline"] = job.output("table", "headline")
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    import polars as pl
    import polars.selectors as cs

    from clipsteer.report.negative_control import FIXED, control_rows, reached, render
    from clipsteer.report.table import csv_text
    from clipsteer.report.table_page import table_page
    from clipsteer.steering.choose import rules

    recipe, headline = run.recipe, run.json("headline")
    controls = {}
    for name in sorted(n for n in run.inputs if n.startswith("control/")):
        dictionary, layer = named_in(name.removeprefix("control/"))
        controls[layer, dictionary] = run.json(name)
    rows = control_rows(
        controls, headline, recipe["hook_points"], rules(recipe), recipe["group_names"]
    )
    labels = {key: recipe[key] for key in ("dataset", "source")}
    named = [pl.lit(value).alias(key) for key, value in labels.items()]
    run.put_bytes(
        "csv", csv_text(rows.select(*named, cs.all()).with_columns(cs.float().round(2))).encode()
    )
    page = render(rows, **labels, n_images=headline["n_images"])
    run.put_bytes("markdown", page.encode())
    run.put_bytes("html", table_page(page).encode())
    for condition in ("strict", "relaxed"):
        for kind, part in rows.filter(condition=condition).group_by(
            "place_of", maintain_order=True
        ):
            true, *gains = part["gain"].to_list()
            place = "the true labels' place" if kind == (FIXED,) else "places of their own"
            run.say(
                f"{condition}, {place}: true labels gain {true:+.1f} points; {reached(gains, true)} "
                f"shuffles gain as much (the best {max(gains):+.1f})"
            )


if __name__ == "__main__":
    main(plan, compute, __doc__)
