"""Takes one released dictionary per layer into the store: the same function of an activation in our form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import each_layer, member_name
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "release(dictionaries) as release",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    token = job.facts("token")
    actions = each_layer(job, lambda layer: {})
    return {
        member_name(job, layer): Action(
            {**actions[member_name(job, layer)].recipe, "token": token[str(layer)]}
        )
        for layer in job.recipe["layers"]
    }


def compute(run: Run) -> None:
    from clipsteer.dictionaries.claimed import Expected
    from clipsteer.dictionaries.files import save
    from clipsteer.dictionaries.importing import import_dictionary
    from clipsteer.dictionaries.inputs import member
    from clipsteer.dictionaries.sources import Hub, download, relevant_files
    from clipsteer.errors import ClipsteerError
    from clipsteer.store.digest import digest_file

    recipe, token = run.recipe, run.recipe["token"]
    key = f"dictionaries.{run.runtime.name}"
    expected = Expected(layer=recipe["layer"], **recipe["release"])
    if "files" in token:
        path = Path(run.runtime.roots[member(run.runtime.name, recipe["layer"])])
        folder, names = relevant_files(path, f"{key}.source")
        for name in names:
            if digest_file(folder / name) != token["files"].get(name):
                raise ClipsteerError(
                    f"{folder / name}: was changed since the run began; run the same command again."
                )
    else:
        path = download(Hub(**token), f"{key}.source")
    found = import_dictionary(path, expected, key, run.scratch)
    folder = run.scratch / "dictionary"
    place = {"hook_point": expected.hook_point, "layer": expected.layer}
    save(found.dictionary, folder, {**place, **found.about})
    run.put_tree("dictionary", folder)
    for name in ("repo", "revision"):
        if name in token:
            run.fact(name, token[name])
    run.say(
        f"{found.about['format']}: {found.dictionary.architecture}, {found.dictionary.m:,} features, made for "
        f"{found.about['model'] or 'a model that it does not name'}"
    )


def cost(job: Sizes) -> Cost:
    """Fetched from the hub: a minute a layer; memory for a file and its copy in our form."""
    from clipsteer.lineage.resources import FLOAT, TORCH

    weights = 2.0 * job.features * job.vision["width"] * FLOAT / 1e6
    return job.takes(job.seconds(0) + 60 * job.block, TORCH + 2 * weights, 2 * job.block * weights)


if __name__ == "__main__":
    main(plan, compute, __doc__)
