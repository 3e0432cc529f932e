"""What the model still makes of images where a dictionary's reconstructions stand for its activations (Tables 3, 4)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from clipsteer.dictionaries.inputs import each_layer
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import ablation_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "head.logit_scale",
    "model.dtype as model_dtype",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    # the head of a data set in class folders has the labels with it
    known = job.inputs["head"].members["all"].outputs
    labels = {"labels": job.output("head", "labels")} if "labels" in known else {}
    return each_layer(job, lambda layer: ablation_inputs(job, layer, "validation") | labels)


def compute(run: Run) -> None:
    # Read by torch at its first allocation. New pages for what a pass holds take a twentieth of it, huge ones do not.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from collections.abc import Iterator
    from functools import partial

    from safetensors.torch import load

    from clipsteer.activations.inputs import open_backbone, open_reader, open_stream
    from clipsteer.dictionaries.inputs import open_dictionary
    from clipsteer.dictionaries.spliced import Batch, Network, splice
    from clipsteer.dictionaries.tokens import suited
    from clipsteer.steering.inputs import BATCH_IMAGES, resumed_behind
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    backbone = open_backbone(run)
    reader, embeddings = open_reader(run), open_reader(run, "embedding")
    streams = open_stream(run)
    dictionary = suited(open_dictionary(run, reader.width, backbone.device), backbone.cls)
    layer = resumed_behind(recipe["hook_point"], recipe["layer"])

    def batches() -> Iterator[Batch]:
        for start, x in reader.batches(BATCH_IMAGES):
            stop = start + len(x)
            stream = streams.read(start, stop) if streams else None
            yield Batch(x, stream, embeddings.read(start, stop))

    network = Network(
        partial(backbone.resume, layer),
        backbone.tokens_read(layer),
        load(run.blob("head"))["head"].to(backbone.device),
        backbone.logit_scale if recipe["logit_scale"] == "model" else 1.0,
        backbone.cls,
    )
    targets = read_parquet(run.blob("labels"))["target"].to_numpy()
    progress = run.progress(reader.n_images, "images", ("tokens", reader.n_tokens))
    found, sparsity = splice(dictionary, network, batches(), targets, progress)
    progress.finish()
    run.put_json("spliced", found)
    run.put_json("sparsity", sparsity | {"grid": list(backbone.grid)})


def cost(job: Sizes) -> Cost:
    """Each image with its reconstruction, and with 0."""
    return job.resume("validation", 2)


if __name__ == "__main__":
    main(plan, compute, __doc__)
