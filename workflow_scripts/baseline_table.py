"""Controls and baselines in one table beside the SAE's features, as a page and a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import named_in
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    import polars as pl

    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "datasets.group_names",
    "names_given(datasets.class_names) as class_names",
    "trained(tables) as dictionaries",
    "steering.balance",
    "attribute_value()",
    "steering.strict",
    "steering.strict_slack",
    "steering.relaxed_drop",
)


# Inputs that hold trials: of layers, of layers and dictionaries, of none of the two.
_TRIALS = ("directed", "steered", "trials")


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        **job.of_members("directed", "trials", "directed"),
        **job.of_members("steered", "trials", "steered"),
    }
    inputs |= {name: job.output("readout", name) for name in ("trials", "images", "unconcerned")}
    if job.inputs["pairs"].members:
        inputs["pairs"] = job.output("pairs", "pairs")
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    from clipsteer.report.baselines import baselines_table, render
    from clipsteer.report.baselines_figure import baselines_figure
    from clipsteer.report.table import csv_text
    from clipsteer.report.table_page import table_page
    from clipsteer.steering.choose import rules
    from clipsteer.steering.compared import compare
    from clipsteer.steering.contenders import effects
    from clipsteer.steering.pairs import Pairs
    from clipsteer.steering.unconcerned import balanced_accuracies
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe = run.recipe
    names = recipe["group_names"]
    unconcerned = read_parquet(run.blob("unconcerned"))
    trials, images = _trials(run), read_parquet(run.blob("images"))
    pairs = None
    if "pairs" in run.inputs:
        pairs = Pairs.of(images, read_parquet(run.blob("pairs")), recipe["attribute_value"])
    found = compare(
        trials, images, unconcerned, n_groups=len(names), rules=rules(recipe), pairs=pairs
    )
    if pairs is not None:
        shown = effects(trials, rules(recipe), recipe["balance"], pairs)
        run.put_bytes("effects", parquet_bytes(shown))
    labels = {key: recipe[key] for key in ("dataset", "source", "model")}
    table = baselines_table(found, **labels, group_names=names)
    run.put_bytes("csv", csv_text(table).encode())
    counts = (unconcerned[name].to_list() for name in ("attribute", "images", "correct"))
    page = render(
        table,
        balance=recipe["balance"],
        group_names=names,
        class_names=recipe["class_names"],
        attributes=balanced_accuracies(*counts),
    )
    run.put_bytes("markdown", page.encode())
    run.put_bytes("html", table_page(page).encode())
    figure = run.scratch / "baselines.png"
    baselines_figure(table, figure, balance=recipe["balance"], group_names=names)
    run.put_file("figure", figure)


def _trials(run: Run) -> pl.DataFrame:
    """The trials of all places: with hook point and layer, and with the dictionary where it is one's."""
    import polars as pl

    from clipsteer.tables import read_parquet

    hooks = dict(run.recipe["dictionaries"])
    order = list(hooks)

    def placed(name: str) -> tuple[str | None, int | None, str | None]:
        kind, _, member = name.partition("/")
        if kind == "trials":
            return None, None, None
        head, layer = named_in(member)
        if kind == "steered":
            return hooks[head], layer, head
        return head, layer, None

    frames = []
    members = [name for name in run.inputs if name.partition("/")[0] in _TRIALS]
    for name in sorted(
        members, key=lambda name: (order.index(d) if (d := placed(name)[2]) else -1, name)
    ):
        hook_point, layer, dictionary = placed(name)
        frames.append(
            read_parquet(run.blob(name)).with_columns(
                pl.lit(hook_point, pl.String).alias("hook_point"),
                pl.lit(layer, pl.Int64).alias("layer"),
                pl.lit(dictionary, pl.String).alias("dictionary"),
            )
        )
    return pl.concat(frames)


def cost(job: Sizes) -> Cost:
    return job.embeddings()


if __name__ == "__main__":
    main(plan, compute, __doc__)
