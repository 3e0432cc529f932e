"""Trains one dictionary per layer on shuffled tokens (Section 4, Appendix 10)."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING

from clipsteer.activations.inputs import array_inputs, array_name, open_reader
from clipsteer.dictionaries.inputs import each_layer
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clipsteer.lineage.resources import Cost, Sizes

_MEDIAN_IMAGES = 512  # sample for the decoder bias: this many images, evenly spaced
_SAID: set[str] = set()  # warnings that hold for all layers of the job

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "dictionaries.training",
    "training_seed(seed) as seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    return each_layer(
        job, lambda layer: array_inputs(job, array_name(job.recipe["hook_point"], layer))
    )


def compute(run: Run) -> None:
    # Read by torch at its first allocation. Weights on huge pages take a fifth off a large step.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    import numpy as np

    from clipsteer.activations.batches import Shuffle, token_batches, tokens_per_epoch
    from clipsteer.backbones.device import resolve_device
    from clipsteer.dictionaries.files import save
    from clipsteer.dictionaries.train import Data, train
    from clipsteer.snapshots import Snapshots
    from clipsteer.tables import parquet_bytes
    from clipsteer.training_length import training_steps, without_effect

    recipe = run.recipe
    training = dict(recipe["training"])
    buffer_bytes = training.pop("buffer_mb") * 2**20
    epochs, batch_size = training["epochs"], training["batch_size"]
    # one stream of random numbers for each layer
    seed = recipe["seed"] * 1000 + recipe["layer"]
    reader = open_reader(run)
    key = f"dictionaries.{run.runtime.name or '<name>'}.training"
    steps = training_steps(training, tokens_per_epoch(reader), key)
    for warning in without_effect(training, steps, key):
        if warning not in _SAID:
            run.say(f"warning: {warning}")
            _SAID.add(warning)

    def sample() -> NDArray[np.floating]:
        places = np.unique(np.linspace(0, reader.n_images - 1, _MEDIAN_IMAGES).astype(int))
        images = np.concatenate([reader.read(i, i + 1) for i in places.tolist()])
        return images.reshape(-1, reader.width)

    def batches(done: int) -> Generator[NDArray[np.float32], None, None]:
        shuffle = Shuffle(batch_size, seed, buffer_bytes)
        return token_batches(reader, shuffle, epochs=epochs, start=done)

    progress = run.progress(steps, "steps", ("tokens", batch_size))
    with run.checkpoints.running(progress) as resume:
        dictionary, log = train(
            Data(batches, sample),
            {"architecture": recipe["architecture"], **training},
            steps=steps,
            seed=seed,
            device=resolve_device(run.runtime.device),
            progress=progress,
            snapshots=Snapshots(resume, run.checkpoints.offer),
        )
    progress.finish()
    folder = run.scratch / "dictionary"
    save(
        dictionary,
        folder,
        {k: recipe[k] for k in ("hook_point", "layer", "training", "seed")},
    )
    run.put_tree("dictionary", folder)
    run.put_bytes("log", parquet_bytes(log))
    last = log.row(-1, named=True)
    run.say("  ".join(f"{k} {last[k]:.4g}" for k in ("explained_variance", "l0", "dead")))


def cost(job: Sizes) -> Cost:
    """Every token of the training images in every epoch, forward and back."""
    from clipsteer.lineage.resources import FLOAT, READ, TORCH

    training, dataset = job.dictionary["training"], job.dictionary["trained_on"]
    layers, width, m = job.block, job.vision["width"], job.features
    images = job.images("train", dataset)
    if job.config["datasets"][dataset]["augment"]:
        images += job.images("train_augmented", dataset)
    tokens = float(images * job.vision["tokens"] * training["epochs"])
    read = job.stored(images, layers) * training["epochs"]
    parameters = 2.0 * m * width * FLOAT / 1e6
    # parameters, gradient, both means; a checkpoint's copy of three of them, twice while it is saved
    memory = TORCH + parameters * (4 + 6) + training["buffer_mb"]
    memory += 4 * training["batch_size"] * m * FLOAT / 1e6
    seconds = job.seconds(layers * tokens * 12.0 * m * width) + read / READ
    return job.takes(seconds, memory, layers * parameters + 3 * 3 * parameters)


if __name__ == "__main__":
    main(plan, compute, __doc__)
