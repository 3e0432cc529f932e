"""Read one array (a layer, or the embeddings) across all shards of a data set, in place."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from clipsteer.activations.codecs import DTYPE_ATTRIBUTE, DTYPES, to_float32
from clipsteer.activations.tree_store import TreeStore
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FileTree, StoreTree

REMAKE = "Remove the damaged file and run the workflow again: it makes the shard anew."


class _Shard:
    """One shard's array, with its place in the data set."""

    def __init__(self, start: int, stop: int, tree: FileTree) -> None:
        self.start, self.stop = start, stop
        self.tree = tree
        store = TreeStore(tree)
        self.label = f"activation shard of images {start} to {stop}"
        try:
            self.array = zarr.open_array(store=store, mode="r", zarr_format=3)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise ClipsteerError(
                f"{self.label}: found no readable Zarr v3 array (zarr.json: {error}). {REMAKE}"
            ) from error
        self.dtype = str(self.array.attrs.get(DTYPE_ATTRIBUTE, ""))
        if self.dtype not in DTYPES or self.array.dtype != DTYPES[self.dtype].zarr:
            raise ClipsteerError(
                f"{self.label}: found {self.array.dtype} with attribute {DTYPE_ATTRIBUTE} = "
                f"{self.dtype!r}, expected a format among {', '.join(DTYPES)}."
            )
        if self.array.shape[0] != stop - start:
            raise ClipsteerError(
                f"{self.label}: found {self.array.shape[0]} images, expected {stop - start}."
            )
        self.file_images = int((self.array.shards or self.array.chunks)[0])
        for number in range(math.ceil((stop - start) / self.file_images)):
            # Zarr would take an unlisted file for a run of fill values.
            if not store.lists(self.key(number)):
                raise ClipsteerError(
                    f"{self.label}: its tree lacks {self.key(number)!r}, expected all of its "
                    f"shard files. {REMAKE}"
                )

    def key(self, number: int) -> str:
        return "/".join(["c", str(number), *["0"] * (len(self.array.shape) - 1)])

    def _quarantine(self, key: str) -> None:
        """Let the store see its damaged object: it takes it away and raises, so it is remade."""
        if isinstance(self.tree, StoreTree):
            self.tree.store.verify(self.tree.digest(key))

    def read_into(self, out: NDArray[np.generic], start: int) -> None:
        """Fill `out` with the images from `start` on (shard coordinates), file by file."""
        done = 0
        while done < len(out):
            number = (start + done) // self.file_images
            take = min(len(out) - done, (number + 1) * self.file_images - (start + done))
            low = start + done
            try:
                values: NDArray[Any] = np.asarray(self.array[low : low + take])
            except (ValueError, RuntimeError, EOFError) as error:
                # A wrong crc32c, or what a decompressor says of bytes that are not its own.
                self._quarantine(self.key(number))
                raise ClipsteerError(
                    f"{self.tree.local_path(self.key(number))}: found damage in {self.label} "
                    f"({error}), expected the bytes that were written. {REMAKE}"
                ) from error
            first = values.reshape(take, -1)[:, :1]
            # The writer refuses NaN, so one stands for an inner chunk that was never written.
            if np.isnan(to_float32(first, self.dtype)).any():
                raise ClipsteerError(
                    f"{self.tree.local_path(self.key(number))}: found fill values in {self.label}, "
                    f"expected activations. {REMAKE}"
                )
            out[done : done + take] = values
            done += take


class ActivationReader:
    """All shards of one array as one run of images, in data-set coordinates.

    `shards`: (start, stop, tree of the array), in any order; together one run without gap or
    overlap. Attributes: `start`, `stop` (images), `n_images`, `item` (shape of one image's part),
    `n_tokens` and `width` (item = (tokens, d); n_tokens is 1 for embeddings), `dtype` (stored
    format's name). Reading may happen from several threads.

    ClipsteerError: gaps, shards that differ in shape or format, damage (with the file's path).
    Where the shard lies in the store, a lost blob raises MissingObjectError, and a damaged one
    DamagedObjectError once it is in quarantine.
    """

    def __init__(self, shards: Sequence[tuple[int, int, FileTree]]) -> None:
        if not shards:
            raise ClipsteerError("activations: found no shards, expected at least one.")
        self._shards = [_Shard(*shard) for shard in sorted(shards, key=lambda shard: shard[0])]
        for left, right in zip(self._shards, self._shards[1:], strict=False):
            if left.stop != right.start:
                raise ClipsteerError(
                    f"activations: found a shard that ends at image {left.stop} before one that "
                    f"starts at {right.start}, expected shards that follow each other."
                )
            if (left.array.shape[1:], left.dtype) != (right.array.shape[1:], right.dtype):
                raise ClipsteerError(
                    f"activations: found {left.dtype} {left.array.shape[1:]} in the {left.label} "
                    f"but {right.dtype} {right.array.shape[1:]} in the {right.label}, expected one "
                    "shape and format. Extract all shards with one model and config."
                )
        self._starts = [shard.start for shard in self._shards]
        self.start, self.stop = self._shards[0].start, self._shards[-1].stop
        self.n_images = self.stop - self.start
        self.item: tuple[int, ...] = tuple(self._shards[0].array.shape[1:])
        self.dtype = self._shards[0].dtype
        self.n_tokens = self.item[0] if len(self.item) == 2 else 1
        self.width = self.item[-1]

    def read_stored(self, start: int, stop: int) -> NDArray[np.generic]:
        """Images [start, stop) as stored, (n, *item); a bfloat16 is its uint16 bit pattern."""
        if not self.start <= start <= stop <= self.stop:
            raise IndexError(f"images {start}:{stop} of {self.start}:{self.stop}")
        out = np.empty((stop - start, *self.item), DTYPES[self.dtype].zarr)
        number, low = bisect_right(self._starts, start) - 1, start
        while low < stop:
            shard = self._shards[number]
            high = min(stop, shard.stop)
            shard.read_into(out[low - start : high - start], low - shard.start)
            number, low = number + 1, high
        return out

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        """Images [start, stop), (n, *item): float16 or float32 as stored, bfloat16 as float32."""
        stored = self.read_stored(start, stop)
        if self.dtype == "bfloat16":
            return to_float32(stored, self.dtype)
        return stored  # type: ignore[return-value]

    def batches(self, size: int) -> Iterator[tuple[int, NDArray[np.floating]]]:
        """(first image, images (<= size, *item)) in order; the last batch may be shorter."""
        for low in range(self.start, self.stop, size):
            yield low, self.read(low, min(low + size, self.stop))
