"""The section `dictionaries`: SAEs, how they are trained, and the neuron basis."""

from __future__ import annotations

from typing import Annotated, Literal

from clipsteer.sections.values import (
    Absent,
    Amount,
    Count,
    HookPoint,
    Name,
    Null,
    Positive,
    Rate,
    Section,
    Share,
    Truth,
    key,
    part,
)

_AGAIN = "train_dictionary"


class Training(Section):
    """How one SAE is trained; the defaults are the paper's setting (docs/method.md, section 4)."""

    expansion: Positive = key("m = expansion * d features", _AGAIN)
    k: Positive = key(
        "features kept per token; `topk` only, which needs it; an error elsewhere",
        _AGAIN,
        default=Absent,
        allowed="1 to m",
    )
    l1: Amount = key(
        "weight of the mean over tokens of sum_j f_j; its scale belongs to `mse`; `vanilla` only, which needs it; an "
        "error elsewhere",
        _AGAIN,
        default=Absent,
    )
    epochs: Positive = key("passes over all tokens", _AGAIN, default=1)
    batch_size: Positive = key("tokens a step", _AGAIN, default=4096)
    lr: Rate = key("peak learning rate of Adam", _AGAIN, default=4e-4)
    warmup_steps: Count = key(
        "steps of linear warm-up, then a cosine; a warm-up that is not shorter than the training is warned of",
        _AGAIN,
        default=200,
    )
    final_lr: Share = key("share of `lr` at which the cosine ends", _AGAIN, default=0.0)
    clip_norm: Annotated[Rate | None, Null] = key(
        "largest joint norm of the gradients; null: no clipping", _AGAIN, default=1.0
    )
    mse: Literal["prisma", "sum", "normalised"] = key(
        'reading of "MSE", docs/method.md section 4', _AGAIN, default="prisma"
    )
    ghost_grads: Truth = key("whether dead features get the ghost term", _AGAIN, default=True)
    dead_window: Positive = key(
        "steps without firing after which a feature counts as dead (for the ghost term and the log); with "
        "`ghost_grads`, a window that is not shorter than the training is warned of",
        _AGAIN,
        default=5000,
    )
    buffer_mb: Positive = key(
        "MiB of the shuffle's buffers, counted as float32; a larger one shuffles better. A split that fits is read "
        "once and shuffled fully; else a batch and a run of 16 to 64 images must fit twice. Checked before a run, "
        "unless the model is a hub name",
        _AGAIN,
        default=2048,
    )


class Dictionary(Section):
    """An SAE, or the neuron basis."""

    architecture: Literal["vanilla", "topk", "neurons"] = key(
        "ReLU with L1, Top-K, or the model's own coordinates (not trained: no `trained_on`, no `training`)",
        _AGAIN,
    )
    trained_on: Name = key(
        "whose training split it learns from, with augmented copies if there are any",
        _AGAIN,
        default=Absent,
        allowed="name of a data set",
    )
    hook_point: HookPoint = key(
        "what it encodes and edits; must be in `activations.hook_points`", _AGAIN
    )
    training: Training = part(Absent)
