"""Trains Defense-Prefix for the model: one token before the class name, images fixed (Azuma and Matsui 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.defences.setting import steps_of, trained_inputs, trained_pairs
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("datasets.templates", "typographic.prefix.*", "seed")


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        "model": job.output("model", "model"),
        "classes": job.output("classes", "classes"),
    }
    return {"all": Action(job.recipe, {**inputs, **trained_inputs(job)})}


def compute(run: Run) -> None:
    import polars as pl
    from safetensors.torch import save

    from clipsteer.backbones.device import one_thread
    from clipsteer.backbones.load import load_backbone
    from clipsteer.defences.prefix import PrefixSettings, train_prefix
    from clipsteer.tables import parquet_bytes

    recipe = dict(run.recipe)
    seed, templates = recipe.pop("seed"), recipe.pop("templates")
    backbone = load_backbone(run.folder("model"), device=run.runtime.device)
    pairs = trained_pairs(run, backbone.device)
    steps = steps_of(recipe, len(pairs.targets))
    progress = run.progress(steps, "steps", ("pairs", recipe["batch_size"]))
    with one_thread():  # sums of gradients in one order
        token, losses = train_prefix(
            backbone,
            run.json("classes"),
            templates,
            pairs,
            PrefixSettings(**recipe),
            seed=seed,
            progress=progress,
        )
    progress.finish()
    run.put_bytes("prefix", save({"prefix": token}))
    run.put_bytes("log", parquet_bytes(pl.DataFrame({"loss": losses})))
    run.say(f"loss {losses[0]:.3f} -> {losses[-1]:.3f} nats")


def cost(job: Sizes) -> Cost:
    """The text tower forth and back on one thread, for every class at each step."""
    from clipsteer.lineage.resources import CLASSES, CLIP, FLOAT

    settings, images = job.config["typographic"]["prefix"], job.images("train")
    steps = steps_of(settings, images)
    layers, width, tokens = job.text
    flop = 3.0 * steps * CLASSES * tokens * layers * 24 * width**2
    flop += 3.0 * steps * settings["batch_size"] * 6 * CLASSES * width
    memory = CLIP + 3 * job.weights_mb + 40.0 * CLASSES * tokens * layers * width * FLOAT / 1e6
    memory += 2.0 * images * width * FLOAT / 1e6
    return job.takes(job.seconds(flop, threads=1), memory, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
