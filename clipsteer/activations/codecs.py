"""The way back from stored activations to float32.

`docs/activations.md` holds the measured table from which `DEFAULT_DTYPE` was chosen
(`benchmarks/codecs.py` prints it). Byte codecs are in `clipsteer.activations.compressors`, apart,
so that an edit there leaves the dictionaries fresh.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipsteer.number_formats import DTYPES

# The array attribute that names its number format.
DTYPE_ATTRIBUTE = "clipsteer_dtype"


def to_float32(
    stored: NDArray[Any], dtype: str, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Stored values (..., as stored) as float32 (..., d), exactly what each format stands for.

    `stored`: writable, in the Zarr dtype of `dtype`. Fills `out` where it is given; else returns a
    new array, or `stored` itself if it is float32. torch widens 16-bit floats some ten times as
    fast as numpy does.
    """
    if dtype == "float32" and out is None:
        return stored
    size = DTYPES[dtype].scale_bytes
    values = torch.from_numpy(stored.view(np.int16) if dtype == "bfloat16" else stored)
    if dtype == "bfloat16":
        values = values.view(torch.bfloat16)
    values = values[..., : values.shape[-1] - size]
    wide = torch.empty(values.shape) if out is None else torch.from_numpy(out)
    wide.copy_(values)
    if size:
        # A copy: a single token's four bytes count as contiguous with any strides.
        scale = stored[..., -size:].copy().view("<f4")
        wide.mul_(torch.from_numpy(scale))
    return wide.numpy()
