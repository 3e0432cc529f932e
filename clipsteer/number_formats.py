"""The number formats in which activations are stored, each by one name.

One table for all who count bytes: the shards' writer and reader, and the estimates of what a job takes,
which are made while Snakemake parses. So nothing here imports torch or zarr.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipsteer.errors import ClipsteerError, close_match

DEFAULT_DTYPE = "float16"
BFLOAT16_NAN = 0x7FC0
LARGEST_FLOAT32 = 3.4028234663852886e38


@dataclass(frozen=True)
class StoredDtype:
    """A number format: its name in the config, the Zarr array's dtype and the fill value.

    Zarr has no bfloat16, so its bit pattern is stored as uint16 and the array's attribute
    `clipsteer_dtype` says so. `largest` is the largest finite magnitude; `fill` is something
    that no activation is stored as: a NaN, or in int8 the one number below -127.
    """

    name: str
    zarr: np.dtype[np.generic]
    fill: float | int
    largest: float
    scale_bytes: int = 0
    """Bytes behind each token's numbers that hold what they are to be multiplied by."""

    def token_bytes(self, width: int) -> int:
        """Bytes of one token of `width` numbers as stored, before a codec."""
        return width * self.zarr.itemsize + self.scale_bytes

    def stored_item(self, item: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one image's part as stored; the scale makes the last dimension longer."""
        return (*item[:-1], item[-1] + self.scale_bytes)

    def item(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one image's part, from the stored shape."""
        return (*stored[:-1], stored[-1] - self.scale_bytes)


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
    """The number format called `name`; ClipsteerError names `activations.dtype` if unknown."""
    if name not in DTYPES:
        raise unknown_name("activations.dtype", name, list(DTYPES))
    return DTYPES[name]
