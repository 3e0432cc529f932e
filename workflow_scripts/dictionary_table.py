"""What each dictionary is worth on a data set, by layer (Tables 3 and 4): quality, and what the model makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes
    from clipsteer.report.quality import Place

USES = (
    "dataset()",
    "images_from() as source",
    "datasets.layout",
    "words_of_folders(datasets.class_words) as class_words",
    "datasets.templates",
    "model.name as model",
    "model_shape()",
    "head.logit_scale",
    "valued(dictionary_tables) as dictionaries",
    "papers_quality()",
)


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        **job.of_members("evaluation", "evaluation"),
        **job.of_members("spliced", "spliced"),
        **job.of_members("check", "check"),
    }
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    from clipsteer.report.quality import quality
    from clipsteer.report.quality_pages import PAGES, Setting, page

    places = _places(run)
    setting = Setting(**{name: run.recipe[name] for name in Setting._fields})
    table = quality(places, setting.dataset, setting.source)
    run.put_bytes("csv", table.write_csv(float_precision=4).encode())
    for kind in PAGES:
        run.put_bytes(kind, page(kind, places, setting).encode())


def _places(run: Run) -> list[Place]:
    """By dictionary in the table's order, then by layer."""
    from clipsteer.report.quality import Place

    found = []
    for settings in run.recipe["dictionaries"]:
        before = f"evaluation/{settings['name']}/"
        for name in sorted(name for name in run.inputs if name.startswith(before)):
            member = name.removeprefix("evaluation/")
            check = f"check/{member}"
            found.append(
                Place(
                    settings,
                    int(member.rpartition("_")[2]),
                    run.json(name),
                    run.json(f"spliced/{member}"),
                    run.json(check) if check in run.inputs else None,
                )
            )
    return found


def cost(job: Sizes) -> Cost:
    """A few numbers of each place."""
    return job.python(1, 50, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
