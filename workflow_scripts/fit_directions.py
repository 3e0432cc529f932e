"""Directions of the attribute on the training split, for the baselines: mean difference, LEACE, a probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.activations.inputs import array_inputs, array_name, open_reader
from clipsteer.dictionaries.inputs import each_layer
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "hook_point()",
    "steering.aggregate",
    "attribute_value()",
    "seed",
)
CUT = ("layers",)

# Images of a block of sums: part of the result's last bits.
_BLOCK = 64


def plan(job: Job) -> dict[str, Action]:
    labels = {"labels": job.output("manifest", "labels_train")}
    return each_layer(
        job,
        lambda layer: labels | array_inputs(job, array_name(job.recipe["hook_point"], layer)),
    )


def compute(run: Run) -> None:
    import numpy as np
    from safetensors.torch import save

    from clipsteer.backbones.device import one_thread
    from clipsteer.backbones.tokens import refuse_without_cls
    from clipsteer.dictionaries.neurons import NeuronBasis
    from clipsteer.steering.counts import grouping_of
    from clipsteer.steering.directions import fit_directions, named_tensors
    from clipsteer.steering.moments import cells_of, possible_balances, token_moments
    from clipsteer.steering.statistics import feature_statistics
    from clipsteer.tables import parquet_bytes, read_parquet

    reader = open_reader(run)
    refuse_without_cls("steering.aggregate", run.recipe["aggregate"], reader.cls)
    labels = read_parquet(run.blob("labels"))
    cells = cells_of(
        labels["target"].to_numpy(), labels["spurious"].to_numpy() == run.recipe["attribute_value"]
    )
    # two passes: the moments, then the neurons' statistics
    progress = run.progress(2 * reader.n_images, "images", ("tokens", reader.n_tokens))
    with one_thread():
        fitted = token_moments(reader.batches(_BLOCK), cells, cls=reader.cls, progress=progress)
        found = {
            balance: fit_directions(fitted, cells, balance, run.recipe["seed"])
            for balance in possible_balances(np.bincount(cells, minlength=fitted.n_cells))
        }
    run.put_bytes("directions", save(named_tensors(found)))
    neurons = feature_statistics(
        NeuronBasis(reader.width),
        reader.batches(_BLOCK),
        labels["group"].to_numpy(),
        grouping_of(labels.to_dict(as_series=False)),
        aggregate=run.recipe["aggregate"],
        progress=progress,
    )
    progress.finish()
    run.put_bytes("neurons", parquet_bytes(neurons.table))


def cost(job: Sizes) -> Cost:
    """Sums of products of all tokens, and Newton's steps of the probes, in float64 on one thread."""
    from clipsteer.lineage.resources import CPU, FLOAT, READ, TORCH

    images, width = job.images("train"), job.vision["width"]
    moments = 2.0 * images * job.vision["tokens"] * width**2
    probes = 200 * 2.0 * images * width**2  # all folds and penalties, for both balances
    read = 2 * job.stored(images, job.block) / READ
    memory = TORCH + (3.0 * images * width + 16.0 * width**2) * 2 * FLOAT / 1e6
    return job.takes(
        job.seconds(0) + job.block * (moments + probes) / (CPU / 2) + read, memory, 1.0
    )


if __name__ == "__main__":
    main(plan, compute, __doc__)
