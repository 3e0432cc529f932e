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
_FOLLOWS = "extract_activations and all that follows"
_SELECT, _ABLATE = "select_features", "ablate_features"


class Store(Section):
    """Where results are kept."""

    root: SomeText = key(
        "where objects and action records live; may be [shared](#sharing-a-store)",
        _NOTHING,
        allowed="path",
    )
    verify_below_mb: Count = key(
        "objects below this are hashed at each read; larger ones by Zarr's checksums and `store verify`",
        _NOTHING,
    )


class Runtime(Section):
    """Where and how things are computed; nothing of it changes a result."""

    device: Literal["auto", "cuda", "cpu"] = key(
        "`auto`: cuda where it is there, else (and on a Mac) the cpu",
        _NOTHING,
    )
    threads: Positive = key(
        "threads of a job, at most `--cores`; pre-training has its own number",
        _NOTHING,
    )
    checkpoint_steps: Count = key(
        "training steps between two checkpoints; 0: only when asked to stop ([resume.md](resume.md))",
        _NOTHING,
    )
    warm_worker: Truth = key(
        "a local run imports torch once and forks for each job "
        "([speed.md](speed.md#starting-the-warm-worker))",
        _NOTHING,
    )
    terminal: Literal["brief", "full"] = key(
        "about a line a job, or all that Snakemake and jobs say ([README](../README.md#what-a-run-prints))",
        _NOTHING,
        default="brief",
    )


class Raw(Section):
    """How the users' own folders are looked at."""

    watch: Annotated[Literal["files", "labels", "off", False], Off] = key(
        "how closely your own data folders are looked at ([watch modes](#watch-modes))",
        "build_manifest of these data sets",
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
        "an encoder layer's output (stored in any case), its MLP's output before the addition",
        "extract_activations; fewer hook points than before are restored",
    )
    layers: Layers = key(
        "0-based layers that are stored, trained on and edited; a list with a hub name",
        "extract_activations, unless all of the layers were there before; layers that were restore all that follows",
        allowed="`all`, or a list such as `[7, 8, 9]`",
    )
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = key(
        "on disk ([what each costs](activations.md#which-format-and-codec))",
        _FOLLOWS,
    )
    codec: Literal["none", "zstd", "blosc-lz4", "blosc-zstd", "blosc-zstd-bits"] = key(
        "lossless ([what was measured](activations.md#which-format-and-codec))",
        f"{_FOLLOWS} (values stay the same, so results do)",
    )
    keep: Truth = key(
        "`false`: values are dropped as soon as nothing in the run reads them "
        "([activations.md](activations.md#keeping-or-dropping-them))",
        "nothing (tables and markers are looked up again)",
    )
    images_per_shard: Positive = key("best a multiple of `batch_size` and of 64", "as `codec`")
    batch_size: Positive = key(
        "images of a forward pass; another value may change last bits", _FOLLOWS
    )


class Thresholds(Section):
    """The grid of tau."""

    low: Rate = key("smallest tau", _SELECT)
    high: Rate = key("largest tau", _SELECT, allowed="above `low`")
    points: Annotated[int, Field(strict=True, ge=2), WHOLE] = key(
        "points of the logarithmic grid", _SELECT
    )


class Baselines(Section):
    """What stands beside the SAEs in `results/<dataset>_baselines.csv`."""

    scales: Annotated[list[Rate], Field(min_length=1), Once()] = key(
        "of edits along a direction, for validation to choose from; 1 takes the attribute out, more turns it "
        "round",
        "evaluate_directions",
        default=[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0],
    )


class Steering(Section):
    """Selection, ablation and controls (Section 7.1), one setting for all tables."""

    aggregate: Literal["mean", "max", "cls"] = key(
        "how an image's tokens become one activation in Eq. 9",
        "feature_statistics",
    )
    balance: Literal["none", "group"] = key(
        "Eq. 9 over the whole training split (the paper), or within each target class, averaged",
        _SELECT,
    )
    attribute_value: Count = key(
        "the spurious value whose images are D_A; all others are D_notA",
        f"{_SELECT}, fit_directions",
        default=1,
    )
    thresholds: Thresholds
    tokens: Literal["all", "spatial", "cls"] = key(
        "tokens that are edited", f"{_SELECT}, {_ABLATE}"
    )
    error_term: Literal["keep", "drop"] = key(
        "whether what the SAE does not reconstruct stays in", f"{_SELECT}, {_ABLATE}"
    )
    strict: Literal["no_group_falls", "largest_sum"] = key(
        "of the sets under which no group's accuracy falls on validation, or overall and worst-group accuracy"
        " do not, the largest sum of these two",
        _SELECT,
    )
    strict_slack: Count = key("images that each group may lose under `no_group_falls`", _SELECT)
    relaxed_drop: Points = key("points that each other group may lose under relaxed", _SELECT)
    random_pool: Literal["all", "alive"] = key(
        "controls from all features (the paper), or from living ones of like firing frequency",
        _ABLATE,
    )
    random_seeds: Positive = key("random sets for each targeted one", _ABLATE)
    shuffles: Positive = key("of the negative control", "shuffle_control")
    baselines: Baselines = part({})


class Head(Section):
    """How cross-entropy is taken of zero-shot classes (Tables 3 and 4)."""

    logit_scale: Literal["model", "none"] = key(
        "what cosines are multiplied by before the softmax: the model's scale (100 in released CLIPs), or "
        "nothing (Table 4)",
        "splice_dictionary",
        default="model",
    )


class Jobs(Section):
    """How work is cut into Snakemake jobs."""

    layers_per_job: Positive = key(
        "layers that one job trains, selects or ablates",
        "nothing (jobs are cut anew and restored)",
    )
    extraction_parts: Positive = key(
        "extraction jobs per split; part i takes shards i mod N", "nothing (as above)"
    )
