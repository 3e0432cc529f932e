"""The point of a dictionary's grid that tables use, at each layer, by quality on the validation images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import each_layer, member
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "choice(dictionaries.choose) as choice",
    "candidates(dictionaries.grid) as points",
)
CUT = ("layers", "candidate_names")


def plan(job: Job) -> dict[str, Action]:
    names = job.recipe["candidate_names"]  # where points lie, and no part of what is done

    def inputs(layer: int) -> dict[str, str]:
        return {
            f"{name}/{number:03d}": job.output(name, name, member(point, layer))
            for number, point in enumerate(names)
            for name in ("dictionary", "evaluation")
        }

    return {
        place: Action(
            {k: v for k, v in action.recipe.items() if k != "candidate_names"}, action.inputs
        )
        for place, action in each_layer(job, inputs).items()
    }


def compute(run: Run) -> None:
    from clipsteer.dictionaries.pareto import Quality, take

    recipe = run.recipe
    measured = [run.json(f"evaluation/{number:03d}") for number in range(len(recipe["points"]))]
    quality = [Quality(m["l0"], m["explained_variance"]) for m in measured]
    key = f"dictionaries.{run.runtime.name or '<name>'}"
    number = take(quality, recipe["choice"], key)
    point = recipe["points"][number]
    run.put_tree_digest("dictionary", run.inputs[f"dictionary/{number:03d}"])
    run.put_json("choice", {"point": point, "of": len(quality), **quality[number]._asdict()})
    words = ", ".join(f"{name} {value}" for name, value in point.items())
    run.say(f"{words}: l0 {quality[number].l0:.4g}, of {len(quality)} points")


def cost(job: Sizes) -> Cost:
    return job.python()


if __name__ == "__main__":
    main(plan, compute, __doc__)
