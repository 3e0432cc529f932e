"""Trains one dictionary per layer on shuffled tokens (Section 4, Appendix 10)."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING

from clipsteer.activations.inputs import array_inputs, open_reader
from clipsteer.dictionaries.inputs import member_name
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MEDIAN_IMAGES = 512  # sample for the decoder bias: this many images, evenly spaced
_SAID: set[str] = set()  # warnings that hold for all layers of the job


def plan(job: Job) -> dict[str, Action]:
    recipe = job.recipe
    settings = {k: v for k, v in recipe.items() if k != "layers"}
    return {
        member_name(job, layer): Action(
            {**settings, "layer": layer}, array_inputs(job, f"{recipe['hook_point']}/{layer:02d}")
        )
        for layer in recipe["layers"]
    }


def compute(run: Run) -> None:
    # Read by torch at its first allocation. Weights on huge pages take a fifth off a large step.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    import numpy as np

    from clipsteer.activations.batches import token_batches, tokens_per_epoch
    from clipsteer.clip.device import resolve_device
    from clipsteer.dictionaries.files import save
    from clipsteer.dictionaries.train import train
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
        return token_batches(
            reader,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            buffer_bytes=buffer_bytes,
            start=done,
        )

    progress = run.progress(steps, "steps", ("tokens", batch_size))
    with run.checkpoints.running(progress) as resume:
        dictionary, log = train(
            batches,
            steps=steps,
            architecture=recipe["architecture"],
            config=training,
            sample=sample,
            seed=seed,
            device=resolve_device(run.runtime.device),
            progress=progress,
            resume=resume,
            offer=run.checkpoints.offer,
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


if __name__ == "__main__":
    main(plan, compute, __doc__)
