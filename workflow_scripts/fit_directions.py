"""Directions of the attribute on the training split, for the baselines: mean difference, LEACE, a probe."""

from __future__ import annotations

from clipsteer.activations.inputs import array_inputs, open_reader
from clipsteer.dictionaries.inputs import member_name
from clipsteer.runner.step import Action, Job, Run, main

# Images of a block of sums: part of the result's last bits.
_BLOCK = 64


def plan(job: Job) -> dict[str, Action]:
    recipe = job.recipe
    labels = {"labels": job.output("manifest", "labels_train")}
    return {
        member_name(job, layer): Action(
            {k: recipe[k] for k in ("aggregate", "seed")},
            {**labels, **array_inputs(job, f"{recipe['hook_point']}/{layer:02d}")},
        )
        for layer in recipe["layers"]
    }


def compute(run: Run) -> None:
    import numpy as np
    from safetensors.torch import save

    from clipsteer.clip.device import one_thread
    from clipsteer.dictionaries.neurons import NeuronBasis
    from clipsteer.steering.directions import fit_directions, named_tensors
    from clipsteer.steering.moments import cells_of, possible_balances, token_moments
    from clipsteer.steering.statistics import feature_statistics
    from clipsteer.tables import parquet_bytes, read_parquet

    reader = open_reader(run)
    labels = read_parquet(run.blob("labels"))
    cells = cells_of(labels["target"].to_numpy(), labels["spurious"].to_numpy() == 1)
    # two passes: the moments, then the neurons' statistics
    progress = run.progress(2 * reader.n_images, "images", ("tokens", reader.n_tokens))
    with one_thread():
        fitted = token_moments(reader.batches(_BLOCK), cells, progress=progress)
        found = {
            balance: fit_directions(fitted, cells, balance, run.recipe["seed"])
            for balance in possible_balances(np.bincount(cells, minlength=fitted.n_cells))
        }
    run.put_bytes("directions", save(named_tensors(found)))
    neurons = feature_statistics(
        NeuronBasis(reader.width),
        reader.batches(_BLOCK),
        labels["group"].to_numpy(),
        aggregate=run.recipe["aggregate"],
        progress=progress,
    )
    progress.finish()
    run.put_bytes("neurons", parquet_bytes(neurons.table))


if __name__ == "__main__":
    main(plan, compute, __doc__)
