"""From a model's numbers to what is stored, and back to float32.

`docs/activations.md` holds the measured table from which `DEFAULT_DTYPE` of `clipsteer.number_formats`
was chosen (`benchmarks/codecs.py` prints it).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipsteer.number_formats import DTYPES

# The array attribute that names its number format.
DTYPE_ATTRIBUTE = "clipsteer_dtype"
# The array attribute that says which token is CLS; where it is absent, the first one is.
CLS_ATTRIBUTE = "clipsteer_cls"

_TORCH_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


def to_stored(values: Tensor, dtype: str) -> NDArray[Any]:
    """Cast to the stored format `dtype`, rounding to nearest even, and hand over as numpy.

    `values`: float tensor (..., d) of any device. What overflows becomes an infinity. int8: each
    row is divided by its scale, its largest magnitude over 127 in float32, which follows it as four
    bytes. The scale of a row of zeros is 1, and where a value is not finite, neither is the scale.
    """
    if dtype == "int8":
        return _quantised(values.detach().float().cpu().contiguous())
    cast = values.detach().to(_TORCH_DTYPES[dtype]).cpu().contiguous()
    if dtype == "bfloat16":
        return cast.view(torch.int16).numpy().view(np.uint16)
    return cast.numpy()


def _quantised(values: Tensor) -> NDArray[np.int8]:
    scale = values.abs().amax(dim=-1, keepdim=True).div_(127)
    # Below this a float32 has few bits left; magnitudes of 10^-36 count as zeros.
    scale.masked_fill_(scale < torch.finfo(torch.float32).tiny, 1.0)
    numbers = (values / scale).nan_to_num_(0.0).round_().clamp_(-127, 127).to(torch.int8)
    return np.concatenate([numbers.numpy(), scale.numpy().view(np.int8)], axis=-1)


def all_finite(stored: NDArray[Any], dtype: str) -> bool:
    """Whether neither NaN nor infinity nor overflow went into what `to_stored` made."""
    if dtype == "bfloat16":
        # All exponent bits set: an infinity or a NaN.
        bits = stored.view(np.uint16) & np.uint16(0x7F80)
        return not bool((bits == 0x7F80).any())
    if dtype == "int8":
        scale = np.ascontiguousarray(stored[..., -DTYPES[dtype].scale_bytes :]).view("<f4")
        return bool(np.isfinite(scale).all())
    return bool(np.isfinite(stored).all())


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
