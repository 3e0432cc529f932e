"""How an SAE starts: random unit directions, a transposed encoder, the geometric median as bias."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipsteer.dictionaries.numerics import total
from clipsteer.errors import ClipsteerError


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
