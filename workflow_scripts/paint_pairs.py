"""Paints the pair of every image of a split of a painted world: the same picture but for the spurious attribute."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("datasets.painted.*", "split()", "seed")
IMPORTS = ("clipsteer.data.painters.{world}",)


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe)}


def compute(run: Run) -> None:
    from clipsteer.data.packed import pack_folder

    recipe = run.recipe
    painter = import_module(f"clipsteer.data.painters.{recipe['world']}")
    folder = run.scratch / "pairs"
    count = recipe["counts"].get(recipe["split"], 0)
    progress = run.progress(count if isinstance(count, int) else sum(count), "images")
    painter.paint_pairs(
        folder,
        counts=recipe["counts"],
        size=recipe["size"],
        seed=recipe["seed"],
        split=recipe["split"],
        progress=progress,
    )
    progress.finish()
    run.put_tree_digest("pairs", run.store.put_bytes(pack_folder(folder)))


def cost(job: Sizes) -> Cost:
    return job.painted(job.listed(job.names["split"]))


if __name__ == "__main__":
    main(plan, compute, __doc__)
