"""Training an SAE on shuffled token batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.gradients import Pass, forward_backward
from clipsteer.dictionaries.optimiser import (
    adam_,
    clipping,
    joint_norm,
    learning_rate,
    normalise_rows_,
    remove_parallel_,
)
from clipsteer.dictionaries.registry import architecture as architecture_named
from clipsteer.dictionaries.settings import Settings
from clipsteer.dictionaries.state import TrainState
from clipsteer.errors import ClipsteerError
from clipsteer.snapshots import Snapshots

#: One part in so many of a training is its end, where the learning rate is next to nothing.
CALM = 10

_KEEP_SOME = ("topk", "batchtopk", "matryoshka")

LOG_SCHEMA = {
    "step": pl.Int64,
    "tokens": pl.Int64,
    "loss": pl.Float64,
    "mse": pl.Float64,
    "l1": pl.Float64,
    "ghost": pl.Float64,
    "l0": pl.Float64,
    "explained_variance": pl.Float64,
    "dead": pl.Float64,
    "lr": pl.Float64,
    "grad_norm": pl.Float64,
}


@dataclass(frozen=True)
class Data:
    """What a dictionary learns from.

    `batches`: given a number of steps done, the shuffled activations of the next ones, float32 (B, d)
    each; one is taken per step. `sample` gives activations (n, d) whose geometric median becomes the
    decoder bias; asked for only where training starts from the beginning.
    """

    batches: Callable[[int], Generator[npt.NDArray[np.float32], None, None]]
    sample: Callable[[], npt.NDArray[np.floating]]


def train(
    data: Data,
    config: Mapping[str, Any],
    *,
    steps: int,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
    log_every: int = 50,
    snapshots: Snapshots | None = None,
) -> tuple[Dictionary, pl.DataFrame]:
    """Train a dictionary for a number of steps that is known beforehand (docs/method.md, section 4).

    The same batches, sample, settings and seed give the same bytes at any number of threads.

    Args:
        data: the activations.
        config: `architecture` and keys of `Settings`; batch_size and epochs may stand there too and are
            the caller's affair.
        steps: length of the whole run; the learning rate's schedule depends on it.
        seed: of the initial directions.
        device: where to compute.
        progress: called with the number of steps done since the last call.
        log_every: a row is logged for the first step, every `log_every` steps and the last.
        snapshots: where one is there to continue from, the result is bit-identical to an uninterrupted
            run's; one is offered after each step.

    Returns:
        The dictionary on the CPU as it is used (of Batch-Top-K and Matryoshka a `JumpReLU`), and the log
        (`LOG_SCHEMA`): step counts from 1, `dead` is the share of features that have not fired for
        `dead_window` steps, `grad_norm` is before clipping, the rest is of that step's batch.

    Raises:
        ClipsteerError: wrong settings, k > m, activations that are not finite, a loss that is not.
    """
    settings = Settings.parse(config)
    snapshots = snapshots or Snapshots()
    kind, options = _trainable(config["architecture"], settings)
    state = _begin(settings, data, seed, snapshots).to(device)
    m, width = state.parameters["W_dec"].shape
    dictionary = kind.build(width, m, state.parameters, options)
    with closing(data.batches(state.step)) as stream:
        for batch in stream if state.step < steps else ():
            last = state.step + 1 == steps
            logged = last or state.step % log_every == 0
            advance(state, dictionary, batch, settings=settings, steps=steps, logged=logged)
            if progress is not None:
                progress(1)
            if snapshots.offer is not None:
                snapshots.offer(state.step, state.to_bytes)
            if last:
                break
    if state.step != steps:
        raise ValueError(f"batches ended after {state.step} of {steps} steps")
    trained = dictionary.to("cpu").finished(state.threshold)
    return trained, pl.DataFrame(state.rows, schema=LOG_SCHEMA, orient="row")


def advance(
    state: TrainState,
    dictionary: Dictionary,
    batch: npt.NDArray[np.float32],
    *,
    settings: Settings,
    steps: int,
    logged: bool,
) -> None:
    """One training step in place: `dictionary` holds the very tensors of `state.parameters`."""
    x = _on_device(batch, state.idle.device)
    dead = None
    # No feature can be dead before; other devices have to be waited for here.
    if settings.ghost_grads and state.step >= settings.dead_window:
        dead = _dead(state.idle, settings).nonzero().squeeze(1)
    done = forward_backward(
        dictionary, x, mse=settings.mse, l1=settings.l1, dead=dead, statistics=logged
    )
    if logged or x.device.type == "cpu":
        _refuse_nonfinite(done, batch, state.step + 1)
    lr = learning_rate(
        state.step,
        steps=steps,
        lr=settings.lr,
        warmup_steps=settings.warmup_steps,
        final_lr=settings.final_lr,
    )
    calm = max(1, steps // CALM)
    if (seen := state.step + 1 - (steps - calm)) > 0:
        state.threshold = dictionary.followed(state.threshold, 1 / seen)
    norm = update(state, done, lr=lr, clip_norm=settings.clip_norm)
    if logged:
        state.rows.append(
            {
                "step": state.step,
                "tokens": state.step * len(batch),
                "loss": done.loss,
                "mse": done.mse,
                "l1": done.l1,
                "ghost": done.ghost,
                "l0": done.l0,
                "explained_variance": done.explained_variance,
                "dead": float(_dead(state.idle, settings).sum()) / dictionary.m,
                "lr": lr,
                "grad_norm": float(norm),
            }
        )


def update(state: TrainState, done: Pass, *, lr: float, clip_norm: float | None) -> Tensor:
    """Apply one batch's gradients in place, count who fired; the gradients' norm before clipping."""
    state.step += 1
    # The authors clip first and project then; so the norm includes the parallel part.
    norm = joint_norm(done.gradients)
    remove_parallel_(done.gradients["W_dec"], state.parameters["W_dec"])
    adam_(
        state.parameters,
        done.gradients,
        state.first,
        state.second,
        step=state.step,
        lr=lr,
        divisor=clipping(norm, clip_norm),
    )
    normalise_rows_(state.parameters["W_dec"])
    state.idle.add_(1).masked_fill_(done.fired, 0)
    return norm


def _on_device(batch: npt.NDArray[np.float32], device: torch.device) -> Tensor:
    """The batch where it is computed on, without waiting for the steps before it."""
    x = torch.from_numpy(batch)
    # Copying from memory that may be swapped out waits for all that the device has still to do.
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


def _dead(idle: Tensor, settings: Settings) -> Tensor:
    return idle >= settings.dead_window


def _trainable(architecture: str, settings: Settings) -> tuple[type[Dictionary], dict[str, Any]]:
    """The class to train and its options, or an error that names the key."""
    kind = architecture_named(architecture)
    if not kind.trainable:
        raise ClipsteerError(
            f"architecture: found {architecture!r}, which has nothing to train; expected vanilla, "
            "topk, batchtopk or matryoshka. Use the neuron basis as a control instead."
        )
    keeps_some = architecture in _KEEP_SOME
    if keeps_some and settings.k is None:
        raise ClipsteerError(
            f"k: missing; architecture {architecture} needs the number of features to keep."
        )
    if not keeps_some and settings.k is not None:
        raise ClipsteerError(
            f"k: found {settings.k}, but architecture {architecture!r} keeps every positive "
            "feature. Remove k, or use architecture topk."
        )
    if (architecture == "matryoshka") != (settings.prefixes is not None):
        raise ClipsteerError(
            f"prefixes: found {settings.prefixes} with architecture {architecture}, expected them with matryoshka and "
            "there alone. Add or remove them."
        )
    options = {"k": settings.k, "prefixes": settings.prefixes}
    return kind, {name: value for name, value in options.items() if value is not None}


def _begin(settings: Settings, data: Data, seed: int, snapshots: Snapshots) -> TrainState:
    """The state to go on from, on the CPU: an earlier one, or the first."""
    saved = None if snapshots.resume is None else snapshots.resume()
    if saved is not None:
        return TrainState.from_bytes(saved)
    first = data.sample()
    width = first.shape[-1]
    m = settings.expansion * width
    if settings.k is not None and settings.k > m:
        raise ClipsteerError(
            f"k: found {settings.k}, expected at most m = {m} (expansion {settings.expansion} x "
            f"width {width}). Lower k or raise the dictionary's expansion."
        )
    return TrainState.initial(m, first, seed)


def _refuse_nonfinite(done: Pass, batch: npt.NDArray[np.float32], step: int) -> None:
    if math.isfinite(done.loss):
        return
    if not np.isfinite(batch).all():
        raise ClipsteerError(
            f"training activations, batch of step {step}: found NaN or infinite values, expected "
            "finite ones. Extract the activations again, in float32 if they overflow float16."
        )
    raise ClipsteerError(
        f"training step {step}: the loss is {done.loss} (mse {done.mse}, l1 {done.l1}, ghost "
        f"{done.ghost}), expected a finite number. Lower lr, lengthen warmup_steps or set "
        "ghost_grads: false."
    )
