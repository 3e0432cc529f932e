"""What a stored activation is: the number formats, each by one name, and the way back to float32.

``docs/activations.md`` holds the measured table from which ``DEFAULT_DTYPE`` was chosen
(``benchmarks/codecs.py`` prints it). Byte codecs are in `clipsteer.activations.compressors`, apart,
so that an edit there leaves the dictionaries fresh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipsteer.errors import ClipsteerError, close_match

DEFAULT_DTYPE = "float16"

BFLOAT16_NAN = 0x7FC0
# The array attribute that names its number format.
DTYPE_ATTRIBUTE = "clipsteer_dtype"


@dataclass(frozen=True)
class StoredDtype:
    """A number format: its name in the config, the Zarr array's dtype and the fill value.

    Zarr has no bfloat16, so its bit pattern is stored as uint16 and the array's attribute
    ``clipsteer_dtype`` says so. ``largest`` is the largest finite magnitude; ``fill`` is something
    that no activation is stored as: a NaN, or in int8 the one number below -127.
    """

    name: str
    zarr: np.dtype[np.generic]
    fill: float | int
    largest: float
    scale_bytes: int = 0
    """Bytes behind each token's numbers that hold what they are to be multiplied by."""

    def stored_item(self, item: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one image's part as stored; the scale makes the last dimension longer."""
        return (*item[:-1], item[-1] + self.scale_bytes)

    def item(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one image's part, from the stored shape."""
        return (*stored[:-1], stored[-1] - self.scale_bytes)


LARGEST_FLOAT32 = 3.4028234663852886e38
DTYPES: dict[str, StoredDtype] = {
    "float16": StoredDtype("float16", np.dtype("<f2"), np.nan, 65504.0),
    "bfloat16": StoredDtype("bfloat16", np.dtype("<u2"), BFLOAT16_NAN, 3.3895313892515355e38),
    "float32": StoredDtype("float32", np.dtype("<f4"), np.nan, LARGEST_FLOAT32),
    "int8": StoredDtype("int8", np.dtype("<i1"), -128, LARGEST_FLOAT32, scale_bytes=4),
}


def unknown_name(key: str, found: str, allowed: list[str]) -> ClipsteerError:
    """The error for a name that the config may not hold at `key`."""
    return ClipsteerError(
        f"{key}: found {found!r}, expected one of {', '.join(allowed)}."
        + close_match(found, allowed)
    )


def stored_dtype(name: str) -> StoredDtype:
    """The number format called `name`; ClipsteerError names ``activations.dtype`` if unknown."""
    if name not in DTYPES:
        raise unknown_name("activations.dtype", name, list(DTYPES))
    return DTYPES[name]


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
