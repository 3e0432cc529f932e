"""Zero-shot head of a data set in class folders, and which class each validation image is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "datasets.class_words",
    "datasets.templates",
    "curated(datasets.class_words) as curated",
)


def plan(job: Job) -> dict[str, Action]:
    inputs = {"model": job.output("model", "model")}
    inputs |= {name: job.output("manifest", name) for name in ("manifest", "class_names")}
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    import polars as pl
    from safetensors.torch import save

    from clipsteer.backbones.load import load_backbone
    from clipsteer.backbones.zero_shot import zero_shot_head
    from clipsteer.data.class_words import class_words, labels_of
    from clipsteer.data.manifest import split_rows
    from clipsteer.errors import ClipsteerError
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe, name = run.recipe, run.runtime.name
    manifest = read_parquet(run.blob("manifest"))
    classes = sorted(split_rows(manifest, "train")["class"].unique())
    try:
        given = run.json("class_names") if recipe["class_words"] == "files" else None
        words = class_words(classes, given)
        targets = labels_of(split_rows(manifest, "validation"), classes)
    except ClipsteerError as error:
        raise ClipsteerError(f"datasets.{name}: {error}") from None
    backbone = load_backbone(run.folder("model"), device=run.runtime.device)
    head = zero_shot_head(backbone, words, recipe["templates"], key=f"datasets.{name}.templates")
    run.put_bytes("head", save({"head": head.cpu().contiguous()}))
    labels = pl.DataFrame({"target": pl.Series(targets, dtype=pl.Int16())})
    run.put_bytes("labels", parquet_bytes(labels))
    run.put_json("names", dict(zip(classes, words, strict=True)))
    run.fact("class_words", recipe["class_words"])
    first = ", ".join(words[:3])
    run.say(f"{len(words)} classes, called {first} and so on; {len(targets)} validation images")


def cost(job: Sizes) -> Cost:
    """It reads the data set's labels, and embeds the names of at most a thousand classes."""
    from clipsteer.lineage.resources import CLIP

    labels = job.labels()
    return job.takes(
        job.seconds(2e13) + labels.seconds, CLIP + 3 * job.weights_mb + labels.memory_mb
    )


if __name__ == "__main__":
    main(plan, compute, __doc__)
