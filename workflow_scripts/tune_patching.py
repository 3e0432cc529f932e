"""Chooses on validation how far the weights go towards the fine-tuned ones, and writes the patched model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.defences.setting import image_inputs
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "typographic.patching.alphas",
    "typographic.clean_drop",
    "model.dtype as model_dtype",
    "model.crop",
)
_VIEWS = ("validation", "validation_attacked")


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        "model": job.output("model", "model"),
        "weights": job.output("patching", "weights"),
        "head": job.output("heads", "head"),
        "labels": job.output("classes", "labels_validation"),
        **image_inputs(job, _VIEWS),
    }
    return {"all": Action(job.recipe, inputs, job.each("world"))}


def compute(run: Run) -> None:
    import polars as pl
    from safetensors.torch import load

    from clipsteer.backbones.load import load_backbone
    from clipsteer.defences import patching
    from clipsteer.defences.setting import view_images
    from clipsteer.defences.tuning import choose_scale
    from clipsteer.steering.choose import AttackedUnderCleanDrop
    from clipsteer.steering.heads import Heads
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe, alphas = run.recipe, run.recipe["alphas"]
    folder, device = run.folder("model"), run.runtime.device
    whole = load_backbone(folder, device="cpu")
    backbone = load_backbone(
        folder, device=device, dtype=recipe["model_dtype"], crop=recipe["crop"]
    )
    weights = patching.vision_weights(whole), load(run.blob("weights"))
    targets = read_parquet(run.blob("labels"))["target"].to_numpy()
    classify = Heads(load(run.blob("head"))["head"].to(backbone.device)).codes
    clean, attacked = (view_images(run, view) for view in _VIEWS)
    progress = run.progress(2 * len(targets), "images", ("weights", 1 + len(alphas)))
    trials = patching.try_alphas(
        backbone, weights, alphas, (clean, attacked), (classify, targets), progress
    )
    progress.finish()
    alpha = choose_scale(alphas, trials, AttackedUnderCleanDrop(recipe["clean_drop"]))
    patched = run.scratch / "patched"
    patching.write_patched(whole, patching.between(*weights, alpha or 0.0), patched)
    run.put_tree("model", patched)
    run.put_json("alpha", alpha)
    counts = [trials.resumed, *trials.counts]
    sweep = {
        "alpha": [0.0, *alphas],
        "clean_correct": [found.correct[0] for found in counts],
        "attacked_correct": [found.correct[1] for found in counts],
        "images": [len(targets)] * len(counts),
    }
    run.put_bytes("sweep", parquet_bytes(pl.DataFrame(sweep)))
    run.say(f"alpha: {'none gains' if alpha is None else alpha}")


def cost(job: Sizes) -> Cost:
    """Both validation views once through the vision tower for each alpha; three copies of the weights."""
    from clipsteer.lineage.resources import CLIP

    alphas = 1 + len(job.config["typographic"]["patching"]["alphas"])
    seen = 2.0 * job.images("validation")
    seconds = job.seconds(alphas * seen * job.vision["layers"] * job.layer_flop)
    memory = CLIP + 8 * job.weights_mb
    return job.takes(seconds + job.decoding(seen), memory, 2 * job.weights_mb)


if __name__ == "__main__":
    main(plan, compute, __doc__)
