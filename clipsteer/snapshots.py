"""The progress of a training as bytes, without pickle: tensors, and notes in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

_NOTES = "notes"

Resume = Callable[[], bytes | None]
"""Gives the snapshot that a training is to continue from; None: it starts from the beginning."""

Offer = Callable[[int, Callable[[], bytes]], None]
"""What a training calls after each step with the number of steps done and a way to its snapshot.

The caller decides whether to take one; the training's result does not depend on it.
"""


@dataclass(frozen=True)
class Snapshots:
    """How a training goes on from an earlier one, and leaves what a later one can go on from."""

    resume: Resume | None = None
    offer: Offer | None = None


def pack(tensors: Mapping[str, Tensor], notes: Any) -> bytes:
    """A safetensors file; equal tensors and notes give equal bytes."""
    # The notes are a tensor too: safetensors writes its own metadata in an order that varies.
    text = bytearray(json.dumps(notes).encode())
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain | {_NOTES: torch.frombuffer(text, dtype=torch.uint8)})


def unpack(data: bytes) -> tuple[dict[str, Tensor], Any]:
    """The tensors (on the CPU) and notes that `pack` was given, bit for bit."""
    # Copies lie where torch aligns all its tensors; a matrix product may round by alignment.
    loaded = load(data)
    tensors = {name: loaded.pop(name).clone() for name in sorted(loaded)}
    return tensors, json.loads(tensors.pop(_NOTES).numpy().tobytes())
