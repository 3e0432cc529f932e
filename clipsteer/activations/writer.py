"""Write one shard of images as a Zarr v3 group (the format of `docs/activations.md`).

The arrays grow by batches of images. Each array buffers one shard file's worth and then writes that
file whole, so memory does not grow with the number of images and no file is read back.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec

from clipsteer.activations.cast import DTYPE_ATTRIBUTE
from clipsteer.activations.chunks import chunk_images
from clipsteer.errors import ClipsteerError
from clipsteer.number_formats import StoredDtype, stored_dtype, unknown_name

FORMAT = "clipsteer-activations/1"
# A shard file is the unit of writing and of memory: 12 layers at 32 MiB are 384 MiB of buffers.
FILE_BYTES = 32 << 20

# `docs/activations.md` holds the measured table from which it was chosen (`benchmarks/codecs.py` prints it).
DEFAULT_CODEC = "none"

# The byte codecs of inner chunks, each by one name; lossless ones only.
# typesize is left to Zarr, which takes it from the array's dtype and writes it into the metadata.
CODECS: dict[str, Callable[[], list[BytesBytesCodec]]] = {
    "none": lambda: [],
    "zstd": lambda: [ZstdCodec(level=1)],
    "blosc-lz4": lambda: [BloscCodec(cname="lz4", clevel=1, shuffle="shuffle")],
    "blosc-zstd": lambda: [BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")],
    "blosc-zstd-bits": lambda: [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")],
}


def byte_codecs(name: str) -> list[BytesBytesCodec]:
    """The codec chain called `name`; ClipsteerError names `activations.codec`.

    It ends in crc32c, so that one wrong byte in a shard file is found when it is read and never trained on.
    """
    if name not in CODECS:
        raise unknown_name("activations.codec", name, list(CODECS))
    return [*CODECS[name](), Crc32cCodec()]


@dataclass(frozen=True)
class ArrayLayout:
    """An array to write: `item` is the shape of one image's part, e.g. (tokens, d) or (p,)."""

    item: tuple[int, ...]
    dtype: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that say more of the format."""


class _GrowingArray:
    """One array of the group: a buffer of one shard file, written when it is full."""

    def __init__(
        self, group: zarr.Group, name: str, n_images: int, layout: ArrayLayout, codec: str,
        file_bytes: int,
    ) -> None:  # fmt: skip
        self.dtype: StoredDtype = stored_dtype(layout.dtype)
        self.name = name
        self.item = self.dtype.stored_item(layout.item)
        image_bytes = int(np.prod(self.item)) * self.dtype.zarr.itemsize
        inner = chunk_images(image_bytes)
        needed = -(-n_images // inner)
        self.file_images = inner * min(needed, max(1, file_bytes // (inner * image_bytes)))
        self.array = group.create_array(
            name,
            shape=(n_images, *self.item),
            dtype=self.dtype.zarr,
            chunks=(inner, *self.item),
            shards=(self.file_images, *self.item),
            serializer=BytesCodec(endian="little"),
            compressors=byte_codecs(codec),
            fill_value=self.dtype.fill,
            attributes={DTYPE_ATTRIBUTE: layout.dtype, **layout.attributes},
            # A chunk of fill values must be written too: an absent chunk always means damage.
            config={"write_empty_chunks": True},
        )
        self.buffer = np.empty((min(self.file_images, n_images), *self.item), self.dtype.zarr)
        self.written = self.held = 0

    def append(self, values: NDArray[np.generic]) -> None:
        if values.shape[1:] != self.item or values.dtype != self.dtype.zarr:
            raise ValueError(
                f"{self.name}: batch of {values.dtype} {values.shape[1:]}, expected "
                f"{self.dtype.zarr} {self.item}"
            )
        if self.written + self.held + len(values) > self.array.shape[0]:
            raise ValueError(f"{self.name}: more images than the {self.array.shape[0]} declared")
        done = 0
        while done < len(values):
            take = min(len(values) - done, len(self.buffer) - self.held)
            self.buffer[self.held : self.held + take] = values[done : done + take]
            self.held += take
            done += take
            if self.held == len(self.buffer):
                self.flush()

    def flush(self) -> None:
        if self.held:
            self.array[self.written : self.written + self.held] = self.buffer[: self.held]
            self.written += self.held
            self.held = 0


def write_shard(
    folder: Path,
    *,
    n_images: int,
    layouts: Mapping[str, ArrayLayout],
    batches: Iterable[Mapping[str, NDArray[np.generic]]],
    codec: str,
    attributes: Mapping[str, Any],
    file_bytes: int = FILE_BYTES,
) -> list[str]:
    """Write a shard of `n_images` into `folder`, which appears only when it is complete.

    `layouts`: array name (may contain `/`) -> layout. `batches`: mappings from each array name to
    its next images as `to_stored` makes them, (k, *stored item). `attributes` (JSON values) go on the group,
    beside `format`. Returns the arrays' names, each a sub-folder that is to become a nested tree.
    Same input, same bytes. ClipsteerError: unknown codec or dtype, `folder` already there, a full
    disk; ValueError: batches that do not fit `layouts` or `n_images`. On any error nothing is left.
    """
    if folder.exists():
        raise ClipsteerError(
            f"{folder}: found something in the place of a new activation shard, expected nothing. "
            "Remove it, or name another folder."
        )
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        group = zarr.create_group(partial, attributes={**attributes, "format": FORMAT})
        arrays = {
            name: _GrowingArray(group, name, n_images, layout, codec, file_bytes)
            for name, layout in layouts.items()
        }
        for batch in batches:
            for name, array in arrays.items():
                array.append(batch[name])
        for name, array in arrays.items():
            array.flush()
            if array.written != n_images:
                raise ValueError(f"{name}: {array.written} images, expected {n_images}")
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ClipsteerError(
                f"{folder}: the disk is full ({error.strerror}) while writing an activation shard "
                f"of {n_images} images. Free some room or point store.root to another disk, then "
                "run again; nothing was left behind."
            ) from error
        raise
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return sorted(layouts)
