"""Runs the CLIP once over a split and writes the residual stream of every layer into Zarr shards."""

from __future__ import annotations

from clipsteer.store.digest import canonical_json
from clipsteer.store.step import Action, Job, Run, main

_JOB_ONLY = ("part", "parts", "images_per_shard", "split")


def plan(job: Job) -> dict[str, Action]:
    from clipsteer.data.manifest import split_rows
    from clipsteer.tables import read_parquet

    recipe = job.recipe
    manifest = read_parquet(job.store.get_bytes(job.output("manifest", "manifest")))
    rows = split_rows(manifest, recipe["split"].removesuffix("_augmented"))
    copies = range(1, recipe["augment"] + 1) if recipe["augment"] else [0]
    # image by image, so that appended images come last
    sequence = [
        (*row, copy) for row in rows.select("digest", "path").iter_rows() for copy in copies
    ]

    size, model = recipe["images_per_shard"], job.output("model", "model")
    settings = {k: v for k, v in recipe.items() if k not in _JOB_ONLY}
    actions = {}
    for shard, start in enumerate(range(0, len(sequence), size)):
        if shard % recipe["parts"] != recipe["part"]:
            continue
        # the images of this shard, and no others, are what its content depends on
        listed = [list(item) for item in sequence[start : start + size]]
        digest = job.store.put_bytes(canonical_json({"images": listed, "start": start}))
        actions[f"{recipe['split']}/{shard:05d}"] = Action(
            settings, {"model": model, "images": digest}
        )
    return actions


_state: dict[str, object] = {}  # the model stays loaded between the shards of one job


def compute(run: Run) -> None:
    from clipsteer.activations.extract import extract_shard
    from clipsteer.clip.model import Clip, load_clip
    from clipsteer.data.source import ImageSource
    from clipsteer.store.trees import StoreTree

    recipe, listing = run.recipe, run.json("images")
    if "clip" not in _state:
        _state["clip"] = load_clip(
            run.folder("model"), device=run.runtime.device, dtype=recipe["model_dtype"]
        )
    clip = _state["clip"]
    assert isinstance(clip, Clip)
    start, images = listing["start"], listing["images"]
    source = ImageSource(
        run.store, run.runtime.roots.get(run.runtime.name), images, start, seed=recipe["seed"]
    )
    progress = run.progress(len(images), "images", ("tokens", clip.n_tokens))
    folder = run.scratch / "shard"
    nested = extract_shard(
        clip,
        source.load,
        start=start,
        stop=start + len(images),
        batch_size=recipe["batch_size"],
        hook_points=recipe["hook_points"],
        layers=recipe["layers"],
        dtype=recipe["dtype"],
        codec=recipe["codec"],
        folder=folder,
        describe=lambda index: str(images[index - start][1]),
        attributes={"model": run.inputs["model"], "images": run.inputs["images"]},
        progress=progress,
    )
    progress.finish()
    tree = StoreTree(run.store, run.put_tree("shard", folder, nested))
    for array in nested:  # a digest of its own for each layer: what later steps depend on
        run.put_tree_digest(array, tree.subtree(array).root_digest)
    run.fact("start", start)
    run.fact("stop", start + len(images))
    run.fact("tokens", clip.n_tokens)
    run.fact("width", clip.width)


if __name__ == "__main__":
    main(plan, compute, __doc__)
