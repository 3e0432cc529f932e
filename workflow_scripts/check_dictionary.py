"""Sees whether a released dictionary fits the activations of the data set that is edited; else the run stops here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.activations.inputs import array_inputs, array_name, open_reader
from clipsteer.dictionaries.inputs import (
    dictionary_inputs,
    each_layer,
    member_name,
    open_dictionary,
)
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from clipsteer.activations.reader import ActivationReader
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "published(dictionaries.source) as published",
    "stops(dictionaries.check) as stops",
    "all_layers(activations.layers) as every_layer",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)

_IMAGES, _FEW, _AT_ONCE = 256, 64, 16  # measured on; the other ways are tried on; per block


def plan(job: Job) -> dict[str, Action]:
    hook_point, every = job.recipe["hook_point"], job.recipe["every_layer"]

    def inputs(layer: int) -> dict[str, str]:
        found = {
            **dictionary_inputs(job, layer),
            **array_inputs(job, array_name(hook_point, layer)),
        }
        for other in every:
            if other != layer:
                found |= array_inputs(job, array_name(hook_point, other), f"other_{other:02d}")
        return found

    def recipe(layer: int, action: Action) -> dict[str, object]:
        row = job.recipe["published"].get(str(layer), {})
        return {**action.recipe, "published": row}

    actions = each_layer(job, inputs)
    return {
        member_name(job, layer): Action(recipe(layer, action), action.inputs)
        for layer, action in ((n, actions[member_name(job, n)]) for n in job.recipe["layers"])
    }


def compute(run: Run) -> None:
    from functools import partial

    from clipsteer.backbones.device import resolve_device
    from clipsteer.dictionaries.files import describe
    from clipsteer.dictionaries.gate import judge, measure, other_ways
    from clipsteer.dictionaries.tokens import suited
    from clipsteer.errors import ClipsteerError

    recipe = run.recipe
    layer, key = recipe["layer"], f"dictionaries.{run.runtime.name}, layer {recipe['layer']}"
    device = resolve_device(run.runtime.device)
    reader = open_reader(run)
    dictionary = suited(open_dictionary(run, reader.width, device), reader.cls)
    measured = partial(measure, cls=reader.cls)
    about = describe(run.folder("dictionary"))["metadata"]
    try:
        found = measured(dictionary, partial(_spread, reader, _IMAGES))
        some = partial(_spread, reader, _FEW)
        few = measured(dictionary, some).explained_variance
        ways = other_ways(dictionary, subtracts_b_dec=about["subtracts_b_dec"])
        others = {
            words: measured(other, some, layer_norm=norm).explained_variance
            for words, (other, norm) in ways.items()
        }
        for number in recipe["every_layer"]:
            if number != layer:
                there = partial(_spread, open_reader(run, f"other_{number:02d}"), _FEW)
                others[f"on layer {number}"] = measured(dictionary, there).explained_variance
    except ClipsteerError as error:
        raise ClipsteerError(f"{key}: {error}") from error
    verdict = judge(found, few, others, recipe["published"])
    verdict["images"] = min(_IMAGES, reader.n_images)
    verdict["tokens"] = dictionary.tokens
    run.say(verdict["sentence"])
    if verdict["verdict"] == "reject" and recipe["stops"]:
        raise ClipsteerError(
            f"{key}: {verdict['sentence']}, on {verdict['images']} validation images. Nothing more is computed with "
            f"it: take the dictionary that belongs to this model, layer and hook point, or set its `check: report` to "
            "have the table all the same."
        )
    run.put_tree_digest("dictionary", run.inputs["dictionary"])
    run.put_json("check", verdict)


def _spread(reader: ActivationReader, images: int) -> Iterator[NDArray[np.floating]]:
    """Blocks of so many images, evenly over the split."""
    import numpy as np

    places = np.unique(np.linspace(0, reader.n_images - 1, images).astype(int)).tolist()
    for start in range(0, len(places), _AT_ONCE):
        yield np.concatenate([reader.read(i, i + 1) for i in places[start : start + _AT_ONCE]])


def cost(job: Sizes) -> Cost:
    """A few hundred images, and as many again in other ways and on other layers."""
    return job.apply(_IMAGES + _FEW * (4 + job.extracted))


if __name__ == "__main__":
    main(plan, compute, __doc__)
