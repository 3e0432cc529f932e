"""Reads trees that are one object: a Parquet file with a row for each file (docs/store-protocol.md, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes
from clipsteer.store.entries import PACKED, Entry, checked
from clipsteer.store.objects import ObjectStore

if TYPE_CHECKING:
    import polars as pl

# Rows that are read at once, as many as the writer has in a group (clipsteer/data/packed.py): with another
# number reading is as right, but slower.
ROWS = 256
# So many of these are kept: all of a world of 16,000 images.
_KEPT = 64


class Pack:
    """The files of one pack, by their entries; threads may share it.

    A pack is hashed when it is opened, whatever its size, as a flipped bit in it may exchange two files'
    names; every file is hashed when it is read. Raises MissingObjectError, DamagedObjectError, or
    ClipsteerError where it is no pack that this version knows.
    """

    def __init__(self, store: ObjectStore, digest: str) -> None:
        self._store, self._digest = store, digest
        store.verify(digest)
        self._group = lru_cache(maxsize=_KEPT)(self._read_group)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Every file by its path."""
        rows = self._take(lambda table: table.select("path", "digest", "size")).iter_rows()
        return checked(
            {path: {"digest": digest, "size": size, "kind": PACKED} for path, digest, size in rows},
            self._digest,
            (PACKED,),
        )

    def read(self, entry: Entry) -> bytes:
        """The content of one of the entries, verified."""
        group, place = divmod(self._rows[entry.digest], ROWS)
        data: bytes = self._group(group)[place]
        if digest_bytes(data) != entry.digest:
            self._group.cache_clear()
            self._store.verify(self._digest)
            raise self._unknown(f"other bytes than those of {entry.digest}")
        return data

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {entry.digest: row for row, entry in enumerate(self.entries.values())}

    def _read_group(self, number: int) -> pl.Series:
        return self._take(lambda table: table.select("data").slice(number * ROWS, ROWS))["data"]

    def _take(self, what: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.DataFrame:
        import polars as pl

        try:
            return self._store.use_file(
                self._digest, lambda path: what(pl.scan_parquet(path)).collect()
            )
        except pl.exceptions.PolarsError as error:
            self._store.verify(self._digest)
            raise self._unknown(str(error)) from error

    def _unknown(self, found: str) -> ClipsteerError:
        return ClipsteerError(
            f"{self._store.root}: tree {self._digest}: found {found}, expected a pack as this version "
            "writes them. Use the version that made it, or delete the pointer that names it and run the "
            "same command again."
        )
