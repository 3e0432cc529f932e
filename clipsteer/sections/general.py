"""The sections that are one for the whole run: store, runtime, raw, activations, head, steering, jobs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clipsteer.sections.values import (
    EITHER,
    LIST,
    OTHER,
    WHOLE,
    Count,
    HookPoint,
    Off,
    Once,
    Points,
    Positive,
    Rate,
    Section,
    SomeText,
    Truth,
    Whole,
    key,
    part,
)

_NOTHING = "nothing"
_EXTRACT = "extract_activations"
_SELECT, _ABLATE = "select_features", "ablate_features"


class Store(Section):
    """Where results are kept."""

    root: SomeText = key(
        "of the [store](store.md); may be [shared](#sharing-a-store)",
        _NOTHING,
        allowed="path",
    )
    verify_below_mb: Count = key(
        "objects below it are hashed at each read; larger ones: Zarr's checksums, `store verify`",
        _NOTHING,
    )


class Runtime(Section):
    """Where and how things are computed; nothing of it changes a result."""

    device: Literal["auto", "cuda", "cpu"] = key(
        "`auto`: cuda if available, else cpu",
        _NOTHING,
    )
    threads: Positive = key(
        "per job, at most `--cores`; pre-training: 2",
        _NOTHING,
    )
    checkpoint_steps: Count = key(
        "training steps between [checkpoints](resume.md); 0: only when stopped",
        _NOTHING,
    )
    warm_worker: Truth = key(
        "local runs [import torch once](speed.md#starting-the-warm-worker)",
        _NOTHING,
    )
    terminal: Literal["brief", "full"] = key(
        "a line per job, or [everything](../README.md#what-a-run-prints)",
        _NOTHING,
        default="brief",
    )


class Raw(Section):
    """How the users' own folders are looked at."""

    watch: Annotated[Literal["files", "labels", "off", False], Off] = key(
        "[how](#watch-modes) your data folders are watched",
        "build_manifest of these",
    )
    threads: Positive = key("readers of your files", _NOTHING)


# Which layers there are, the model knows: below 0, see clipsteer/config/model.py.
Layers = Annotated[
    Annotated[Literal["all"], OTHER] | Annotated[list[Whole], Field(min_length=1), Once(), LIST],
    EITHER,
]


class Activations(Section):
    """What is taken from the model, and how it is stored."""

    hook_points: Annotated[list[HookPoint], Field(min_length=1), Once()] = key(
        "an encoder layer's output (always stored), its MLP's output before the addition",
        "extract_activations; fewer are restored",
    )
    layers: Layers = key(
        "stored, trained on and edited, counted from 0; with a hub name, a list",
        "extract_activations; fewer are restored",
        allowed="`all`, or a list such as `[7, 8, 9]`",
    )
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = key(
        "[on disk](activations.md#which-format-and-codec)",
        _EXTRACT,
    )
    codec: Literal["none", "zstd", "blosc-lz4", "blosc-zstd", "blosc-zstd-bits"] = key(
        "[lossless](activations.md#which-format-and-codec)",
        f"{_EXTRACT}, with the same results",
    )
    keep: Truth = key(
        "`false`: [dropped](activations.md#keeping-or-dropping-them) once nothing in the run "
        "reads them",
        _NOTHING,
    )
    images_per_shard: Positive = key("best a multiple of `batch_size` and 64", "as `codec`")
    batch_size: Positive = key("images per forward pass; may change last bits", _EXTRACT)


class Thresholds(Section):
    """The grid of tau."""

    low: Rate = key("smallest tau", _SELECT)
    high: Rate = key("largest tau", _SELECT, allowed="above `low`")
    points: Annotated[int, Field(strict=True, ge=2), WHOLE] = key(
        "of the logarithmic grid", _SELECT
    )


class Baselines(Section):
    """What stands beside the SAEs in `results/<dataset>_baselines.csv`."""

    scales: Annotated[list[Rate], Field(min_length=1), Once()] = key(
        "of edits along a direction; 1 removes the attribute, more reverses it",
        "evaluate_directions",
        default=[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0],
    )


class Steering(Section):
    """Selection, ablation and controls (Section 7.1), one setting for all tables."""

    aggregate: Literal["mean", "max", "cls"] = key(
        "of an image's tokens, for Eq. 9",
        "feature_statistics",
    )
    balance: Literal["none", "group"] = key(
        "Eq. 9 over all training images (the paper), or averaged over target classes",
        _SELECT,
    )
    attribute_value: Count = key(
        "spurious value of D_A; all others are D_notA",
        f"build_manifest, {_SELECT}, fit_directions",
        default=1,
    )
    thresholds: Thresholds
    tokens: Literal["all", "spatial", "cls"] = key("tokens edited", f"{_SELECT}, {_ABLATE}")
    error_term: Literal["keep", "drop"] = key(
        "what the SAE does not reconstruct", f"{_SELECT}, {_ABLATE}"
    )
    strict: Literal["no_group_falls", "largest_sum"] = key(
        "on validation no group may fall, or overall and worst-group accuracy may not "
        "([rule](method.md#8-strict-and-relaxed-section-71))",
        _SELECT,
    )
    strict_slack: Count = key("images each group may lose, `no_group_falls` only", _SELECT)
    relaxed_drop: Points = key("points other groups may lose under relaxed", _SELECT)
    random_pool: Literal["all", "alive"] = key(
        "of controls: all features (the paper), or living ones that fire about as often",
        _ABLATE,
    )
    random_seeds: Positive = key("random sets per targeted one", _ABLATE)
    shuffles: Positive = key("in the negative control", "shuffle_control")
    baselines: Baselines = part({})


class Head(Section):
    """How cross-entropy is taken of zero-shot classes (Tables 3 and 4)."""

    logit_scale: Literal["model", "none"] = key(
        "of cosines in `results/<dataset>_dictionaries.csv`: the model's (100 in released "
        "CLIPs), or none (Table 4)",
        "splice_dictionary",
        default="model",
    )


class Jobs(Section):
    """How work is cut into Snakemake jobs."""

    layers_per_job: Positive = key(
        "layers trained, selected or ablated per job",
        _NOTHING,
    )
    extraction_parts: Positive = key(
        "extraction jobs per split; part i takes shards i mod N", _NOTHING
    )
