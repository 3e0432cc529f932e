"""Cuts a split's images into shards once more, each image with the word that is printed on it when it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "split_of_images() as split",
    "activations.images_per_shard",
    "datasets.attack.look",
    "fonts(datasets.attack.fonts)",
    "seed",
)


def plan(job: Job) -> dict[str, Action]:
    words = job.output("classes", f"words_{job.recipe['split']}")
    return {"all": Action(job.recipe, {"words": words})}


def compute(run: Run) -> None:
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    rows = read_parquet(run.blob("words"))
    how = {name: recipe[name] for name in ("look", "fonts", "seed")}
    size = recipe["images_per_shard"]
    for shard, start in enumerate(range(0, rows.height, size)):
        part = rows.slice(start, size)
        run.put_json(
            f"{shard:05d}",
            {
                "images": [[*row, 0] for row in part.select("digest", "path").iter_rows()],
                "start": start,
                "words": part["printed"].to_list(),
                "attack": how,
            },
        )


def cost(job: Sizes) -> Cost:
    return job.labels()


if __name__ == "__main__":
    main(plan, compute, __doc__)
