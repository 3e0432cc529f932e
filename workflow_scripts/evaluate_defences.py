"""Test images of a benchmark under what was chosen against typographic attacks, and under controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.defences.setting import view_inputs
from clipsteer.dictionaries.inputs import dictionary_inputs, each_layer, member_name
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "typographic.tokens",
    "model.dtype as model_dtype",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    def inputs(layer: int) -> dict[str, str]:
        member = member_name(job, layer)
        found = {
            "model": job.output("model", "model"),
            "head": job.output("heads", "head"),
            "prefixed": job.output("heads", "prefixed"),
            "projection": job.output("projection", "projection"),
            "labels": job.output("classes", "labels_test"),
            "chosen": job.output("tuning", "chosen", member),
            **dictionary_inputs(job, layer),
            **view_inputs(job, layer, ("test", "test_attacked")),
        }
        if job.recipe["architecture"] == "neurons":
            found["maps"] = job.output("tuning", "maps", member)
        return found

    return each_layer(job, inputs)


def compute(run: Run) -> None:
    from safetensors.torch import load

    from clipsteer.defences.evaluating import answers, edits_of
    from clipsteer.defences.setting import Place, has_view
    from clipsteer.steering.directions import read_maps
    from clipsteer.tables import parquet_bytes, read_parquet

    place = Place.of(run, "test")
    maps = read_maps(load(run.blob("maps"))) if "maps" in run.inputs else {}
    edits = edits_of(place.dictionary, run.json("chosen"), maps, run.recipe["architecture"])
    heads = tuple(
        load(run.blob(name))["head"].to(place.backbone.device) for name in ("head", "prefixed")
    )
    labels = read_parquet(run.blob("labels"))
    views = [view for view in ("test", "test_attacked") if has_view(run, view)]
    progress = run.progress(len(views) * labels.height, "images", ("edits", len(edits)))
    frame = answers(
        *(place, views, edits, (heads[0], heads[1])),
        load(run.blob("projection"))["projection"],
        labels["target"].to_numpy(),
        progress=progress,
    )
    progress.finish()
    run.put_bytes("answers", parquet_bytes(frame))


def cost(job: Sizes) -> Cost:
    return job.resume_images(2 * job.images("test"), job.config["typographic"]["random_seeds"] + 1)


if __name__ == "__main__":
    main(plan, compute, __doc__)
