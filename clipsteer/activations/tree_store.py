"""For people: a read-only Zarr store on a `FileTree`, so that Zarr opens an array where it lies.

The steps read with `clipsteer.activations.reader`, which is faster.

Zarr takes a missing key for an empty chunk and hands out fill values. Here a key that the tree
lists must have its bytes: their absence raises (what the tree raises, so that the caller may remake
the object). A key that the tree does not list is absent, as Zarr expects of optional metadata.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from clipsteer.activations.sharding import METADATA
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FileTree


class TreeStore(Store):
    """Read-only Zarr store on `tree`; keys are the tree's paths.

    Metadata goes through `tree.read`, which verifies small objects; chunks are read by byte range
    from `tree.local_path` and are guarded by the crc32c inside them.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, tree: FileTree) -> None:
        super().__init__(read_only=True)
        self.tree = tree
        self._keys = frozenset(tree.paths())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeStore) and other.tree is self.tree

    def __hash__(self) -> int:
        return id(self.tree)

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes:
        if key.rpartition("/")[2] == METADATA and byte_range is None:
            return self.tree.read(key)
        path = self.tree.local_path(key)
        try:
            with open(path, "rb") as file:
                start, length = _span(byte_range, os.fstat(file.fileno()).st_size)
                file.seek(start)
                data = file.read(length)
        except FileNotFoundError as error:
            self.tree.local_path(key)  # a store says so where it has just lost the object
            raise ClipsteerError(
                f"{path}: the file of {key!r} in an activation shard is missing, expected its "
                "bytes. Run the workflow again: it makes the shard anew."
            ) from error
        if len(data) < length:
            raise ClipsteerError(
                f"{path}: found {start + len(data)} bytes in {key!r} of an activation shard, "
                f"expected at least {start + length}. The file is damaged: remove it and run the "
                "workflow again, which makes the shard anew."
            )
        return data

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of `key` (or the range of them), or None where the tree does not list it."""
        if key not in self._keys:
            return None
        data = await asyncio.to_thread(self._read, key, byte_range)
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """`get` for each pair, in order."""
        return [await self.get(key, prototype, span) for key, span in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether the tree lists `key`."""
        return key in self._keys

    async def set(self, key: str, value: Buffer) -> None:
        """Refused: the store is read-only."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refused: the store is read-only."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """All keys, sorted."""
        for key in sorted(self._keys):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """The keys that start with `prefix`, sorted."""
        for key in sorted(self._keys):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """The names directly below the folder `prefix`, sorted."""
        folder = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        names = {k[len(folder) :].split("/", 1)[0] for k in self._keys if k.startswith(folder)}
        for name in sorted(names):
            yield name


def _span(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    """First byte and length that a Zarr byte request asks of a file of `size` bytes."""
    match byte_range:
        case None:
            return 0, size
        case RangeByteRequest(start=start, end=end):
            return start, end - start
        case OffsetByteRequest(offset=offset):
            return offset, max(0, size - offset)
        case SuffixByteRequest(suffix=suffix):
            return max(0, size - suffix), min(size, suffix)
    raise TypeError(f"unexpected byte request {byte_range!r}")
