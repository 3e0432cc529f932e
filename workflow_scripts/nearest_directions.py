"""Of the features that a page shows, the nearest directions in the table's other dictionaries of the same layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import member
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("hook_points(tables) as hook_points", "trained_architectures(tables) as architectures")
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architectures}",)

_NEAREST = 3


def plan(job: Job) -> dict[str, Action]:
    settings = {name: value for name, value in job.recipe.items() if name not in CUT}
    return {
        f"layer_{layer:02d}": Action(
            settings,
            {
                f"{output}/{name}": job.output(kind, output, member(name, layer))
                for name in job.recipe["hook_points"]
                for kind, output in (("dictionary", "dictionary"), ("top_images", "features"))
            },
        )
        for layer in job.recipe["layers"]
    }


def compute(run: Run) -> None:
    from clipsteer.dictionaries.files import load
    from clipsteer.steering.directions_beside import nearest_in_others
    from clipsteer.tables import parquet_bytes, read_parquet

    hooks = run.recipe["hook_points"]
    found = nearest_in_others(
        {name: load(run.folder(f"dictionary/{name}"), "cpu") for name in hooks},
        {name: read_parquet(run.blob(f"features/{name}"))["feature"].to_numpy() for name in hooks},
        hooks,
        _NEAREST,
    )
    run.put_bytes("nearest", parquet_bytes(found))


def cost(job: Sizes) -> Cost:
    """A product of some hundred directions with all of each other dictionary, all of which it holds."""
    from clipsteer.lineage.resources import TORCH, expansion

    width = job.vision["width"]
    names = job.config["tables"][job.names["dataset"]]
    sizes = [expansion(job.config["dictionaries"][name]) * width for name in names]
    shown = 4 * job.config["explorer"]["selected"] + 2 * job.config["explorer"]["ends"]
    work = job.block * 2.0 * shown * width * sum(sizes) * len(sizes)
    return job.takes(job.seconds(work, 1), TORCH + 2 * 4 * width * sum(sizes) / 1e6, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
