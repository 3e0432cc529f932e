"""Read one array (a layer, or the embeddings) across all shards of a data set, in place."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsteer.activations.cast import CLS_ATTRIBUTE, DTYPE_ATTRIBUTE, to_float32
from clipsteer.activations.sharding import (
    METADATA,
    DamageError,
    NeverWrittenError,
    ShardFile,
    parse_format,
)
from clipsteer.errors import ClipsteerError
from clipsteer.number_formats import DTYPES
from clipsteer.store.objects import DamagedObjectError, MissingObjectError
from clipsteer.store.trees import FileTree, StoreTree

# Descriptors that a reader holds at most; a process may have 1,024 on many systems.
OPEN_FILES = 64
REMAKE = "Remove the damaged file and run the workflow again: it makes the shard anew."


class _Shard:
    """One shard's array, with its place in the data set."""

    def __init__(self, start: int, stop: int, tree: FileTree, files: _OpenFiles) -> None:
        self.start, self.stop = start, stop
        self.tree, self.files = tree, files
        self.label = f"activation shard of images {start} to {stop}"
        try:
            self.format = parse_format(tree.read(METADATA))
        except (MissingObjectError, DamagedObjectError):
            raise
        except (ValueError, LookupError, TypeError, AttributeError, ClipsteerError) as error:
            raise ClipsteerError(
                f"{self.label}: found no readable Zarr v3 array ({METADATA}: {error}). {REMAKE}"
            ) from error
        self.dtype = str(self.format.attributes.get(DTYPE_ATTRIBUTE, ""))
        if self.dtype not in DTYPES or self.format.dtype != DTYPES[self.dtype].zarr:
            raise ClipsteerError(
                f"{self.label}: found {self.format.dtype} with attribute {DTYPE_ATTRIBUTE} = "
                f"{self.dtype!r}, expected a format among {', '.join(DTYPES)}."
            )
        self.cls: int | None = self.format.attributes.get(CLS_ATTRIBUTE, 0)
        if self.format.shape[0] != stop - start:
            raise ClipsteerError(
                f"{self.label}: found {self.format.shape[0]} images, expected {stop - start}."
            )
        for number in range(-(-(stop - start) // self.format.file_images)):
            # Zarr would take an unlisted file for a run of fill values.
            if not tree.exists(self.key(number)):
                raise ClipsteerError(
                    f"{self.label}: its tree lacks {self.key(number)!r}, expected all of its "
                    f"shard files. {REMAKE}"
                )

    @property
    def form(self) -> tuple[object, ...]:
        """What all shards of an array share."""
        return self.format.shape[1:], self.dtype, self.cls

    def key(self, number: int) -> str:
        return "/".join(["c", str(number), *["0"] * (len(self.format.shape) - 1)])

    def _quarantine(self, key: str) -> None:
        """Let the store see its damaged object: it takes it away and raises, so it is remade."""
        if isinstance(self.tree, StoreTree):
            self.tree.store.verify(self.tree.digest(key))

    def _open(self, key: str) -> ShardFile:
        path = self.tree.local_path(key)
        try:
            return ShardFile(path, self.format)
        except FileNotFoundError as error:
            self.tree.local_path(key)  # a store says so where it has just lost the object
            raise ClipsteerError(
                f"{path}: the file of {key!r} in an activation shard is missing, expected its "
                f"bytes. {REMAKE}"
            ) from error

    def read_into(self, out: NDArray[Any], start: int) -> None:
        """Fill `out` with the images from `start` on (shard coordinates), file by file."""
        done, size = 0, self.format.file_images
        while done < len(out):
            number, low = divmod(start + done, size)
            take = min(len(out) - done, size - low)
            key = self.key(number)
            try:
                file = self.files.get((self.start, number), partial(self._open, key))
                file.read_into(out[done : done + take], low)
            except DamageError as error:
                self.files.drop((self.start, number))
                self._quarantine(key)
                raise ClipsteerError(
                    f"{self.tree.local_path(key)}: found damage in {self.label} "
                    f"({error}), expected the bytes that were written. {REMAKE}"
                ) from error
            except NeverWrittenError as error:
                raise ClipsteerError(
                    f"{self.tree.local_path(key)}: found fill values in {self.label}, "
                    f"expected activations. {REMAKE}"
                ) from error
            done += take


class _OpenFiles:
    """The shard files that were read last: opening one anew each time would cost half a read."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[int, int], ShardFile] = OrderedDict()
        self._lock = Lock()

    def get(self, place: tuple[int, int], make: Callable[[], ShardFile]) -> ShardFile:
        with self._lock:
            file = self._files.pop(place, None)
        file = file or make()
        with self._lock:
            self._files[place] = file
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)
        return file

    def drop(self, place: tuple[int, int]) -> None:
        with self._lock:
            self._files.pop(place, None)


class ActivationReader:
    """All shards of one array as one run of images, in data-set coordinates.

    `shards`: (start, stop, tree of the array), in any order; together one run without gap or
    overlap. Attributes: `start`, `stop` (images), `n_images`, `item` (shape of one image's part),
    `n_tokens` and `width` (item = (tokens, d); n_tokens is 1 for embeddings), `cls` (place of the CLS
    token, None where the model has none), `dtype` (stored format's name). Reading may happen from several threads.

    ClipsteerError: gaps, shards that differ in shape or format, damage (with the file's path).
    Where the shard lies in the store, a lost blob raises MissingObjectError, and a damaged one
    DamagedObjectError once it is in quarantine.
    """

    def __init__(self, shards: Sequence[tuple[int, int, FileTree]]) -> None:
        if not shards:
            raise ClipsteerError("activations: found no shards, expected at least one.")
        files = _OpenFiles()
        ordered = sorted(shards, key=lambda shard: shard[0])
        self._shards = [_Shard(*shard, files) for shard in ordered]
        for left, right in zip(self._shards, self._shards[1:], strict=False):
            if left.stop != right.start:
                raise ClipsteerError(
                    f"activations: found a shard that ends at image {left.stop} before one that "
                    f"starts at {right.start}, expected shards that follow each other."
                )
            if left.form != right.form:
                raise ClipsteerError(
                    f"activations: found {left.dtype} {left.format.shape[1:]} in the {left.label} "
                    f"but {right.dtype} {right.format.shape[1:]} in the {right.label}, expected one "
                    "shape and format. Extract all shards with one model and config."
                )
        self._starts = [shard.start for shard in self._shards]
        self.start, self.stop = self._shards[0].start, self._shards[-1].stop
        self.n_images = self.stop - self.start
        self.dtype, self.cls = self._shards[0].dtype, self._shards[0].cls
        self._stored_item = self._shards[0].format.shape[1:]
        self.item = DTYPES[self.dtype].item(self._stored_item)
        self.n_tokens = self.item[0] if len(self.item) == 2 else 1
        self.width = self.item[-1]

    def read_stored(
        self, start: int, stop: int, out: NDArray[Any] | None = None
    ) -> NDArray[np.generic]:
        """Images [start, stop) as stored, (n, *item); a bfloat16 is its uint16 bit pattern.

        int8 has four more bytes a token, its scale. `out`: a C-contiguous array to fill instead of
        a new one.
        """
        if not self.start <= start <= stop <= self.stop:
            raise IndexError(f"images {start}:{stop} of {self.start}:{self.stop}")
        if out is None:
            out = np.empty((stop - start, *self._stored_item), DTYPES[self.dtype].zarr)
        number, low = bisect_right(self._starts, start) - 1, start
        while low < stop:
            shard = self._shards[number]
            high = min(stop, shard.stop)
            shard.read_into(out[low - start : high - start], low - shard.start)
            number, low = number + 1, high
        return out

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        """Images [start, stop), (n, *item): float16 as stored, the other formats as float32."""
        stored = self.read_stored(start, stop)
        if self.dtype == "float16":
            return stored  # type: ignore[return-value]
        return to_float32(stored, self.dtype)

    def batches(self, size: int) -> Iterator[tuple[int, NDArray[np.floating]]]:
        """(first image, images (<= size, *item)) in order; the last batch may be shorter."""
        for low in range(self.start, self.stop, size):
            yield low, self.read(low, min(low + size, self.stop))
