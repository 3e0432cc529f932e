"""Trains one matrix on image and text embeddings against printed words, the model fixed (Materzynska et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.defences.setting import steps_of, trained_inputs, trained_pairs
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("typographic.projection.*", "seed")


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        "head": job.output("heads", "head"),
        "scale": job.output("heads", "scale"),
    }
    return {"all": Action(job.recipe, {**inputs, **trained_inputs(job)})}


def compute(run: Run) -> None:
    import polars as pl
    from safetensors.torch import load, save

    from clipsteer.backbones.device import one_thread
    from clipsteer.defences.projection import ProjectionSettings, train_projection
    from clipsteer.tables import parquet_bytes

    recipe = dict(run.recipe)
    seed = recipe.pop("seed")
    pairs = trained_pairs(run, "cpu")
    steps = steps_of(recipe, len(pairs.targets))
    progress = run.progress(steps, "steps", ("pairs", recipe["batch_size"]))
    with one_thread():  # sums of gradients in one order
        matrix, losses = train_projection(
            load(run.blob("head"))["head"],
            run.json("scale"),
            pairs,
            ProjectionSettings(**recipe),
            seed=seed,
            progress=progress,
        )
    progress.finish()
    run.put_bytes("projection", save({"projection": matrix.contiguous()}))
    run.put_bytes("log", parquet_bytes(pl.DataFrame({"loss": losses})))
    run.say(f"loss {losses[0]:.3f} -> {losses[-1]:.3f} nats")


def cost(job: Sizes) -> Cost:
    """Products with a small matrix, on one thread."""
    settings, images = job.config["typographic"]["projection"], job.images("train")
    steps = steps_of(settings, images)
    width = job.vision["width"]
    flop = 3.0 * steps * settings["batch_size"] * 8.0 * width**2
    return job.takes(job.seconds(flop, threads=1), 500 + images * width * 16 / 1e6, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
