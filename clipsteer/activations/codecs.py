"""What a stored activation is: the number formats and the byte codecs, each by one name.

Lossless codecs only. Every chain ends in crc32c, so that one wrong byte in a shard file is found
when it is read and never trained on. ``docs/activations.md`` holds the measured table from which
``DEFAULT_DTYPE`` and ``DEFAULT_CODEC`` were chosen (``benchmarks/codecs.py`` prints it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from clipsteer.errors import ClipsteerError, close_match

DEFAULT_DTYPE = "float16"
DEFAULT_CODEC = "none"

BFLOAT16_NAN = 0x7FC0
# The array attribute that names its number format.
DTYPE_ATTRIBUTE = "clipsteer_dtype"


@dataclass(frozen=True)
class StoredDtype:
    """A number format: its name in the config, the Zarr array's dtype and the fill value (a NaN).

    Zarr has no bfloat16, so its bit pattern is stored as uint16 and the array's attribute
    ``clipsteer_dtype`` says so. ``largest`` is the largest finite magnitude.
    """

    name: str
    zarr: np.dtype[np.generic]
    fill: float | int
    largest: float


DTYPES: dict[str, StoredDtype] = {
    "float16": StoredDtype("float16", np.dtype("<f2"), np.nan, 65504.0),
    "bfloat16": StoredDtype("bfloat16", np.dtype("<u2"), BFLOAT16_NAN, 3.3895313892515355e38),
    "float32": StoredDtype("float32", np.dtype("<f4"), np.nan, 3.4028234663852886e38),
}

# typesize is left to Zarr, which takes it from the array's dtype and writes it into the metadata.
CODECS: dict[str, Callable[[], list[BytesBytesCodec]]] = {
    "none": lambda: [],
    "zstd": lambda: [ZstdCodec(level=1)],
    "blosc-lz4": lambda: [BloscCodec(cname="lz4", clevel=1, shuffle="shuffle")],
    "blosc-zstd": lambda: [BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")],
    "blosc-zstd-bits": lambda: [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")],
}


def _unknown(key: str, found: str, allowed: list[str]) -> ClipsteerError:
    return ClipsteerError(
        f"{key}: found {found!r}, expected one of {', '.join(allowed)}."
        + close_match(found, allowed)
    )


def stored_dtype(name: str) -> StoredDtype:
    """The number format called `name`; ClipsteerError names ``activations.dtype`` if unknown."""
    if name not in DTYPES:
        raise _unknown("activations.dtype", name, list(DTYPES))
    return DTYPES[name]


def byte_codecs(name: str) -> list[BytesBytesCodec]:
    """The codec chain called `name`, crc32c last; ClipsteerError names ``activations.codec``."""
    if name not in CODECS:
        raise _unknown("activations.codec", name, list(CODECS))
    return [*CODECS[name](), Crc32cCodec()]


def to_float32(stored: NDArray[np.generic], dtype: str) -> NDArray[np.float32]:
    """Stored values as float32, exactly (every format's values are float32 values too).

    `stored`: any shape, in the Zarr dtype of `dtype`. Returns a new array unless it is float32.
    """
    if dtype == "bfloat16":
        # A bfloat16 is the upper half of the float32 with the same value.
        wide = stored.astype(np.uint32)
        np.left_shift(wide, 16, out=wide)
        return wide.view(np.float32)
    return stored.astype(np.float32, copy=False)
