"""Steerability by feature and by layer, with the paper's Figures 5, 6, 7 and 9 (Section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes
    from clipsteer.report.steerability import Measurement

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "places(tables) as dictionaries",
    "steerability.gamma",
    "steerability.beta",
    "seed",
)
_OUTPUTS = ("scores", "curves", "about")


def plan(job: Job) -> dict[str, Action]:
    inputs = {name: job.output("vocabulary", name) for name in ("words", "embeddings")}
    for kind in ("steered", "random"):
        for output in _OUTPUTS:
            inputs |= job.of_members(kind, output, f"{kind}/{output}")
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    from safetensors.torch import load

    from clipsteer.report import steerability as tables
    from clipsteer.report import steerability_figures as figures
    from clipsteer.report.drawing import Title
    from clipsteer.report.table import csv_text
    from clipsteer.report.table_page import table_page
    from clipsteer.steering.layer_metrics import Thresholds
    from clipsteer.steering.steerability import distances

    recipe = run.recipe
    entries = run.json("words")
    _, length = distances(load(run.blob("embeddings"))["vocabulary"])
    words = tables.Words(entries, length)
    labels = {key: recipe[key] for key in ("dataset", "source", "model")}
    found = _measurements(run)
    thresholds = Thresholds(recipe["gamma"], recipe["beta"])
    features = tables.feature_rows(found, words, labels)
    layers = tables.layer_rows(found, words, labels, thresholds, recipe["seed"])
    run.put_bytes("csv", csv_text(features).encode())
    run.put_bytes("layers", csv_text(layers).encode())
    page = tables.render(layers)
    run.put_bytes("markdown", page.encode())
    run.put_bytes("html", table_page(page).encode())
    title = Title(**labels)
    shown = figures.shown_place(found)
    drawn = {
        name: run.scratch / f"{name}.png" for name in ("curves", "histogram", "by_layer", "words")
    }
    figures.curves_figure(shown, entries, drawn["curves"], title)
    figures.histogram_figure(found, recipe["gamma"], drawn["histogram"], title)
    figures.layers_figure(layers, drawn["by_layer"], title)
    figures.words_figure(shown, entries, drawn["words"], title)
    for name, path in drawn.items():
        run.put_file(name, path)


def _measurements(run: Run) -> list[Measurement]:
    """Those of the table's dictionaries in their order, then of random directions, by layer."""
    from clipsteer.report.steerability import FEATURES, RANDOM, Measurement
    from clipsteer.steering.outcomes import NEURONS
    from clipsteer.tables import read_parquet

    def measured(kind: str, member: str, hook_point: str, name: str, of: str) -> Measurement:
        scores, curves = (
            read_parquet(run.blob(f"{kind}/{output}/{member}")) for output in ("scores", "curves")
        )
        layer = int(member.rpartition("_")[2])
        about = run.json(f"{kind}/about/{member}")
        return Measurement(hook_point, layer, name, of, scores, curves, about)

    found = []
    for name, hook_point, architecture in run.recipe["dictionaries"]:
        of = NEURONS if architecture == "neurons" else FEATURES
        found += [
            measured("steered", member, hook_point, name, of)
            for member in _members(run, "steered", name)
        ]
    hook_points = dict.fromkeys(hook for _, hook, _ in run.recipe["dictionaries"])
    for hook_point in hook_points:
        found += [
            measured("random", member, hook_point, RANDOM, RANDOM)
            for member in _members(run, "random", hook_point)
        ]
    return found


def _members(run: Run, kind: str, name: str) -> list[str]:
    """The layers that were measured of a dictionary, or with random directions at a hook point."""
    before = f"{kind}/about/"
    members = [key.removeprefix(before) for key in run.inputs if key.startswith(before)]
    return sorted(member for member in members if member.rpartition("/")[0] == name)


def cost(job: Sizes) -> Cost:
    """A bootstrap of each layer, and figures."""
    return job.python(20 + 2.0 * job.extracted, 400, 20.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
