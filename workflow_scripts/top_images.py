"""The images that a place's features answer to, with heat maps: selected features, controls, ends of Eq. 9."""

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
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "attribute_value()",
    "steering.balance",
    "explorer.split",
    "explorer.selected",
    "explorer.ends",
    "explorer.examples",
    "seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)

_NEAREST = 5


def plan(job: Job) -> dict[str, Action]:
    labels = {"labels": job.output("manifest", f"labels_{job.recipe['split']}")}
    return each_layer(
        job,
        lambda layer: {
            **labels,
            **dictionary_inputs(job, layer),
            **array_inputs(job, array_name(job.recipe["hook_point"], layer)),
            "statistics": job.output("statistics", "statistics", member_name(job, layer)),
            "selection": job.output("selection", "selection", member_name(job, layer)),
        },
    )


def compute(run: Run) -> None:
    import numpy as np

    from clipsteer.backbones.device import resolve_device
    from clipsteer.dictionaries.tokens import suited
    from clipsteer.steering.counts import grouping_of
    from clipsteer.steering.feature_set import chosen_sets
    from clipsteer.steering.statistics import difference, firing_frequency
    from clipsteer.steering.top_images import Numbers, by_group, looked_at, nearest, top_images
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe, sets = run.recipe, chosen_sets(run.json("selection"))
    device = resolve_device(run.runtime.device)
    reader = open_reader(run)
    dictionary = suited(open_dictionary(run, reader.width, device), reader.cls)
    statistics, labels = (read_parquet(run.blob(name)) for name in ("statistics", "labels"))
    grouping = grouping_of(labels.to_dict(as_series=False))
    frequency = firing_frequency(statistics)
    neurons = recipe["architecture"] == "neurons"
    if neurons:  # a coordinate is never dead, whatever its sign
        frequency = np.ones(dictionary.m)
    chosen = looked_at(
        difference(
            statistics, grouping, value=recipe["attribute_value"], balance=recipe["balance"]
        ),
        frequency,
        {name: found.features for name, found in sets.items()},
        selected=recipe["selected"],
        ends=recipe["ends"],
        seed=recipe["seed"],
    )
    features = chosen["feature"].to_numpy()
    progress = run.progress(reader.n_images, "images", ("tokens", reader.n_tokens))
    found = top_images(
        dictionary,
        reader,
        features,
        labels["group"].to_numpy(),
        grouping.n_groups,
        numbers=Numbers(**recipe["examples"]),
        seed=recipe["seed"],
        progress=progress,
    )
    progress.finish()
    table = chosen
    for more in (
        by_group(statistics, features, rectified=not neurons),
        found.features,
        nearest(dictionary, features, _NEAREST),
    ):
        table = table.join(more, on="feature", how="left", maintain_order="left")
    run.put_bytes("features", parquet_bytes(table))
    run.put_bytes("examples", parquet_bytes(found.examples))
    basis = f"the basis of width {reader.width}"
    trained = run.inputs.get("dictionary", basis)
    about = {"m": dictionary.m, "cls": reader.cls, "dictionary": trained}
    run.put_json("about", about)


def cost(job: Sizes) -> Cost:
    """One pass of the encoder; the images kept of a few hundred features are little."""
    return job.apply(job.images(job.config["explorer"]["split"]), ways=1)


if __name__ == "__main__":
    main(plan, compute, __doc__)
