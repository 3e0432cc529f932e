"""Zero-shot heads of all classes that attacked images are told apart by: without, and with Defense-Prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("datasets.templates",)


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        "model": job.output("model", "model"),
        "classes": job.output("classes", "classes"),
        "prefix": job.output("prefix", "prefix"),
    }
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    from safetensors.torch import load, save

    from clipsteer.backbones.load import load_backbone
    from clipsteer.backbones.zero_shot import zero_shot_head
    from clipsteer.defences.prefix import prefixed_head

    templates, names = run.recipe["templates"], run.json("classes")
    backbone = load_backbone(run.folder("model"), device=run.runtime.device)
    head = zero_shot_head(backbone, names, templates)
    run.put_bytes("head", save({"head": head.cpu().contiguous()}))
    run.put_json("scale", backbone.logit_scale)
    token = load(run.blob("prefix"))["prefix"]
    prefixed = prefixed_head(backbone, names, templates, token)
    run.put_bytes("prefixed", save({"head": prefixed.contiguous()}))


def cost(job: Sizes) -> Cost:
    from clipsteer.lineage.resources import CLIP

    return job.takes(job.seconds(0), CLIP + 3 * job.weights_mb)


if __name__ == "__main__":
    main(plan, compute, __doc__)
