"""Quality of each dictionary on the data set that is edited: explained variance, L0, dead features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.activations.inputs import array_inputs, array_name, open_reader
from clipsteer.dictionaries.inputs import dictionary_inputs, each_layer, log_inputs, open_dictionary
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    return each_layer(
        job,
        lambda layer: {
            **dictionary_inputs(job, layer),
            **log_inputs(job, layer),
            **array_inputs(job, array_name(job.recipe["hook_point"], layer)),
        },
    )


def compute(run: Run) -> None:
    from clipsteer.backbones.device import resolve_device
    from clipsteer.dictionaries.evaluate import evaluate
    from clipsteer.dictionaries.tokens import suited
    from clipsteer.tables import read_parquet

    device = resolve_device(run.runtime.device)
    reader = open_reader(run)
    dictionary = suited(open_dictionary(run, reader.width, device), reader.cls)
    # two passes: the mean first
    progress = run.progress(2 * reader.n_images, "images", ("tokens", reader.n_tokens))
    metrics = evaluate(
        dictionary,
        lambda: (x for _, x in reader.batches(64)),
        cls=reader.cls,
        device=device,
        progress=progress,
    )
    progress.finish()
    if "log" in run.inputs:  # of what was trained here; at the steps that are logged
        log = read_parquet(run.blob("log"))
        metrics["dead_in_training"] = log["dead"].max()
        metrics["dead_at_the_end"] = log["dead"][-1]
        metrics["ghost_share"] = float((log["ghost"] > 0).sum()) / log.height
    run.put_json("evaluation", metrics)


def cost(job: Sizes) -> Cost:
    return job.apply(job.images("test" if job.names.get("on") else "validation"))


if __name__ == "__main__":
    main(plan, compute, __doc__)
