"""Zarr v3's `sharding_indexed` layout, read without Zarr: one `preadv` for each inner chunk.

Zarr's own way to the same bytes (an event loop, tasks, buffers, masks) takes 9 to 54 times the
processor time of a plain copy. What is read here is what the writer writes (`docs/activations.md`):
chunks along the images only, an optional compressor, crc32c last. The index at a file's end says
where each inner chunk lies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

METADATA = "zarr.json"
# Index entries of an inner chunk that was never written.
_ABSENT = 2**64 - 1
_CRC_BYTES = 4
_ENTRY_BYTES = 16

Decompress = Callable[[Any, NDArray[np.uint8]], None]


class DamageError(Exception):
    """The bytes are not those that were written."""


class NeverWrittenError(Exception):
    """The index has no inner chunk here: Zarr would hand out fill values."""


@dataclass(frozen=True)
class ArrayFormat:
    """What an array's zarr.json says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    file_images: int
    """Images of one shard file."""
    chunk_images: int
    """Images of one inner chunk."""
    decompress: Decompress | None
    """From a chunk's compressed bytes into an array that takes all of them; None: stored plainly."""
    attributes: dict[str, Any]

    @property
    def image_bytes(self) -> int:
        """One image's part, uncompressed."""
        return int(np.prod(self.shape[1:])) * self.dtype.itemsize


def parse_format(metadata: bytes) -> ArrayFormat:
    """Read an array's zarr.json.

    ValueError, LookupError, TypeError or AttributeError: no JSON, no Zarr v3 array, or one in a layout
    that is not ours.
    """
    data = json.loads(metadata)
    if not isinstance(data, dict) or data.get("zarr_format") != 3:
        raise ValueError("no metadata of Zarr version 3")
    if data.get("node_type") != "array":
        raise ValueError(f"node_type is {data.get('node_type')!r}, not 'array'")
    shape = tuple(data["shape"])
    shards = tuple(data["chunk_grid"]["configuration"]["chunk_shape"])
    (sharding,) = data["codecs"]
    settings = sharding["configuration"]
    chunks = tuple(settings["chunk_shape"])
    if not all(type(n) is int and n > 0 for n in (*shape, *shards, *chunks)):
        raise ValueError(f"{shape}, {shards} or {chunks} is not a shape")
    if sharding["name"] != "sharding_indexed" or settings.get("index_location", "end") != "end":
        raise ValueError("its files are not sharding_indexed with the index at the end")
    if shards[1:] != shape[1:] or chunks[1:] != shape[1:] or shards[0] % chunks[0]:
        raise ValueError(f"chunks of {chunks} in files of {shards} do not cut {shape} by images")
    _little_endian(settings["index_codecs"])
    return ArrayFormat(
        shape=shape,
        dtype=np.dtype(data["data_type"]).newbyteorder("<"),
        file_images=int(shards[0]),
        chunk_images=int(chunks[0]),
        decompress=_decompressor(_little_endian(settings["codecs"])),
        attributes=dict(data.get("attributes", {})),
    )


def _little_endian(codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What stands between `bytes` (little-endian) at the start of a chain and crc32c at its end."""
    first, last = codecs[0], codecs[-1]
    endian = first.get("configuration", {}).get("endian", "little")
    if (first["name"], endian, last["name"]) != ("bytes", "little", "crc32c"):
        raise ValueError("a chain of codecs does not go from little-endian bytes to crc32c")
    return codecs[1:-1]


def _decompressor(codecs: list[dict[str, Any]]) -> Decompress | None:
    if not codecs:
        return None
    names = [codec["name"] for codec in codecs]
    if names == ["zstd"]:
        from numcodecs.zstd import decompress
    elif names == ["blosc"]:
        from numcodecs.blosc import decompress
    else:
        raise ValueError(f"found the compressors {', '.join(names)}, expected zstd or blosc")

    def into(data: Any, out: NDArray[np.uint8]) -> None:
        decompress(data, out)

    return into


class ShardFile:
    """An open shard file and its index; closed when it is no longer used.

    Reading may happen from several threads. DamageError: an index that is not what was written.
    """

    def __init__(self, path: str | os.PathLike[str], array: ArrayFormat) -> None:
        self._array = array
        self._chunk_bytes = array.chunk_images * array.image_bytes
        self._file = -1  # for __del__, where opening fails
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        count = array.file_images // array.chunk_images
        length = count * _ENTRY_BYTES + _CRC_BYTES
        self._size = os.fstat(self._file).st_size
        if self._size < length:
            raise DamageError(f"{self._size} bytes are fewer than the index has, {length}")
        index = self._checked(self._size - length, length, "the index")
        self._index = np.frombuffer(index, "<u8").reshape(count, 2).tolist()

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def read_into(self, out: NDArray[Any], start: int) -> None:
        """Fill `out`, C-contiguous, with the images from `start` on (coordinates of the file).

        DamageError, NeverWrittenError; `out` holds anything then.
        """
        done, size = 0, self._array.chunk_images
        while done < len(out):
            number, low = divmod(start + done, size)
            take = min(len(out) - done, size - low)
            part = out[done : done + take].reshape(-1).view(np.uint8)
            if take == size:
                self._chunk_into(part, number)
            else:
                whole = np.empty(self._chunk_bytes, np.uint8)
                self._chunk_into(whole, number)
                first = low * self._array.image_bytes
                part[:] = whole[first : first + len(part)]
            done += take

    def _chunk_into(self, out: NDArray[np.uint8], number: int) -> None:
        """Fill `out` with the bytes of one whole inner chunk."""
        offset, length = self._index[number]
        if offset == length == _ABSENT:
            raise NeverWrittenError
        what = f"inner chunk {number}"
        if offset + length > self._size or length < _CRC_BYTES:
            raise DamageError(f"{what} would lie at {offset} to {offset + length} of {self._size}")
        if self._array.decompress is None:
            if length != self._chunk_bytes + _CRC_BYTES:
                raise DamageError(
                    f"{what} has {length} bytes, not {self._chunk_bytes + _CRC_BYTES}"
                )
            self._read(out, offset, what)
            return
        data = self._checked(offset, length, what)
        try:
            self._array.decompress(data, out)
        except (ValueError, RuntimeError) as error:
            raise DamageError(f"{what}: {error}") from error

    def _checked(self, offset: int, length: int, what: str) -> NDArray[np.uint8]:
        """What lies before the crc32c that ends this run of bytes."""
        data = np.empty(length - _CRC_BYTES, np.uint8)
        self._read(data, offset, what)
        return data

    def _read(self, out: NDArray[np.uint8], offset: int, what: str) -> None:
        """Fill `out` from the file, and compare its crc32c with the four bytes that follow."""
        told = bytearray(_CRC_BYTES)
        wanted = len(out) + _CRC_BYTES
        got = os.preadv(self._file, [out.data, told], offset)
        while got < wanted:  # a signal, or more than the system reads at once (2 GiB)
            rest = [out.data[got:], memoryview(told)[max(0, got - len(out)) :]]
            more = os.preadv(self._file, rest, offset + got)
            if more == 0:
                raise DamageError(f"{what} ends after {got} of {wanted} bytes")
            got += more
        if google_crc32c.value(out) != int.from_bytes(told, "little"):
            raise DamageError(f"{what}: its crc32c is not that of its bytes")
