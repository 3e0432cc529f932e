"""Reads a data set's own layout into one manifest table with content digests and evaluation subsets."""

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
    "names_given(datasets.class_names)",
    "datasets.evaluation",
    "painted_or_files(datasets.root) as source",
    "attribute_needed()",
    "seed",
)
IMPORTS = ("clipsteer.data.layouts.{layout}",)


def plan(job: Job) -> dict[str, Action]:
    if job.recipe["source"] == "painted":
        return {"all": Action(job.recipe, {"world": job.output("source", "world")})}
    # the token stands for the content of the user's folder (clipsteer/runner/scan.py)
    return {"all": Action({**job.recipe, "token": job.facts("source")})}


def compute(run: Run) -> None:
    import warnings

    from clipsteer.data.files import LeftOut
    from clipsteer.data.labels import SPLITS, Note
    from clipsteer.data.manifest import build_manifest, check_spurious, group_counts, split_rows
    from clipsteer.errors import ClipsteerError
    from clipsteer.runner.scan import ScannedTree, cached_digests
    from clipsteer.tables import parquet_bytes

    recipe = run.recipe
    tree: FileTree
    digests: dict[str, str] | None = None
    name = run.runtime.name
    if recipe["source"] == "painted":
        tree = run.tree("world")
    else:
        digests = cached_digests(CACHES / f"scan-{name}")
        tree = ScannedTree(run.runtime.roots[name], digests)
    layout = import_module(f"clipsteer.data.layouts.{recipe['layout']}")
    options = dict(recipe["options"])
    if recipe["class_names"] and recipe["layout"] != "imagenet":
        options["class_names"] = recipe["class_names"]
        named = enumerate(recipe["class_names"])
        run.say("classes: " + ", ".join(f"target {number} is {name}" for number, name in named))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            rows = layout.read(tree, **options)
        except ClipsteerError as error:
            if recipe["source"] == "painted":
                raise
            raise ClipsteerError(
                f"datasets.{name}.root {run.runtime.roots[name]}: {error}"
            ) from None
        finally:
            for warning in said:
                kind = "" if isinstance(warning.message, Note) else "warning: "
                run.say(f"{kind}{warning.message}")
    for warning in said:
        if isinstance(warning.message, LeftOut):  # tables say so
            run.fact("left_out", warning.message.counts)
    canonical = None  # painted images always lie alike
    if recipe["source"] == "files":
        canonical = layout.canonical(rows["path"], tree.paths(), options)
    progress = run.progress(rows.height, "images")
    manifest = build_manifest(
        rows,
        tree,
        per_group=recipe["evaluation"],
        seed=recipe["seed"],
        canonical=canonical,
        digests=digests,
        progress=progress,
    )
    progress.finish()
    if recipe["attribute_needed"] is not None:
        check_spurious(manifest, recipe["attribute_needed"], f"datasets.{name}.attribute_value")
    run.put_bytes("manifest", parquet_bytes(manifest))
    # what the layout has to say of class names, beside the images
    run.put_json("class_names", layout.class_names(tree) if hasattr(layout, "class_names") else {})
    counts = group_counts(manifest)
    run.put_bytes("groups", parquet_bytes(counts))
    captions = split_rows(manifest, "train").select("digest", "path", "text")
    run.put_bytes("captions", parquet_bytes(captions))
    for split in SPLITS:
        # a step on one split counts its own labels only: others may change without making it stale
        labels = split_rows(manifest, split).select("target", "spurious", "group")
        run.put_bytes(f"labels_{split}", parquet_bytes(labels))
        run.fact(f"images_{split}", labels.height)
    for row in counts.iter_rows(named=True):
        run.say("  ".join(f"{key} {value}" for key, value in row.items()))


def cost(job: Sizes) -> Cost:
    return job.labels()


if __name__ == "__main__":
    main(plan, compute, __doc__)
