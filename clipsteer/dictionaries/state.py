"""All that the next training step depends on, in one object that can be stored and resumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipsteer.dictionaries.initialise import geometric_median, initial_tensors
from clipsteer.snapshots import pack, unpack

GROUPS = ("parameters", "first", "second")


@dataclass
class TrainState:
    """A training run between two steps.

    The sampler's position is not in here: the caller resumes its batches at `step`.
    """

    parameters: dict[str, Tensor]
    """W_enc, b_enc, W_dec, b_dec; updated in place. W_enc (d, m) lies in memory by feature, as the
    transpose of a contiguous matrix, in its moments too: a step reads single features."""

    first: dict[str, Tensor]
    """Adam's running mean of the gradients, by parameter."""

    second: dict[str, Tensor]
    """Adam's running mean of the squared gradients, by parameter."""

    idle: Tensor
    """Steps since each feature last fired, int64 (m,)."""

    generator: torch.Generator
    """Source of randomness (initial directions; later draws, if an architecture makes any)."""

    step: int = 0
    """Steps done."""

    rows: list[dict[str, float]] = field(default_factory=list)
    """The training log so far."""

    @classmethod
    def initial(cls, m: int, sample: npt.NDArray[np.floating], seed: int) -> Self:
        """The state before the first step, on the CPU; `sample` (n, d) gives the decoder bias."""
        generator = torch.Generator().manual_seed(seed)
        parameters = initial_tensors(m, geometric_median(sample), generator)
        return cls(
            parameters=parameters,
            first={name: torch.zeros_like(tensor) for name, tensor in parameters.items()},
            second={name: torch.zeros_like(tensor) for name, tensor in parameters.items()},
            idle=torch.zeros(m, dtype=torch.int64),
            generator=generator,
        )

    def to(self, device: torch.device | str) -> Self:
        """The same state with its tensors on `device`, as a step wants them.

        The generator stays on the CPU.
        """
        moved = {
            group: {
                name: _by_feature(tensor.to(device)) if name == "W_enc" else tensor.to(device)
                for name, tensor in getattr(self, group).items()
            }
            for group in GROUPS
        }
        return type(self)(
            idle=self.idle.to(device),
            generator=self.generator,
            step=self.step,
            rows=self.rows,
            **moved,
        )

    def to_bytes(self) -> bytes:
        """All of it, without pickle; equal states give equal bytes."""
        flat = {
            f"{group}.{name}": tensor
            for group in GROUPS
            for name, tensor in getattr(self, group).items()
        }
        others = {"idle": self.idle, "generator": self.generator.get_state()}
        return pack(flat | others, {"step": self.step, "rows": self.rows})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`, on the CPU: continues to the same bytes."""
        tensors, notes = unpack(data)
        groups: dict[str, Any] = {
            group: {
                name.removeprefix(f"{group}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{group}.")
            }
            for group in GROUPS
        }
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        return cls(idle=tensors["idle"], generator=generator, **notes, **groups)


def _by_feature(W_enc: Tensor) -> Tensor:
    """The same (d, m) with the weights of each feature side by side."""
    return W_enc.t().contiguous().t()
