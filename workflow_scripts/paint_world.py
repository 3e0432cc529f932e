"""Paints one small world in the layout of the real data set that it stands for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("datasets.painted.*", "seed")
IMPORTS = ("clipsteer.data.painters.{world}",)


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe)}


def compute(run: Run) -> None:
    from clipsteer.data.packed import pack_folder

    recipe = run.recipe
    painter = import_module(f"clipsteer.data.painters.{recipe['world']}")
    folder = run.scratch / "world"
    counts = recipe["counts"]
    total = sum(n if isinstance(n, int) else sum(n) for n in counts.values())
    progress = run.progress(total, "images")
    # all settings but its name are the painter's own, so that none can be left out
    settings = {name: value for name, value in recipe.items() if name != "world"}
    painter.paint(folder, **settings, progress=progress)
    progress.finish()
    # one object, not thousands
    run.put_tree_digest("world", run.store.put_bytes(pack_folder(folder)))


def cost(job: Sizes) -> Cost:
    return job.painted(job.all_listed())


if __name__ == "__main__":
    main(plan, compute, __doc__)
