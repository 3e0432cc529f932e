"""All that the next training step depends on, in one object that can be stored and resumed.

And how it starts: random unit directions, a transposed encoder, the geometric median as bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipsteer.dictionaries.numerics import total
from clipsteer.errors import ClipsteerError
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

    threshold: float | None = None
    """What `Dictionary.followed` follows; None where nothing is."""

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
            threshold=self.threshold,
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
        notes = {"step": self.step, "rows": self.rows}
        if self.threshold is not None:
            notes["threshold"] = self.threshold
        return pack(flat | others, notes)

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


def geometric_median(
    sample: npt.NDArray[np.floating], *, iterations: int = 200, tolerance: float = 1e-7
) -> Tensor:
    """The point with the least sum of distances to the rows of `sample` (n, d): float64 (d,).

    Weiszfeld's iteration from the mean, in float64, until a step is shorter than `tolerance` times
    the mean distance. Distances are kept above a millionth of that, so that a point on top of the
    estimate does not swallow it.

    Raises:
        ClipsteerError: the sample is empty, not two-dimensional, or not finite.
    """
    if sample.ndim != 2 or sample.shape[0] == 0:
        raise ClipsteerError(
            f"sample for the decoder bias: found shape {sample.shape}, expected (tokens, width) "
            "with at least one token. Extract activations for the training set first."
        )
    points = torch.from_numpy(np.ascontiguousarray(sample, dtype=np.float64))
    if not np.isfinite(sample).all():
        raise ClipsteerError(
            "sample for the decoder bias: found NaN or infinite activations, expected finite "
            "ones. Extract the activations again, in float32 if they overflow float16."
        )
    median = points.mean(dim=0)
    for _ in range(iterations):
        distances = torch.linalg.vector_norm(points - median, dim=1)
        mean_distance = float(total(distances)) / len(points)
        if mean_distance == 0.0:
            break
        weights = distances.clamp_(min=1e-6 * mean_distance).reciprocal_()
        moved = (points * weights[:, None]).sum(dim=0) / float(total(weights))
        step = float(np.linalg.norm((moved - median).numpy()))
        median = moved
        if step <= tolerance * mean_distance:
            break
    return median


def initial_tensors(m: int, b_dec: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Parameters at step 0, float32, on the CPU (Section 10.1; docs/method.md, section 4).

    W_dec has random rows of unit norm, W_enc = W_dec^T, b_enc = 0, b_dec as given (d,).
    """
    d = b_dec.shape[0]
    W_dec = torch.randn(m, d, generator=generator, dtype=torch.float32)
    W_dec /= torch.linalg.vector_norm(W_dec, dim=1, keepdim=True)
    return {
        "W_enc": W_dec.t().contiguous(),
        "b_enc": torch.zeros(m),
        "W_dec": W_dec,
        "b_dec": b_dec.to(torch.float32).clone(),
    }


def _by_feature(W_enc: Tensor) -> Tensor:
    """The same (d, m) with the weights of each feature side by side."""
    return W_enc.t().contiguous().t()
