"""The figure of pairs: the true effect against what an edit did, image by image, SAE beside the best baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "model.name as model",
    "names_given(datasets.class_names) as class_names",
)


def plan(job: Job) -> dict[str, Action]:
    found = job.inputs["baselines"].members["all"].outputs  # none where no image has a pair
    inputs = {name: found[name].digest for name in ("effects",) if name in found}
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    from clipsteer.errors import ClipsteerError
    from clipsteer.report.drawing import Title
    from clipsteer.report.pairs_figure import pairs_figure
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    if "effects" not in run.inputs:
        raise ClipsteerError(
            f"datasets.{recipe['dataset']}: found no test image with a pair; expected the path of one in the column "
            "'pair' of its manifest (docs/configuration.md). Without pairs there is no such figure."
        )
    figure = run.scratch / "pairs.png"
    title = Title(recipe["dataset"], recipe["model"], recipe["source"])
    pairs_figure(
        read_parquet(run.blob("effects")), figure, title=title, class_names=recipe["class_names"]
    )
    run.put_file("figure", figure)


def cost(job: Sizes) -> Cost:
    return job.embeddings()


if __name__ == "__main__":
    main(plan, compute, __doc__)
