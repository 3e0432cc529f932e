"""Runs the CLIP once over a split and writes the residual stream of every layer into Zarr shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.store.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.clip.tower import VisionTower

_JOB_ONLY = ("part", "parts", "split")


def plan(job: Job) -> dict[str, Action]:
    recipe, model = job.recipe, job.output("model", "model")
    settings = {k: v for k, v in recipe.items() if k not in _JOB_ONLY}
    shards = sorted(job.inputs["shards"].members["all"].outputs)
    return {
        # the images of this shard, and no others, are what its content depends on
        f"{recipe['split']}/{shard}": Action(
            settings, {"model": model, "images": job.output("shards", shard)}
        )
        for shard in shards[recipe["part"] :: recipe["parts"]]
    }


_models: dict[tuple[str, ...], VisionTower] = {}  # stays loaded between the shards of one job


def _model(run: Run) -> VisionTower:
    from clipsteer.clip.tower import load_tower

    wanted = (run.inputs["model"], run.recipe["model_dtype"])
    if wanted not in _models:
        _models.clear()
        _models[wanted] = load_tower(
            run.folder("model"), device=run.runtime.device, dtype=run.recipe["model_dtype"]
        )
    return _models[wanted]


def compute(run: Run) -> None:
    from clipsteer.activations.extract import extract_shard
    from clipsteer.data.source import ImageSource
    from clipsteer.store.trees import StoreTree

    recipe, listing = run.recipe, run.json("images")
    tower = _model(run)
    start, images = listing["start"], listing["images"]
    source = ImageSource(
        run.store, run.runtime.roots.get(run.runtime.name), images, start, seed=recipe["seed"]
    )
    progress = run.progress(len(images), "images", ("tokens", tower.n_tokens))
    folder = run.scratch / "shard"
    nested = extract_shard(
        tower,
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
    run.fact("tokens", tower.n_tokens)
    run.fact("width", tower.width)


if __name__ == "__main__":
    main(plan, compute, __doc__)
