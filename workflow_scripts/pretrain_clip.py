"""Trains the embedded default's tiny CLIP on the captions of the painted worlds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("model.tiny.*", "not model.tiny.worlds", "seed")


def plan(job: Job) -> dict[str, Action]:
    # each world's captioned training images, and nothing else of its manifest
    captions = {name: job.output(name, "captions") for name in job.inputs if "/" not in name}
    return {"all": Action(job.recipe, captions, job.each("world"))}


def compute(run: Run) -> None:
    import numpy as np
    import polars as pl

    from clipsteer.backbones.pretrain import pretrain
    from clipsteer.data.source import ImageSource
    from clipsteer.errors import ClipsteerError
    from clipsteer.tables import parquet_bytes, read_parquet
    from clipsteer.training_length import without_effect

    recipe = dict(run.recipe)
    seed, size = recipe.pop("seed"), recipe["image_size"]
    for warning in without_effect(recipe, recipe["steps"], "model.tiny"):
        run.say(f"warning: {warning}")
    worlds = {name: read_parquet(run.blob(name)) for name in sorted(run.inputs)}
    rows = pl.concat(worlds.values())
    if (rows["text"] == "").any():
        raise ClipsteerError(
            "model.tiny.worlds: an image of these data sets has no caption; the tiny CLIP learns from "
            "captions. Give a captions.csv (path,text) beside the images, or point model.source at a CLIP."
        )
    pixels = np.empty((rows.height, size, size, 3), np.uint8)
    i = 0
    for name, world in worlds.items():
        images = [(*row, 0) for row in world.select("digest", "path").iter_rows()]
        source = ImageSource(run.store, run.files(name), images, 0, seed=None)
        for place in range(len(images)):
            pixels[i] = np.asarray(source.load(place).resize((size, size)))
            i += 1
    progress = run.progress(recipe["steps"], "steps", ("images", recipe["batch_size"]))
    with run.checkpoints.running(progress) as resume:
        log = pretrain(
            pixels,
            rows["text"].to_list(),
            run.scratch / "clip",
            config=recipe,
            seed=seed,
            progress=progress,
            resume=resume,
            offer=run.checkpoints.offer,
        )
    progress.finish()
    run.put_tree("model", run.scratch / "clip")
    run.put_bytes("log", parquet_bytes(pl.DataFrame(log)))


def cost(job: Sizes) -> Cost:
    """Both towers forward and back, on two threads; all pictures are held as bytes."""
    from clipsteer.lineage.resources import CLIP, FLOAT

    tiny = job.tiny
    # a batch has each caption once, and captions are short: about a quarter
    text = tiny["context_length"] * 6.0 * tiny["text_width"] ** 2 * tiny["text_layers"]
    forward = job.layer_flop * tiny["vision_layers"] + text
    images = sum(job.listed("train", world) for world in tiny["worlds"])
    held = images * float(tiny["image_size"]) ** 2 * 3 / 1e6
    # a batch's activations for the way back, about 40 values a token, layer and width
    tokens = job.vision["tokens"] * tiny["vision_layers"] * tiny["vision_width"]
    tokens += tiny["context_length"] * tiny["text_layers"] * tiny["text_width"]
    back = tiny["batch_size"] * 40.0 * tokens * FLOAT / 1e6
    flop = 3 * forward * tiny["steps"] * tiny["batch_size"]
    return job.takes(job.seconds(flop, threads=2), CLIP + held + back, 10)


if __name__ == "__main__":
    main(plan, compute, __doc__)
