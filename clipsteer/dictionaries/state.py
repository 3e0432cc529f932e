"""All that the next training step depends on, in one object that can be stored and resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipsteer.dictionaries.initialise import geometric_median, initial_tensors

GROUPS = ("parameters", "first", "second")


@dataclass
class TrainState:
    """A training run between two steps.

    The sampler's position is not in here: the caller resumes its batches at `step`.
    """

    parameters: dict[str, Tensor]
    """W_enc, b_enc, W_dec, b_dec; updated in place."""

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
        """The same state with its tensors on `device` (the generator stays on the CPU)."""
        moved = {
            group: {name: tensor.to(device) for name, tensor in getattr(self, group).items()}
            for group in GROUPS
        }
        return type(self)(
            idle=self.idle.to(device),
            generator=self.generator,
            step=self.step,
            rows=self.rows,
            **moved,
        )

    def tensors(self) -> dict[str, Tensor]:
        """All tensors under flat names, for one safetensors file without pickle."""
        flat = {
            f"{group}.{name}": tensor
            for group in GROUPS
            for name, tensor in getattr(self, group).items()
        }
        return flat | {"idle": self.idle, "generator": self.generator.get_state()}

    def notes(self) -> dict[str, str]:
        """What is not a tensor, as safetensors metadata."""
        return {"step": str(self.step), "rows": json.dumps(self.rows)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> Self:
        """The inverse of `tensors` and `notes`: continues to the same bytes."""
        groups: dict[str, Any] = {
            group: {
                name.removeprefix(f"{group}."): tensor.clone()
                for name, tensor in tensors.items()
                if name.startswith(f"{group}.")
            }
            for group in GROUPS
        }
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        return cls(
            idle=tensors["idle"].clone(),
            generator=generator,
            step=int(notes["step"]),
            rows=json.loads(notes["rows"]),
            **groups,
        )
