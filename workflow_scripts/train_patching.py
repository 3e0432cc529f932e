"""Fine-tunes the vision tower against printed words, towards which weights are patched (Ilharco et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.defences.setting import image_inputs, steps_of
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "typographic.patching.*",
    "not typographic.patching.alphas",
    "model.crop",
    "seed",
)
_VIEWS = ("train", "train_attacked")


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        "model": job.output("model", "model"),
        "head": job.output("heads", "head"),
        "labels": job.output("classes", "labels_train"),
        **image_inputs(job, _VIEWS),
    }
    return {"all": Action(job.recipe, inputs, job.each("world"))}


def compute(run: Run) -> None:
    import polars as pl
    import torch
    from safetensors.torch import load, save

    from clipsteer.backbones.device import one_thread
    from clipsteer.backbones.load import load_backbone
    from clipsteer.defences.patching import PatchingSettings, Task, fine_tune
    from clipsteer.defences.setting import view_images
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe = dict(run.recipe)
    seed, crop = recipe.pop("seed"), recipe.pop("crop")
    backbone = load_backbone(run.folder("model"), device=run.runtime.device, crop=crop)
    targets = read_parquet(run.blob("labels"))["target"].to_numpy().astype("int64")
    clean, attacked = (view_images(run, view) for view in _VIEWS)
    task = Task(
        *(clean, attacked, torch.from_numpy(targets).to(backbone.device)),
        load(run.blob("head"))["head"].to(backbone.device),
    )
    steps = steps_of(recipe, len(targets))
    progress = run.progress(steps, "steps", ("pairs", recipe["batch_size"]))
    with one_thread():  # sums of gradients in one order
        weights, losses = fine_tune(
            backbone, task, PatchingSettings(**recipe), seed=seed, progress=progress
        )
    progress.finish()
    run.put_bytes("weights", save(weights))
    run.put_bytes("log", parquet_bytes(pl.DataFrame({"loss": losses})))
    run.say(f"loss {losses[0]:.3f} -> {losses[-1]:.3f} nats")


def cost(job: Sizes) -> Cost:
    """The vision tower forth and back on one thread, clean and attacked; weights, gradients, two moments of each."""
    from clipsteer.lineage.resources import CLIP, FLOAT

    settings, images = job.config["typographic"]["patching"], job.images("train")
    vision = job.vision
    seen = 2.0 * settings["epochs"] * images
    flop = 3.0 * seen * vision["layers"] * job.layer_flop
    back = 2.0 * settings["batch_size"] * 40 * vision["tokens"] * vision["layers"] * vision["width"]
    held = 2 * min(2.0**30, images * 3.0 * vision["pixels"] ** 2 * FLOAT)
    memory = CLIP + 6 * job.weights_mb + (back * FLOAT + held) / 1e6
    seconds = job.seconds(flop, threads=1) + job.decoding(seen)
    return job.takes(seconds, memory, job.weights_mb)


if __name__ == "__main__":
    main(plan, compute, __doc__)
