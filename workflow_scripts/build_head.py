"""Zero-shot classification head: class names through prompt templates and the text tower (Section 2.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("datasets.class_names", "datasets.templates")


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe, {"model": job.output("model", "model")})}


def compute(run: Run) -> None:
    from safetensors.torch import save

    from clipsteer.backbones.load import load_backbone
    from clipsteer.backbones.zero_shot import zero_shot_head

    recipe = run.recipe
    backbone = load_backbone(run.folder("model"), device=run.runtime.device)
    head = zero_shot_head(backbone, recipe["class_names"], recipe["templates"])
    run.put_bytes("head", save({"head": head.cpu().contiguous()}))
    run.fact("class_names", recipe["class_names"])


def cost(job: Sizes) -> Cost:
    from clipsteer.lineage.resources import CLIP

    return job.takes(job.seconds(0), CLIP + 3 * job.weights_mb)


if __name__ == "__main__":
    main(plan, compute, __doc__)
