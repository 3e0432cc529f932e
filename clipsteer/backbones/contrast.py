"""Contrastive training of a CLIP: the loop of `clipsteer.backbones.pretrain`, and what it resumes from.

The loss is CLIP's, with the pictures that carry one caption counted as positives of each other: the
text tower sees each distinct caption of a batch once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from clipsteer.errors import ClipsteerError
from clipsteer.snapshots import Offer, Resume, pack, unpack

if TYPE_CHECKING:
    from transformers import CLIPModel

_METRICS = ("step", "loss", "lr", "logit_scale", "grad_norm")


@dataclass(frozen=True)
class Pairs:
    """What is learned from."""

    pixels: NDArray[np.uint8]
    """(n, H, W, 3), an array or a memory map."""

    caption: NDArray[np.int64]
    """(n,): which row of `tokens` goes with each picture."""

    tokens: torch.Tensor
    """Token ids of each distinct caption."""

    table: torch.Tensor
    """(3, 256): what the model is fed for each channel's byte values."""


class Training:
    """A training between two steps: all that the next one depends on, beside pairs and seed."""

    def __init__(self, model: CLIPModel, settings: Mapping[str, Any]) -> None:
        self.model, self.settings = model, settings
        decay = [p for p in model.parameters() if p.ndim >= 2]
        plain = [p for p in model.parameters() if p.ndim < 2]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": float(settings["weight_decay"])},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=float(settings["lr"]),
            betas=(0.9, 0.98),
            eps=1e-6,
        )
        self.parameters = [*decay, *plain]
        self.metrics: dict[str, list[float]] = {name: [] for name in _METRICS}

    @property
    def done(self) -> int:
        """Steps done."""
        return len(self.metrics["step"])

    def to_bytes(self) -> bytes:
        """Parameters, the optimiser's moments and the metrics so far; see `restore`."""
        tensors: dict[str, torch.Tensor] = {}
        for name, p in self.model.named_parameters():
            tensors[f"parameter {name}"] = p
            for kind, moment in self.optimiser.state.get(p, {}).items():
                tensors[f"{kind} {name}"] = moment
        return pack(tensors, self.metrics)

    def restore(self, data: bytes) -> None:
        """Go to where `to_bytes` was called, from there on to the same bytes."""
        tensors, self.metrics = unpack(data)
        parameters = dict(self.model.named_parameters())
        for place, tensor in tensors.items():
            kind, name = place.split(" ")
            if kind == "parameter":
                with torch.no_grad():
                    parameters[name].copy_(tensor)
            else:
                self.optimiser.state[parameters[name]][kind] = tensor

    def advance(self, images: torch.Tensor, tokens: torch.Tensor, inverse: torch.Tensor) -> None:
        """One step on pictures and their distinct captions; `inverse` says which goes with which."""
        steps, warmup = int(self.settings["steps"]), int(self.settings["warmup_steps"])
        lr = float(self.settings["lr"]) * _schedule(self.done, steps, warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        loss = _loss(self.model, images, tokens, inverse)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ClipsteerError(
                f"pre-training: found the loss {value} at step {self.done + 1}; expected a finite "
                "number. Lower lr."
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = _clip_gradients(self.parameters, float(self.settings["clip_norm"]))
        self.optimiser.step()
        scale = self.model.logit_scale
        with torch.no_grad():
            scale.clamp_(0.0, math.log(float(self.settings["max_logit_scale"])))
        row = (self.done + 1, value, lr, math.exp(float(scale.detach())), norm)
        for column, number in zip(_METRICS, row, strict=True):
            self.metrics[column].append(number)


def begin(model: CLIPModel, settings: Mapping[str, Any], resume: Resume | None) -> Training:
    """The training to go on with: an earlier one, or the first step of `model`'s."""
    training = Training(model, settings)
    saved = None if resume is None else resume()
    if saved is not None:
        training.restore(saved)
    return training


def train(
    training: Training,
    pairs: Pairs,
    *,
    seed: int,
    progress: Callable[[int], None] | None,
    offer: Offer | None,
) -> None:
    """All steps that are left; see `pretrain`."""
    settings = training.settings
    size, steps = int(settings["batch_size"]), int(settings["steps"])
    order = _batches(len(pairs.pixels), size, steps, seed)
    training.model.train()
    for rows, moves in islice(order, training.done, None):
        images = _pictures(pairs.pixels, rows, moves, pairs.table, int(settings["shift"]))
        which, inverse = np.unique(pairs.caption[rows], return_inverse=True)
        training.advance(images, pairs.tokens[which], torch.from_numpy(inverse))
        if progress is not None:
            progress(1)
        if offer is not None:
            offer(training.done, training.to_bytes)
    training.model.train(False)


def _batches(
    n: int, size: int, steps: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Row numbers (size,) and shifts (size, 2) in [0, 1) as 16-bit fractions, epoch by epoch."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 1], dtype=np.uint64)))
    pool = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        if len(pool) < size:
            pool = np.concatenate([pool, rng.permutation(n)])
        rows, pool = pool[:size], pool[size:]
        yield rows, rng.integers(0, 1 << 16, size=(size, 2))


def _pictures(
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    moves: NDArray[np.int64],
    table: torch.Tensor,
    shift: int,
) -> torch.Tensor:
    """(batch, 3, H, W) float32 as the image processor would give them, moved by a few pixels."""
    # A memory map reads fastest in ascending order.
    ascending = np.argsort(rows, kind="stable")
    batch = np.empty((len(rows), *pixels.shape[1:]), dtype=np.uint8)
    batch[ascending] = pixels[rows[ascending]]
    side = batch.shape[1]
    padded = np.pad(batch, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
    looked_up = table.numpy()
    out = np.empty((len(rows), 3, side, side), np.float32)
    for i, (dy, dx) in enumerate((moves * (2 * shift + 1) >> 16).tolist()):
        moved = padded[i, dy : dy + side, dx : dx + side]
        for c in range(3):
            np.take(looked_up[c], moved[..., c], out=out[i, c], mode="clip")
    return torch.from_numpy(out)


def _loss(
    model: CLIPModel, images: torch.Tensor, tokens: torch.Tensor, inverse: torch.Tensor
) -> torch.Tensor:
    """Symmetric contrastive loss, nats, with all pictures of one caption as its positives.

    Equal to the loss over the full batch x batch matrix, whose equal columns are here one column
    with the logarithm of their number added.
    """
    # Up to a multiple of 16 captions: products of odd sizes may round by the number of threads.
    short = -len(tokens) % 16
    tokens = torch.cat([tokens, tokens[:1].expand(short, -1)])
    seen = model.vision_model(pixel_values=images).pooler_output
    read = model.text_model(input_ids=tokens).pooler_output
    x = F.normalize(model.visual_projection(seen), dim=-1)
    y = F.normalize(model.text_projection(read), dim=-1)
    # One copy of the scale a row: its gradient is then summed by row first, in a fixed order.
    scale = model.logit_scale.exp().expand(len(x), 1)
    logits = scale * (x @ y.T)  # (pictures, distinct captions)
    count = torch.bincount(inverse, minlength=len(tokens)).to(logits.dtype)
    own = logits.gather(1, inverse[:, None])[:, 0]
    to_text = torch.logsumexp(logits + count.log(), dim=1) - own
    to_image = torch.logsumexp(logits.T.contiguous(), dim=1)[inverse] - own
    return (to_text + to_image).mean() / 2


def _schedule(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _clip_gradients(parameters: Sequence[torch.Tensor], most: float) -> float:
    """Scale all gradients to a common norm of at most `most`; the norm before, summed in order."""
    total = 0.0
    for p in parameters:
        if p.grad is not None:
            rows = p.grad.reshape(p.shape[0] if p.ndim > 1 else 1, -1)
            total += float(np.sum((rows * rows).sum(dim=-1).double().numpy()))
    norm = math.sqrt(total)
    if norm > most:
        for p in parameters:
            if p.grad is not None:
                p.grad.mul_(most / (norm + 1e-6))
    return norm
