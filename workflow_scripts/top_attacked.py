"""The attacked images that a place's features answer to, with heat maps: those of F* with the largest difference."""

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

USES = ("dictionaries.architecture", "dictionaries.hook_point")
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    return each_layer(
        job,
        lambda layer: {
            **dictionary_inputs(job, layer),
            **array_inputs(job, array_name(job.recipe["hook_point"], layer)),
            "chosen": job.output("tuning", "chosen", member_name(job, layer)),
            "statistics": job.output("tuning", "statistics", member_name(job, layer)),
        },
    )


def compute(run: Run) -> None:
    import numpy as np

    from clipsteer.backbones.device import resolve_device
    from clipsteer.dictionaries.tokens import suited
    from clipsteer.report.attacked_top_images import ranked
    from clipsteer.report.top_images_figure import IMAGES, ROWS
    from clipsteer.steering.counts import Grouping
    from clipsteer.steering.statistics import difference
    from clipsteer.steering.top_images import Numbers, top_images
    from clipsteer.tables import parquet_bytes, read_parquet

    reader = open_reader(run)
    device = resolve_device(run.runtime.device)
    dictionary = suited(open_dictionary(run, reader.width, device), reader.cls)
    found = difference(read_parquet(run.blob("statistics")), Grouping(1, 2))
    # neurons stand for the model as it is: whatever validation took of them
    own_basis = run.recipe["architecture"] == "neurons"
    features = ranked(found, [] if own_basis else run.json("chosen")["features"], ROWS)
    progress = run.progress(reader.n_images, "images", ("tokens", reader.n_tokens))
    shown = top_images(
        *(dictionary, reader, features["feature"].to_numpy()),
        *(np.zeros(reader.n_images, np.int64), 1),
        numbers=Numbers(IMAGES, 0, 0, 1),
        seed=0,  # of the one image that is drawn, and not shown
        progress=progress,
    )
    progress.finish()
    run.put_bytes("features", parquet_bytes(features))
    run.put_bytes("examples", parquet_bytes(shown.examples))


def cost(job: Sizes) -> Cost:
    """One pass of the encoder."""
    return job.apply(job.images("validation"), ways=1)


if __name__ == "__main__":
    main(plan, compute, __doc__)
