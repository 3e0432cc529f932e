"""What the unmodified model says of each test image's pair: its class margin, which an ideal edit would reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "model.dtype as model_dtype",
    "model.crop",
    "activations.batch_size",
)


def plan(job: Job) -> dict[str, Action]:
    inputs = {name: job.output(name, name) for name in ("model", "head", "manifest")}
    if job.inputs["painted"].members:
        # they are where the painter put them, under their images' names
        inputs["pairs"] = job.output("painted", "pairs")
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    import numpy as np
    import polars as pl
    import torch
    from safetensors.torch import load

    from clipsteer.activations.extract import Images, embed
    from clipsteer.activations.inputs import open_backbone
    from clipsteer.backbones.zero_shot import zero_shot_logits
    from clipsteer.data.manifest import split_rows
    from clipsteer.data.source import ImageSource
    from clipsteer.steering.pairs import margins
    from clipsteer.tables import parquet_bytes, read_parquet

    manifest = read_parquet(run.blob("manifest"))
    rows = split_rows(manifest, "test")
    painted = run.tree("pairs") if "pairs" in run.inputs else None
    if painted is not None:
        rows = rows.with_columns(pair="path")
    paired = np.flatnonzero(rows["pair"].is_not_null().to_numpy())
    paths: list[str] = rows["pair"][paired].to_list()
    found = pl.DataFrame(
        {"row": paired, "margin": None, "prediction": None},
        {"row": pl.Int64(), "margin": pl.Float64(), "prediction": pl.Int16()},
    )
    if paths:
        known = dict(manifest.select("path", "digest").iter_rows())
        digests = [known[path] if painted is None else painted.digest(path) for path in paths]
        place = run.files(run.runtime.name) if painted is None else painted
        images = [(digest, path, 0) for digest, path in zip(digests, paths, strict=True)]
        source = ImageSource(run.store, place, images, 0, seed=None)
        progress = run.progress(len(paths), "images")
        backbone = open_backbone(run, crop=run.recipe["crop"])
        pictures = Images(source.load, 0, len(paths), lambda index: paths[index])
        size = run.recipe["batch_size"]
        embeddings = embed(backbone, pictures, batch_size=size, progress=progress)
        progress.finish()
        scores = zero_shot_logits(torch.from_numpy(embeddings), load(run.blob("head"))["head"])
        targets = rows["target"][paired].to_numpy()
        found = found.with_columns(
            margin=pl.Series(margins(scores.numpy(), targets)),
            prediction=pl.Series(scores.argmax(dim=-1).numpy(), dtype=pl.Int16),
        )
    every = pl.DataFrame({"row": range(rows.height)}, {"row": pl.Int64()})
    frame = every.join(found, on="row", how="left", maintain_order="left").drop("row")
    run.put_bytes("pairs", parquet_bytes(frame))
    run.fact("pairs", len(paths))
    run.say(f"{len(paths)} of {rows.height} test images have a pair")


def cost(job: Sizes) -> Cost:
    """One forward pass of as many images as the test split has."""
    from clipsteer.lineage.resources import CLIP, FLOAT

    images, vision = job.images("test"), job.vision
    batch = job.config["activations"]["batch_size"] * vision["tokens"] * vision["width"]
    seconds = job.seconds(images * vision["layers"] * job.layer_flop)
    seconds += job.decoding(images, job.threads)
    return job.takes(seconds, CLIP + 3 * job.weights_mb + 8 * batch * FLOAT / 1e6, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
