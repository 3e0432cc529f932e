"""Cuts the images of a split into shards: one list for each, so that a shard depends on its own images only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "split_of_images() as split",
    "copies(datasets.augment)",
    "activations.images_per_shard",
)


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe, {"manifest": job.output("manifest", "manifest")})}


def compute(run: Run) -> None:
    from clipsteer.data.manifest import split_rows
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    rows = split_rows(read_parquet(run.blob("manifest")), recipe["split"])
    copies = range(1, recipe["augment"] + 1) if recipe["augment"] else [0]
    # image by image, so that appended images come last
    sequence = [
        [*row, copy] for row in rows.select("digest", "path").iter_rows() for copy in copies
    ]
    size = recipe["images_per_shard"]
    for shard, start in enumerate(range(0, len(sequence), size)):
        images = sequence[start : start + size]
        run.put_json(f"{shard:05d}", {"images": images, "start": start})


def cost(job: Sizes) -> Cost:
    return job.labels()


if __name__ == "__main__":
    main(plan, compute, __doc__)
