"""Writes a folder of many small files as one Parquet file, which the store takes for a tree.

A painted world has thousands of images: each as an object of its own would cost the file system more than
the image. It is here, and not in the store beside the reader (clipsteer/store/packs.py), because the bytes
depend on the version of polars: so a step that writes a pack has the writer in its code.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable

import polars as pl

from clipsteer.store.digest import digest_bytes
from clipsteer.store.trees import FolderTree

ROWS = 256
"""Files in a group of rows; so many are read at once."""


def pack_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A pack of (path, content), sorted by path: equal files give equal bytes.

    Not compressed: images are so already.
    """
    rows = [(path, digest_bytes(data), len(data), data) for path, data in sorted(files)]
    schema = {"path": pl.String, "digest": pl.String, "size": pl.Int64, "data": pl.Binary}
    table, buffer = pl.DataFrame(rows, schema, orient="row"), io.BytesIO()
    table.write_parquet(buffer, compression="uncompressed", statistics=False, row_group_size=ROWS)
    return buffer.getvalue()


def pack_folder(folder: str | os.PathLike[str]) -> bytes:
    """A pack of a folder and all below it. Raises ClipsteerError for a missing folder and a bad name."""
    tree = FolderTree(folder)
    return pack_bytes((path, tree.read(path)) for path in tree.paths())
