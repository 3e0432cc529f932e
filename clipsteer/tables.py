"""Tables as Parquet bytes that depend on nothing but their content."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

_ROWS_PER_GROUP = 1 << 17
_ZSTD_LEVEL = 3


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """The frame as a Parquet file (zstd, no statistics); equal frames give equal bytes.

    The frame is rechunked first and the row groups have a fixed size, since otherwise the way in
    which a frame was put together, or the number of threads, would show in the file.
    """
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(
        buffer,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        statistics=False,
        row_group_size=_ROWS_PER_GROUP,
    )
    return buffer.getvalue()


def read_parquet(data: bytes | Path) -> pl.DataFrame:
    """Read a Parquet file from its bytes or its path."""
    return pl.read_parquet(io.BytesIO(data) if isinstance(data, bytes) else data)
