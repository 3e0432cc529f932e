"""Chooses what stands against typographic attacks at a place: feature sets, edits along directions (Section 7.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clipsteer.defences.setting import view_inputs
from clipsteer.dictionaries.inputs import dictionary_inputs, each_layer
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dictionaries.architecture",
    "dictionaries.hook_point",
    "typographic.aggregate",
    "typographic.tokens",
    "typographic.thresholds",
    "typographic.lambdas",
    "typographic.scales",
    "typographic.clean_drop",
    "typographic.random_seeds",
    "model.dtype as model_dtype",
    "seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)
_VIEWS = ("train", "train_attacked", "validation", "validation_attacked")


def plan(job: Job) -> dict[str, Action]:
    same = {
        "model": job.output("model", "model"),
        "head": job.output("heads", "head"),
        "labels": job.output("classes", "labels_validation"),
    }
    return each_layer(
        job,
        lambda layer: {
            **same,
            **dictionary_inputs(job, layer),
            **view_inputs(job, layer, _VIEWS),
        },
    )


def compute(run: Run) -> None:
    import numpy as np
    from safetensors.torch import load, save

    from clipsteer.backbones.device import one_thread
    from clipsteer.backbones.tokens import refuse_without_cls
    from clipsteer.defences import tuning
    from clipsteer.defences.sets import expanded_sets, random_cosine
    from clipsteer.defences.setting import Place, both
    from clipsteer.dictionaries.tokens import its_own
    from clipsteer.steering.choose import AttackedUnderCleanDrop
    from clipsteer.steering.controls import random_sets
    from clipsteer.steering.counts import Grouping
    from clipsteer.steering.directions import named_maps
    from clipsteer.steering.heads import Heads
    from clipsteer.steering.intervention import AffineEdit
    from clipsteer.steering.selection import nested_sets, threshold_grid
    from clipsteer.steering.statistics import difference, feature_statistics
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe, key = run.recipe, "typographic.aggregate"
    place = Place.of(run, "train")
    refuse_without_cls(key, recipe["aggregate"], place.backbone.cls)
    own_basis = recipe["architecture"] == "neurons"
    n_clean = place.reader("train").n_images
    in_a = np.repeat([0, 1], [n_clean, place.reader("train_attacked").n_images])
    learnt_from = both(run, "train", "train_attacked")
    with one_thread():
        table = feature_statistics(
            place.dictionary,
            its_own(learnt_from, place.dictionary, recipe["aggregate"], key),
            in_a,
            Grouping(1, 2),
            aggregate=recipe["aggregate"],
            device=place.backbone.device,
        ).table
        sweep = nested_sets(
            difference(table, Grouping(1, 2)), threshold_grid(**recipe["thresholds"])
        )
        # neurons are at right angles
        lambdas = [None] if own_basis else recipe["lambdas"]
        sets = expanded_sets(sweep, place.dictionary, lambdas, place.backbone.device)
    head = Heads(load(run.blob("head"))["head"].to(place.backbone.device))
    targets = read_parquet(run.blob("labels"))["target"].to_numpy()
    progress = run.progress(2 * len(targets), "images", ("sets", len(sets)))
    judge = tuning.Judge(place, head.codes, targets, progress)
    rule = AttackedUnderCleanDrop(recipe["clean_drop"])
    trials = judge.of_sets([s.features for s in sets])
    progress.finish()
    chosen = tuning.choose_set(sets, trials, rule)
    features = chosen.features if chosen else np.zeros(0, np.int64)
    m = place.dictionary.m
    seeds = [recipe["seed"] * 1000 + i for i in range(recipe["random_seeds"])]
    found: dict[str, Any] = {
        "tau": chosen.threshold if chosen else None,
        "lambda": chosen.cosine if chosen else None,
        "n_f": chosen.n_features if chosen else 0,
        "features": features.tolist(),
        "random": [drawn.tolist() for drawn in random_sets(m, len(features), seeds)],
        "m": m,
        "random_cosine": random_cosine(place.dictionary.d),
        "evaluated": len({np.sort(s.features).tobytes() for s in sets}),
        "scales": {},
    }
    if own_basis:
        with one_thread():
            maps = tuning.fit_maps(both(run, "train", "train_attacked"), in_a, place.backbone.cls)
        run.put_bytes("maps", save(named_maps(maps)))
        progress = run.progress(2 * len(targets) * len(maps), "images")
        judge = replace(judge, progress=progress)
        for method, kinds in maps.items():
            scales = recipe["scales"] if method == "mean_difference" else [1.0]
            edits = [AffineEdit(kinds, scale) for scale in scales]
            found["scales"][method] = tuning.choose_scale(scales, judge.of_edits(edits), rule)
        progress.finish()
    run.put_bytes("statistics", parquet_bytes(table))
    run.put_json("chosen", found)
    run.put_bytes("sweep", parquet_bytes(tuning.sweep_frame(sets, trials)))
    clean, attacked = trials.resumed.correct
    run.say(
        f"{len(sets)} sets, {found['evaluated']} of them different; {len(features)} features are taken; unedited "
        f"{clean} clean and {attacked} attacked of {len(targets)}"
    )


def cost(job: Sizes) -> Cost:
    """Statistics of both training views, and every different set on both validation views."""
    settings = job.config["typographic"]
    sets = settings["thresholds"]["points"] * len(settings["lambdas"])
    read = job.apply(2 * job.images("train"), ways=1)
    tried = job.resume_images(2 * job.images("validation"), sets)
    memory = max(read.memory_mb, tried.memory_mb) + 512
    return job.takes(read.seconds + tried.seconds, memory, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
