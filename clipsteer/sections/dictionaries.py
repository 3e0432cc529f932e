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
        "features kept per token (on average for `batchtopk`, `matryoshka`); these and `topk` only",
        _AGAIN,
        default=Absent,
        allowed="1 to m",
    )
    prefixes: Annotated[list[Fraction], Field(min_length=1)] = key(
        "shares of features that reconstruct alone; `matryoshka` only",
        _AGAIN,
        default=Absent,
        allowed="ascending shares, the last 1, such as [0.25, 0.5, 1]",
    )
    l1: Amount = key(
        "weight of sum_j f_j, averaged over tokens, on the scale of `mse`; `vanilla` only",
        _AGAIN,
        default=Absent,
    )
    epochs: Positive = key("passes over all tokens", _AGAIN, default=1)
    batch_size: Positive = key("tokens per step", _AGAIN, default=4096)
    lr: Rate = key("Adam's peak", _AGAIN, default=4e-4)
    warmup_steps: Count = key(
        "linear, then a cosine",
        _AGAIN,
        default=200,
    )
    final_lr: Share = key("end of the cosine, as a share of `lr`", _AGAIN, default=0.0)
    clip_norm: Annotated[Rate | None, Null] = key(
        "largest joint gradient norm; null: none", _AGAIN, default=1.0
    )
    mse: Literal["prisma", "sum", "normalised"] = key(
        '[reading of "MSE"](method.md#4-sparse-autoencoders-sections-22-4-and-10)',
        _AGAIN,
        default="prisma",
    )
    ghost_grads: Truth = key("for dead features", _AGAIN, default=True)
    dead_window: Positive = key(
        "steps without firing until a feature is dead",
        _AGAIN,
        default=5000,
    )
    buffer_mb: Positive = key(
        "MiB of the [shuffle](activations.md#shuffled-batches), float32. A split that fits is "
        "read once; else a batch and 16 to 64 images must fit twice",
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
        "`choose: rule`: up to this L0, the point that explains most",
        "choose_dictionary",
        default=Absent,
    )
    min_explained_variance: Fraction = key(
        "or: the sparsest point that explains this much",
        "choose_dictionary",
        default=Absent,
    )


class Sweep(Section):
    """What `results/<dataset>_sweep.csv` and `results/<dataset>_stability.csv` are made of."""

    max_points: Positive = key(
        "per grid",
        "nothing",
        default=64,
    )
    steer: Truth = key(
        "also select and ablate with every point",
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
        "ReLU with L1; Top-K; Top-K [over a "
        "batch](method.md#4-sparse-autoencoders-sections-22-4-and-10), and with prefixes; the "
        "model's coordinates (no `trained_on`, `training`); [released](dictionaries.md)",
        _AGAIN,
    )
    trained_on: Name = key(
        "by its training split and copies; for `imported` a word for the tables",
        _AGAIN,
        default=Absent,
        allowed="name of a data set",
    )
    hook_point: HookPoint = key("one of `activations.hook_points`", _AGAIN)
    training: Training = part(Absent)
    seed: Seed = key("of its training; left out, the run's", _AGAIN, default=Absent)
    grid: Grid = key(
        "of `training` keys and `seed`; every combination is [a dictionary](sweeps.md)",
        f"{_AGAIN} (new points)",
        default=Absent,
        allowed="list of values, by key",
    )
    choose: Literal["fixed", "pareto", "rule"] = key(
        "[which point](sweeps.md#which-point-do-tables-use) tables use; left out, `fixed`",
        "choose_dictionary",
        default=Absent,
    )
    rule: Rule = part(Absent)
    source: SomeText = key(
        "[with `{layer}`](dictionaries.md#what-may-stand-in-source); this key to `check`: "
        "`imported` only",
        _IMPORT,
        default=Absent,
        allowed="folder, file, `hub:ORGANISATION/NAME`, its page's address, or `prisma:FAMILY`",
    )
    model: Name = key(
        "left out, that of its first table",
        _IMPORT,
        default=Absent,
        allowed="`model`, or a name in `models`",
    )
    sources: dict[LayerKey, SomeText] = key(
        "layers from elsewhere", _IMPORT, default=Absent, allowed="layer: source"
    )
    revision: SomeText = key(
        "branch, tag or commit; left out, the main branch",
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
    ] = key(
        "[of its files](dictionaries.md#what-is-read); left out, `auto`", _IMPORT, default=Absent
    )
    normalize: Literal["none"] | Rate = key(
        "how activations were scaled, if its files do not say",
        _IMPORT,
        default=Absent,
        allowed="`none`, or a factor",
    )
    tokens: Literal["all", "cls", "spatial"] = key(
        "it was trained on, if its files do not say; it is used on no others",
        _IMPORT,
        default=Absent,
    )
    allow_other_model: Truth = key("accept a CLIP of another name", _IMPORT, default=Absent)
    check: Literal["strict", "report"] = key(
        "if it [does not fit](dictionaries.md#does-it-fit): stop (also left out), or report it",
        "check_dictionary",
        default=Absent,
    )
