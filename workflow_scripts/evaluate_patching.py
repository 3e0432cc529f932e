"""What the patched model says of a benchmark's test images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.defences.setting import image_inputs
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("model.dtype as model_dtype", "model.crop")
_VIEWS = ("test", "test_attacked")


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        "model": job.output("patched", "model"),
        "head": job.output("heads", "head"),
        "labels": job.output("classes", "labels_test"),
        **image_inputs(job, _VIEWS),
    }
    return {"all": Action(job.recipe, inputs, job.each("world"))}


def compute(run: Run) -> None:
    from safetensors.torch import load

    from clipsteer.activations.inputs import open_backbone
    from clipsteer.defences.patching import answers
    from clipsteer.defences.setting import has_view, view_images
    from clipsteer.tables import parquet_bytes, read_parquet

    backbone = open_backbone(run, crop=run.recipe["crop"])
    targets = read_parquet(run.blob("labels"))["target"].to_numpy()
    views = {view: view_images(run, view) for view in _VIEWS if has_view(run, view)}
    progress = run.progress(len(views) * len(targets), "images")
    head = load(run.blob("head"))["head"].to(backbone.device)
    frame = answers(backbone, views, head, targets, progress)
    progress.finish()
    run.put_bytes("answers", parquet_bytes(frame))


def cost(job: Sizes) -> Cost:
    from clipsteer.lineage.resources import CLIP

    seen = 2.0 * job.images("test")
    seconds = job.seconds(seen * job.vision["layers"] * job.layer_flop) + job.decoding(seen)
    return job.takes(seconds, CLIP + 4 * job.weights_mb, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
