"""Runs the CLIP once over a split and writes the residual stream of every layer into Zarr shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes
    from clipsteer.runner.wider import Narrowed
    from clipsteer.store.objects import ObjectStore

USES = (
    "activations.dtype",
    "activations.codec",
    "activations.batch_size",
    "with_resid_post(activations.hook_points)",
    "all_layers(activations.layers)",
    "model.dtype as model_dtype",
    "model.crop",
    "where_copied(seed)",
)
CUT = ("split", "part", "parts")

_KEPT = (
    "hook_points",
    "layers",
)  # what of a forward pass is kept; the values are the same with more


def plan(job: Job) -> dict[str, Action]:
    recipe, model = job.recipe, job.output("model", "model")
    settings = {k: v for k, v in recipe.items() if k not in CUT}
    worlds = job.each("world")
    shards = sorted(job.inputs["shards"].members["all"].outputs)
    return {
        # the images of this shard, and no others, are what its content depends on
        f"{recipe['split']}/{shard}": Action(
            settings, {"model": model, "images": job.output("shards", shard)}, worlds
        )
        for shard in shards[recipe["part"] :: recipe["parts"]]
    }


def narrow(
    recipe: Mapping[str, Any], wider: Mapping[str, Any], objects: ObjectStore
) -> Narrowed | None:
    """Of an extraction of more layers or hook points, what is asked for: no forward pass.

    An array's tree is the wider one's; the shard's is the wider shard's without the other arrays.
    """
    from clipsteer.activations.inputs import EMBEDDING, array_name
    from clipsteer.runner.wider import Narrowed
    from clipsteer.store.digest import digest_bytes
    from clipsteer.store.entries import TREE, load_entries, tree_bytes

    more = wider["recipe"]
    if {**more, **{name: recipe[name] for name in _KEPT}} != recipe:
        return None
    if any(set(recipe[name]) - set(more[name]) for name in _KEPT):
        return None
    names = [
        array_name(hook, layer) for hook in recipe["hook_points"] for layer in recipe["layers"]
    ]
    outputs = {name: wider["outputs"][name] for name in (*names, EMBEDDING)}
    groups = {"", *recipe["hook_points"]}  # Zarr's metadata stands in each
    entries = {
        path: entry
        for path, entry in load_entries(objects, wider["outputs"]["shard"]["digest"]).items()
        if path in outputs or (entry.kind != TREE and path.rpartition("/")[0] in groups)
    }
    tree = tree_bytes(entries)
    size = sum(entry.size for entry in entries.values())
    outputs["shard"] = {"digest": digest_bytes(tree), "size": size, "kind": TREE}
    return Narrowed(outputs, [tree])


def compute(run: Run) -> None:
    from clipsteer.activations.extract import Images, Kept, extract_shard
    from clipsteer.activations.inputs import open_backbone
    from clipsteer.data.source import ImageSource
    from clipsteer.data.words import load_attacked
    from clipsteer.store.trees import StoreTree

    recipe, listing = run.recipe, run.json("images")
    tower = open_backbone(run, crop=recipe["crop"])
    start, listed = listing["start"], listing["images"]
    place = run.files(run.runtime.name)
    source = ImageSource(run.store, place, listed, start, seed=recipe["seed"])
    stop = start + len(listed)
    progress = run.progress(len(listed), "images", ("tokens", tower.n_tokens))
    folder = run.scratch / "shard"
    nested = extract_shard(
        tower,
        Images(
            load_attacked(source.load, listing),
            start,
            stop,
            lambda index: str(listed[index - start][1]),
        ),
        Kept(recipe["hook_points"], recipe["layers"], recipe["dtype"], recipe["codec"]),
        folder,
        batch_size=recipe["batch_size"],
        attributes={"model": run.inputs["model"], "images": run.inputs["images"]},
        progress=progress,
    )
    progress.finish()
    tree = StoreTree(run.store, run.put_tree("shard", folder, nested))
    for array in nested:  # a digest of its own for each layer: what later steps depend on
        run.put_tree_digest(array, tree.subtree(array).root_digest)
    run.fact("start", start)
    run.fact("stop", stop)
    run.fact("tokens", tower.n_tokens)
    run.fact("width", tower.width)


def cost(job: Sizes) -> Cost:
    """One forward pass of the part's images, which are decoded before and written out behind it."""
    from clipsteer.lineage.resources import CLIP, FLOAT, READ

    settings, vision = job.config["activations"], job.vision
    parts, size = int(job.config["jobs"]["extraction_parts"]), int(settings["images_per_shard"])
    used = job.images(job.names["split"])
    starts = range(int(job.names["part"]) * size, used, parts * size)  # of the part's shards
    images = sum(min(size, used - start) for start in starts)
    points = len(set(settings["hook_points"]) | {"resid_post"})
    written = job.stored(images, job.extracted * points)
    batch = settings["batch_size"] * vision["tokens"] * vision["width"] * FLOAT / 1e6
    memory = CLIP + 3 * job.weights_mb + batch * (8 + vision["layers"] * points)
    memory += min(32.0, written / 1e6) * vision["layers"] * points  # a file of each array
    seconds = job.seconds(images * vision["layers"] * job.layer_flop)
    seconds += job.decoding(images, job.threads) + written / READ
    return job.takes(seconds, memory, written / 1e6)


if __name__ == "__main__":
    main(plan, compute, __doc__)
