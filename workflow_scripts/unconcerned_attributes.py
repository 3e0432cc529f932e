"""Attributes that edits are not meant to concern: heads from their prompts, and the test images' labels."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from clipsteer.runner.step import CACHES, Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes
    from clipsteer.store.trees import FileTree

USES = (
    "datasets.layout",
    "datasets.options",
    "unconcerned(datasets.unconcerned)",
    "painted_or_files(datasets.root) as source",
)
IMPORTS = ("clipsteer.data.layouts.{layout}",)


def plan(job: Job) -> dict[str, Action]:
    inputs = {name: job.output(name, name) for name in ("model", "manifest")}
    if job.recipe["source"] == "painted":
        return {"all": Action(job.recipe, {**inputs, "world": job.output("source", "world")})}
    # the token stands for the content of the user's folder (clipsteer/runner/scan.py)
    return {"all": Action({**job.recipe, "token": job.facts("source")}, inputs)}


def compute(run: Run) -> None:
    import torch
    from safetensors.torch import save

    from clipsteer.backbones.load import load_backbone
    from clipsteer.backbones.zero_shot import zero_shot_head
    from clipsteer.data.manifest import joined, split_rows
    from clipsteer.errors import ClipsteerError
    from clipsteer.runner.scan import ScannedTree, cached_digests
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe, name = run.recipe, run.runtime.name
    prompts, options = recipe["unconcerned"], recipe["options"]
    layout = import_module(f"clipsteer.data.layouts.{recipe['layout']}")
    tree: FileTree
    if recipe["source"] == "painted":
        tree = run.tree("world")
    else:
        tree = ScannedTree(run.runtime.roots[name], cached_digests(CACHES / f"scan-{name}"))
    try:
        rows = layout.attributes(tree, sorted(prompts), **options)
    except ClipsteerError as error:
        raise ClipsteerError(
            f"datasets.{name}.unconcerned: {error} Set those that are not there to null."
        ) from None
    canonical = None
    if recipe["source"] == "files":
        canonical = layout.canonical(rows["path"], tree.paths(), options)
    test = split_rows(read_parquet(run.blob("manifest")), "test")
    labels = joined(test["path"], rows, canonical).select(sorted(prompts))
    run.put_bytes("labels", parquet_bytes(labels))

    backbone = load_backbone(run.folder("model"), device=run.runtime.device)
    heads = [
        zero_shot_head(backbone, prompts[attribute], ["{}"], key=f"datasets.{name}.unconcerned")
        for attribute in sorted(prompts)
    ]
    run.put_bytes("heads", save({"heads": torch.stack(heads).cpu().contiguous()}))
    for attribute in labels.columns:
        run.say(f"{attribute}: {labels[attribute].sum()} of {labels.height} test images")


def cost(job: Sizes) -> Cost:
    """It reads the data set's labels, and loads the model."""
    from clipsteer.lineage.resources import CLIP

    labels = job.labels()
    return job.takes(job.seconds(0) + labels.seconds, CLIP + 3 * job.weights_mb + labels.memory_mb)


if __name__ == "__main__":
    main(plan, compute, __doc__)
