"""Statistics of every feature on each group of the training split (D_A and D_notA of Eq. 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.activations.inputs import array_inputs, array_name, open_reader
from clipsteer.dictionaries.inputs import dictionary_inputs, each_layer, open_dictionary
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "steering.aggregate",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)


def plan(job: Job) -> dict[str, Action]:
    labels = {"labels": job.output("manifest", "labels_train")}
    return each_layer(
        job,
        lambda layer: {
            **labels,
            **dictionary_inputs(job, layer),
            **array_inputs(job, array_name(job.recipe["hook_point"], layer)),
        },
    )


def compute(run: Run) -> None:
    from clipsteer.backbones.device import resolve_device
    from clipsteer.backbones.tokens import refuse_without_cls
    from clipsteer.dictionaries.tokens import its_own, suited
    from clipsteer.steering.counts import grouping_of
    from clipsteer.steering.statistics import feature_statistics
    from clipsteer.tables import parquet_bytes, read_parquet

    device = resolve_device(run.runtime.device)
    reader = open_reader(run)
    refuse_without_cls("steering.aggregate", run.recipe["aggregate"], reader.cls)
    dictionary = suited(open_dictionary(run, reader.width, device), reader.cls)
    labels = read_parquet(run.blob("labels"))
    progress = run.progress(reader.n_images, "images", ("tokens", reader.n_tokens))
    found = feature_statistics(
        dictionary,
        its_own(reader.batches(64), dictionary, run.recipe["aggregate"]),
        labels["group"].to_numpy(),
        grouping_of(labels.to_dict(as_series=False)),
        aggregate=run.recipe["aggregate"],
        device=device,
        progress=progress,
    )
    progress.finish()
    run.put_bytes("statistics", parquet_bytes(found.table))


def cost(job: Sizes) -> Cost:
    return job.apply(job.images("train"), ways=1)


if __name__ == "__main__":
    main(plan, compute, __doc__)
