"""Paints one small world in the layout of the real data set that it stands for."""

from __future__ import annotations

from importlib import import_module

from clipsteer.runner.step import Action, Job, Run, main


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe)}


def compute(run: Run) -> None:
    recipe = run.recipe
    painter = import_module(f"clipsteer.data.painters.{recipe['world']}")
    folder = run.scratch / "world"
    counts = recipe["counts"]
    total = sum(n if isinstance(n, int) else sum(n) for n in counts.values())
    progress = run.progress(total, "images")
    painter.paint(
        folder, counts=counts, size=recipe["size"], seed=recipe["seed"], progress=progress
    )
    progress.finish()
    run.put_tree("world", folder)


if __name__ == "__main__":
    main(plan, compute, __doc__)
