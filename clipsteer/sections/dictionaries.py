"""The section `dictionaries`: SAEs, how they are trained or where they are from, and the neuron basis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model

from clipsteer.sections.values import (
    Absent,
    Amount,
    Count,
    Fraction,
    HookPoint,
    LayerKey,
    Name,
    Null,
    Positive,
    Rate,
    Section,
    Seed,
    Share,
    SomeText,
    Truth,
    key,
    part,
)

_AGAIN = "train_dictionary"
_IMPORT = "import_dictionary"
_SWEEP = "sweep_table"


class Training(Section):
    """How one SAE is trained; the defaults are the paper's setting (docs/method.md, section 4)."""

    expansion: Positive = key("m = expansion * d features", _AGAIN)
    k: Positive = key(
        "features kept per token, on average of `batchtopk` and `matryoshka`; of these and `topk` only",
        _AGAIN,
        default=Absent,
        allowed="1 to m",
    )
    prefixes: Annotated[list[Fraction], Field(min_length=1)] = key(
        "shares of the features that describe an activation by themselves, ascending, the last 1; of "
        "`matryoshka` only",
        _AGAIN,
        default=Absent,
        allowed="list of shares, such as [0.0625, 0.125, 0.25, 0.5, 1]",
    )
    l1: Amount = key(
        "weight of the mean over tokens of sum_j f_j, on the scale of `mse`; of `vanilla` only",
        _AGAIN,
        default=Absent,
    )
    epochs: Positive = key("passes over all tokens", _AGAIN, default=1)
    batch_size: Positive = key("tokens a step", _AGAIN, default=4096)
    lr: Rate = key("peak learning rate of Adam", _AGAIN, default=4e-4)
    warmup_steps: Count = key(
        "linear warm-up, then a cosine; a warning if training is not longer",
        _AGAIN,
        default=200,
    )
    final_lr: Share = key("share of `lr` at which the cosine ends", _AGAIN, default=0.0)
    clip_norm: Annotated[Rate | None, Null] = key(
        "largest joint norm of the gradients; null: none", _AGAIN, default=1.0
    )
    mse: Literal["prisma", "sum", "normalised"] = key(
        'reading of "MSE" ([method.md](method.md#4-sparse-autoencoders-sections-22-4-and-10))',
        _AGAIN,
        default="prisma",
    )
    ghost_grads: Truth = key("whether dead features get the ghost term", _AGAIN, default=True)
    dead_window: Positive = key(
        "steps without firing after which a feature is dead; with `ghost_grads`, a warning if training is not"
        " longer",
        _AGAIN,
        default=5000,
    )
    buffer_mb: Positive = key(
        "MiB of the shuffle, as float32; a larger one shuffles better. A split that fits is read once and "
        "shuffled fully; else a batch and a run of 16 to 64 images must fit twice",
        _AGAIN,
        default=2048,
    )


def _several(kind: Any) -> tuple[Any, Any]:
    """A field that lists values of one kind and may be left out."""
    return Annotated[list[kind], Field(min_length=1)], Field(Absent)


if TYPE_CHECKING:
    Grid = Section
else:  # made of `Training`, so that a key of it is one of a grid too
    Grid = create_model(
        "Grid",
        __base__=Section,
        __doc__="Values of keys of `training`, and seeds: each combination is a dictionary.",
        **{
            name: _several(Annotated[(field.annotation, Field(), *field.metadata)])
            for name, field in Training.model_fields.items()
        },
        seed=_several(Seed),
    )


class Rule(Section):
    """What a point of a grid has to meet on the validation images, layer by layer."""

    max_l0: Rate = key(
        "the largest L0 allowed; the point that explains most is taken. `choose: rule` needs this or the next",
        "choose_dictionary",
        default=Absent,
    )
    min_explained_variance: Fraction = key(
        "the least allowed; the point with the smallest L0 is taken",
        "choose_dictionary",
        default=Absent,
    )


class Sweep(Section):
    """What `results/<dataset>_sweep.csv` and `results/<dataset>_stability.csv` are made of."""

    max_points: Positive = key(
        "points that a grid may have",
        "nothing",
        default=64,
    )
    steer: Truth = key(
        "select and ablate features with every point, too",
        f"{_SWEEP}, stability_table",
        default=False,
    )


class Dictionary(Section):
    """An SAE that is trained here, one that others have trained, or the neuron basis."""

    architecture: Literal[
        "vanilla",
        "topk",
        "batchtopk",
        "matryoshka",
        "neurons",
        "imported",
    ] = key(
        "ReLU with L1; Top-K; Top-K over a batch's tokens, and the same with prefixes (both become a "
        "JumpReLU); the model's own coordinates (no `trained_on`, no `training`); or "
        "[released](dictionaries.md)",
        _AGAIN,
    )
    trained_on: Name = key(
        "whose training split, with augmented copies, it learns from; of `imported` a word for the tables",
        _AGAIN,
        default=Absent,
        allowed="name of a data set",
    )
    hook_point: HookPoint = key(
        "what it encodes and edits; one of `activations.hook_points`", _AGAIN
    )
    training: Training = part(Absent)
    seed: Seed = key("of its training; left out, the run's", _AGAIN, default=Absent)
    grid: Grid = key(
        "values of keys of `training`, and of `seed`: every combination is a dictionary "
        "([sweeps.md](sweeps.md))",
        f"{_AGAIN}, of new combinations only",
        default=Absent,
        allowed="list of values, by key",
    )
    choose: Literal["fixed", "pareto", "rule"] = key(
        "which point of the grid tables use, at each layer: that of `training` (also left out), or on the "
        "table's validation images, where the front of L0 and explained variance bends, or by `rule`",
        "choose_dictionary and all that follows",
        default=Absent,
    )
    rule: Rule = part(Absent)
    source: SomeText = key(
        "`{layer}` where the layer goes; this key and all below are of `imported` only "
        "([dictionaries.md](dictionaries.md#what-may-stand-in-source))",
        _IMPORT,
        default=Absent,
        allowed="a folder, a file, `hub:ORGANISATION/NAME`, the address of its page, or `prisma:FAMILY`",
    )
    model: Name = key(
        "the model that it is for; left out, that of the first table that it stands in",
        _IMPORT,
        default=Absent,
        allowed="`model`, or a name in `models`",
    )
    sources: dict[LayerKey, SomeText] = key(
        "layers from elsewhere", _IMPORT, default=Absent, allowed="layer: source"
    )
    revision: SomeText = key(
        "branch, tag or commit on the hub; left out, the main branch",
        _IMPORT,
        default=Absent,
    )
    format: Literal[
        "auto",
        "prisma",
        "saelens",
        "sparsify",
        "dictionary_learning",
        "saev",
        "openai",
        "clipsteer",
    ] = key("whose files; left out, as `auto`, it is found out", _IMPORT, default=Absent)
    normalize: Literal["none"] | Rate = key(
        "how activations were scaled before it saw them, where its files do not say",
        _IMPORT,
        default=Absent,
        allowed="`none`, or the factor that they were multiplied with",
    )
    tokens: Literal["all", "cls", "spatial"] = key(
        "it was trained on these alone, where its files do not say, and is used on no others",
        _IMPORT,
        default=Absent,
    )
    allow_other_model: Truth = key("it may be of a CLIP of another name", _IMPORT, default=Absent)
    check: Literal["strict", "report"] = key(
        "where it does not fit the activations: stop (also left out), or only report it in "
        "`results/<dataset>_dictionaries.csv`",
        "check_dictionary",
        default=Absent,
    )
