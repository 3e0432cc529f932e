"""Our reader of `sharding_indexed` takes what the writer writes, and says no to anything else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsteer.activations.reader import OPEN_FILES, ActivationReader
from clipsteer.activations.sharding import ShardFile, parse_format
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree
from tests.activations.helpers import activations, sharded, write_array


def chain(data: dict[str, Any]) -> Any:
    return data["codecs"][0]["configuration"]["codecs"]


def _no_checksum(data: dict[str, Any]) -> None:
    chain(data).pop()


def _big_endian(data: dict[str, Any]) -> None:
    chain(data)[0]["configuration"]["endian"] = "big"


def _other_compressor(data: dict[str, Any]) -> None:
    chain(data).insert(1, {"name": "gzip", "configuration": {"level": 1}})


def _index_first(data: dict[str, Any]) -> None:
    data["codecs"][0]["configuration"]["index_location"] = "start"


def _cut_by_width(data: dict[str, Any]) -> None:
    data["codecs"][0]["configuration"]["chunk_shape"] = [64, 5, 4]


def _no_codecs(data: dict[str, Any]) -> None:
    chain(data).clear()


def _words_for_codecs(data: dict[str, Any]) -> None:
    chain(data)[0] = "bytes"


def _empty_chunks(data: dict[str, Any]) -> None:
    data["codecs"][0]["configuration"]["chunk_shape"] = [0, 5, 8]


def _version_2(data: dict[str, Any]) -> None:
    data["zarr_format"] = 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_no_checksum, "to crc32c"),
        (_big_endian, "little-endian"),
        (_other_compressor, "gzip, expected zstd or blosc"),
        (_index_first, "index at the end"),
        (_cut_by_width, "by images"),
        (_no_codecs, "index out of range"),
        (_words_for_codecs, "no attribute"),
        (_empty_chunks, "not a shape"),
        (_version_2, "version 3"),
    ],
)
def test_other_layouts_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = write_array(tmp_path / "a", activations(12))
    file = folder / "zarr.json"
    data = json.loads(file.read_text())
    parse_format(file.read_bytes())
    change(data)
    file.write_text(json.dumps(data))
    with pytest.raises(ClipsteerError, match=rf"zarr\.json: .*{message}"):
        ActivationReader([(0, 12, FolderTree(folder))])


def test_few_files_stay_open(tmp_path: Path) -> None:
    values = activations(2 * OPEN_FILES)
    reader = sharded(tmp_path, values, 1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    np.testing.assert_array_equal(reader.read(0, len(values)), values.astype(np.float16))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + OPEN_FILES
    del reader
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_reads_that_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may hand out fewer bytes than were asked for."""
    folder = write_array(tmp_path / "a", activations(70))
    array = parse_format((folder / "zarr.json").read_bytes())
    expected = np.empty((70, 5, 8), np.float16)
    ShardFile(folder / "c/0/0/0", array).read_into(expected, 0)
    whole = os.preadv

    def some(file: int, buffers: list[memoryview], offset: int) -> int:
        kept, room = [], 777
        for buffer in buffers:
            kept.append(memoryview(buffer)[:room])
            room -= len(kept[-1])
        return int(whole(file, kept, offset))

    monkeypatch.setattr("os.preadv", some)
    got = np.empty_like(expected)
    ShardFile(folder / "c/0/0/0", array).read_into(got, 0)
    np.testing.assert_array_equal(got, expected)
