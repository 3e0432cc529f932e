"""How alike pairs of dictionaries are at each layer: their features, the sets selected with them, and random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipsteer.dictionaries.inputs import member
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.dictionaries.likeness import Side
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("seed",)
CUT = ("layers", "compared")

_INPUTS = ("dictionary", "statistics", "selection")


def plan(job: Job) -> dict[str, Action]:
    def inputs(layer: int, names: list[str]) -> dict[str, str]:
        return {
            f"{side}/{kind}": job.output(kind, kind, member(name, layer))
            for side, name in zip("ab", names, strict=True)
            for kind in _INPUTS
            if member(name, layer) in job.inputs[kind].members
        }

    return {
        member(":".join(names), layer): Action(
            {"seed": job.recipe["seed"], "layer": layer}, inputs(layer, names)
        )
        for layer in job.recipe["layers"]
        for names in job.recipe["compared"]
    }


def compute(run: Run) -> None:
    from clipsteer.dictionaries.likeness import compare

    found = compare(
        _side(run, "a"), _side(run, "b"), run.recipe["seed"] * 1000 + run.recipe["layer"]
    )
    run.put_json("likeness", found)
    if "cosine" in found:
        run.say(f"cosine {found['cosine']:.3f}, of random ones {found['random_cosine']:.3f}")


def _side(run: Run, side: str) -> Side:
    from clipsteer.dictionaries.files import directions
    from clipsteer.dictionaries.likeness import Side
    from clipsteer.steering.feature_set import chosen_sets
    from clipsteer.steering.statistics import firing_frequency
    from clipsteer.tables import read_parquet

    sets: dict[str, Any] = {}
    if f"{side}/selection" in run.inputs:
        chosen = chosen_sets(run.json(f"{side}/selection"))
        sets = {condition: found.features.tolist() for condition, found in chosen.items()}
    return Side(
        directions(run.folder(f"{side}/dictionary")),
        firing_frequency(read_parquet(run.blob(f"{side}/statistics"))),
        sets,
    )


def cost(job: Sizes) -> Cost:
    """Cosines of all pairs of features, and of as many random ones, for about ten pairs of dictionaries."""
    from clipsteer.lineage.resources import FLOAT, TORCH, expansion

    named = job.config["tables"][job.names["dataset"]]
    m = max(expansion(job.config["dictionaries"][name]) for name in named) * job.vision["width"]
    width, pairs = job.vision["width"], 10
    seconds = job.seconds(job.block * pairs * 2 * 2.0 * m * m * width)
    if m <= 8192:
        seconds += job.block * pairs * 2 * 3e-10 * m**3
    return job.takes(seconds, TORCH + 4 * m * width * FLOAT / 1e6 + 600, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
