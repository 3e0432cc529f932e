"""Configurations as rules see them, without Snakemake, and all jobs that they have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from clipsteer.workflow.outline import Outline
from clipsteer.workflow.recipes import Recipes
from tests.workflow.runs import BASE, merged

DEFAULT = json.loads(json.dumps(yaml.safe_load((BASE / "config.yaml").read_text())))
SPLITS = ("train", "train_augmented", "validation", "test")

# The step of a job, and its wildcards.
Job = tuple[str, tuple[tuple[str, str], ...]]


def outline(overlay: Mapping[str, Any] | None = None, folder: Path = BASE) -> Outline:
    """That of the default with `overlay` over it, as it is: not validated."""
    return Outline(merged(DEFAULT, overlay or {}), BASE, folder)


def wildcards(**values: object) -> Any:
    """As Snakemake gives them: all are texts."""
    return SimpleNamespace(**{name: str(value) for name, value in values.items()})


def jobs(made: Outline) -> Iterator[Job]:
    """All jobs that could be asked for, of the steps whose recipes have something of the configuration."""

    def job(step: str, **values: object) -> Job:
        return step, tuple((name, str(value)) for name, value in values.items())

    yield job("pretrain_clip" if made.tiny else "import_clip")
    for dataset in made.datasets:
        if made.is_painted(dataset):
            yield job("paint_world", dataset=dataset)
        yield job("build_manifest", dataset=dataset)
        for split in SPLITS:
            yield job("list_shards", dataset=dataset, split=split)
            for part in made.parts:
                yield job("extract_activations", dataset=dataset, split=split, part=part)
            yield job(
                "drop_activations", table="celeba", result="table", dataset=dataset, split=split
            )
    for dictionary in made.trained:
        for block in made.blocks:
            yield job("train_dictionary", dictionary=dictionary, block=block)
    steps = ("evaluate_dictionary", "feature_statistics", "select_features", "ablate_features")
    for dataset, names in made.tables.items():
        yield job("build_head", dataset=dataset)
        for dictionary in names:
            for block in made.blocks:
                for step in (*steps, "shuffle_control"):
                    yield job(step, dataset=dataset, dictionary=dictionary, block=block)
                if made.is_trained(dictionary):
                    yield job(
                        "evaluate_subspaces", dataset=dataset, dictionary=dictionary, block=block
                    )
        for block in made.blocks:
            for step in ("fit_directions", "evaluate_directions"):
                yield job(step, dataset=dataset, hook_point="resid_post", block=block)
        for step in ("evaluate_readout", "make_table", "control_table", "baseline_table"):
            yield job(step, dataset=dataset)


def recipes(made: Outline) -> dict[Job, str]:
    """The recipe of every job."""
    by_step = Recipes(made)
    return {job: getattr(by_step, job[0])(wildcards(**dict(job[1]))) for job in jobs(made)}
