"""Shards on disk: every format round trips, is the same bytes twice, and shows damage."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from zarr.storage import LocalStore

from clipsteer.activations.cast import all_finite, to_float32, to_stored
from clipsteer.activations.chunks import chunk_images
from clipsteer.activations.reader import ActivationReader
from clipsteer.activations.tree_store import TreeStore
from clipsteer.activations.writer import CODECS, ArrayLayout, byte_codecs, write_shard
from clipsteer.errors import ClipsteerError
from clipsteer.number_formats import DTYPES, stored_dtype
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from clipsteer.store.trees import FolderTree, StoreTree, put_tree
from tests.activations.helpers import activations, as_stored, sharded, write_array
from tests.folders import contents

TORCH = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_are_those_that_zarr_reads(tmp_path: Path, dtype: str, codec: str) -> None:
    """Our reader and Zarr's, on a folder and in the store, across chunks, files and shards."""
    values = activations(200)
    stored = as_stored(values, dtype)
    image = stored[0].nbytes
    # Files of one chunk and of two, and a last chunk that is not full.
    reader = sharded(tmp_path, values, 130, dtype=dtype, codec=codec, file_bytes=150 * image)
    folders = [tmp_path / "130-0/resid_post/00", tmp_path / "130-130/resid_post/00"]
    objects = ObjectStore(tmp_path / "store")
    trees = [StoreTree(objects, put_tree(objects, folder)) for folder in folders]
    places = [LocalStore(folder, read_only=True) for folder in folders]
    for zarrs in (places, [TreeStore(tree) for tree in trees]):
        parts = [zarr.open_array(store=store, mode="r")[:] for store in zarrs]
        np.testing.assert_array_equal(np.concatenate(parts), stored)
    kept = ActivationReader([(0, 130, trees[0]), (130, 200, trees[1])])
    for start, stop in ((0, 200), (0, 64), (63, 65), (127, 131), (100, 200), (7, 8), (5, 5)):
        for source in (reader, kept):
            read = source.read_stored(start, stop)
            assert read.tobytes() == stored[start:stop].tobytes()
            given = np.empty_like(read)
            assert source.read_stored(start, stop, given) is given
            assert given.tobytes() == read.tobytes()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", TORCH)
def test_round_trip(tmp_path: Path, dtype: str, codec: str) -> None:
    values = activations(70)
    reader = sharded(tmp_path, values, 70, dtype=dtype, codec=codec)
    expected = torch.from_numpy(values).to(TORCH[dtype]).float().numpy()
    read = reader.read(0, 70)
    assert read.dtype == (np.float16 if dtype == "float16" else np.float32)
    np.testing.assert_array_equal(read.astype(np.float32), expected)
    metadata = json.loads((tmp_path / "70-0/resid_post/00/zarr.json").read_text())
    inner = metadata["codecs"][0]["configuration"]["codecs"]
    assert inner[-1]["name"] == "crc32c"
    assert len(inner) == (2 if codec == "none" else 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_bit_pattern_widens_as_torch_does(dtype: str) -> None:
    bits = np.arange(65536, dtype=np.uint16)
    ours = to_float32(bits.view(DTYPES[dtype].zarr), dtype)
    theirs = torch.from_numpy(bits.view(np.int16)).view(TORCH[dtype]).float().numpy()
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("codec", CODECS)
def test_int8_has_a_scale_for_each_token(tmp_path: Path, codec: str) -> None:
    values = activations(70)
    values[3, 2] = 0.0
    values[4, 1] *= 1e30
    values[5, 0] *= 1e-37  # near the smallest float32, where a scale has few bits
    reader = sharded(tmp_path, values, 40, dtype="int8", codec=codec)
    assert (reader.item, reader.n_tokens, reader.width) == ((5, 8), 5, 8)
    read = reader.read(0, 70)
    assert read.dtype == np.float32
    # The oracle: 127 steps to each token's largest magnitude, in float64.
    wide = values.astype(np.float64)
    step = np.abs(wide).max(-1, keepdims=True) / 127
    assert (np.abs(read - wide) <= 0.5001 * step + 1e-36).all()
    assert (read[3, 2] == 0).all()
    np.testing.assert_allclose(np.abs(read).max(-1), np.abs(wide).max(-1), rtol=1e-6, atol=1e-36)
    assert reader.read_stored(0, 70).shape == (70, 5, 12)


def test_int8_of_a_single_token_of_any_width(tmp_path: Path) -> None:
    values = activations(1, 1, 5)
    read = sharded(tmp_path, values, 1, dtype="int8").read(0, 1)
    np.testing.assert_allclose(read, values, atol=float(np.abs(values).max()) / 250)


def test_int8_shows_what_is_not_finite() -> None:
    values = torch.from_numpy(activations(3))
    assert all_finite(to_stored(values, "int8"), "int8")
    for bad in (float("nan"), float("inf"), -float("inf")):
        values[1, 2, 3] = bad
        assert not all_finite(to_stored(values, "int8"), "int8")


def test_unknown_names_are_named() -> None:
    with pytest.raises(ClipsteerError, match=r"activations.dtype.*'float61'.*mean float16"):
        stored_dtype("float61")
    with pytest.raises(ClipsteerError, match=r"activations.codec.*blosc-zstd"):
        byte_codecs("zip")


def test_shard_size_does_not_change_values(tmp_path: Path) -> None:
    values = activations(100)
    expected = values.astype(np.float16)
    for size in (3, 10, 100):
        reader = sharded(tmp_path, values, size)
        np.testing.assert_array_equal(reader.read(0, 100), expected)
        np.testing.assert_array_equal(reader.read(8, 33), expected[8:33])
        got = list(reader.batches(16))
        assert [start for start, _ in got] == list(range(0, 100, 16))
        np.testing.assert_array_equal(np.concatenate([x for _, x in got]), expected)


def test_coordinates_may_start_anywhere(tmp_path: Path) -> None:
    values = activations(20)
    reader = sharded(tmp_path, values, 8, start=1000, dtype="float32")
    assert (reader.start, reader.stop, reader.n_images) == (1000, 1020, 20)
    np.testing.assert_array_equal(reader.read(1007, 1009), values[7:9])
    with pytest.raises(IndexError):
        reader.read(0, 5)


def test_embeddings_are_read_by_the_same_reader(tmp_path: Path) -> None:
    values = activations(20)[:, 0]
    reader = sharded(tmp_path, values, 6, dtype="float32", name="embedding")
    assert (reader.n_tokens, reader.width) == (1, 8)
    np.testing.assert_array_equal(reader.read(0, 20), values)


def test_files_are_bounded_and_bytes_are_the_same_twice(tmp_path: Path) -> None:
    values = activations(300)
    image = 5 * 8 * 2
    folders = [
        write_array(tmp_path / name, values, batch=batch, file_bytes=64 * image, codec="blosc-zstd")
        for name, batch in (("a", 7), ("b", 128))
    ]
    first, second = (contents(folder) for folder in folders)
    assert first == second
    assert sorted(first) == [*(f"c/{i}/0/0" for i in range(5)), "zarr.json"]
    assert max(len(data) for data in first.values()) < 64 * image + 1024
    reader = ActivationReader([(0, 300, FolderTree(folders[0]))])
    np.testing.assert_array_equal(reader.read(60, 260), values[60:260].astype(np.float16))


def test_chunks_of_fill_values_are_written_too(tmp_path: Path) -> None:
    folder = write_array(tmp_path / "a", np.full((70, 5, 8), np.nan, np.float32))
    assert (folder / "c/0/0/0").stat().st_size > 70 * 5 * 8 * 2


def test_chunk_images() -> None:
    assert chunk_images(50 * 768 * 2) == 16
    assert chunk_images(17 * 96 * 2) == 64
    assert chunk_images(32 * 1024) == 32


def test_layers_are_trees_of_their_own(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "store")
    values = as_stored(activations(12), "float16")
    digests = []
    for name, second in (("a", values), ("b", values + np.float16(1))):
        nested = write_shard(
            tmp_path / name,
            n_images=12,
            layouts={k: ArrayLayout((5, 8), "float16") for k in ("mlp_out/01", "resid_post/00")},
            batches=[{"resid_post/00": values, "mlp_out/01": second}],
            codec="none",
            attributes={"model": name, "start": 0, "stop": 12},
        )
        assert nested == ["mlp_out/01", "resid_post/00"]
        tree = StoreTree(store, put_tree(store, tmp_path / name, nested))
        digests.append([tree.subtree(path).root_digest for path in nested])
        reader = ActivationReader([(0, 12, tree.subtree("resid_post/00"))])
        np.testing.assert_array_equal(reader.read(0, 12), values)
    assert digests[0][0] != digests[1][0]
    # Neither the other layer nor the group's attributes show in a layer's digest.
    assert digests[0][1] == digests[1][1]
    group = zarr.open_group(tmp_path / "b", mode="r")
    assert dict(group.attrs) == {
        "model": "b", "start": 0, "stop": 12, "format": "clipsteer-activations/1",
    }  # fmt: skip


def test_missing_blob_raises(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "store")
    folder = write_array(tmp_path / "a", activations(12))
    tree = StoreTree(store, put_tree(store, folder))
    blob = tree.local_path("c/0/0/0")
    reader = ActivationReader([(0, 12, tree)])
    blob.unlink()
    with pytest.raises(MissingObjectError):
        reader.read(0, 12)
    with pytest.raises(MissingObjectError):
        ActivationReader([(0, 12, StoreTree(store, tree.root_digest))]).read(3, 4)


def test_damaged_blob_goes_into_quarantine(tmp_path: Path) -> None:
    # Large objects are not hashed on reading: only the crc32c inside shows the damage.
    store = ObjectStore(tmp_path / "store", verify_below=0)
    tree = StoreTree(store, put_tree(store, write_array(tmp_path / "a", activations(12))))
    blob = tree.local_path("c/0/0/0")
    data = bytearray(blob.read_bytes())
    data[100] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(bytes(data))
    reader = ActivationReader([(0, 12, tree)])
    with pytest.raises(DamagedObjectError, match=blob.name):
        reader.read(0, 12)
    with pytest.raises(MissingObjectError):
        reader.read(0, 12)


def test_missing_files_raise(tmp_path: Path) -> None:
    folder = write_array(tmp_path / "a", activations(12))
    reader = ActivationReader([(0, 12, FolderTree(folder))])
    (folder / "c/0/0/0").unlink()
    with pytest.raises(ClipsteerError, match="c/0/0/0"):
        reader.read(0, 12)
    # Opened after the loss, the folder does not even list the file.
    with pytest.raises(ClipsteerError, match="lacks 'c/0/0/0'"):
        ActivationReader([(0, 12, FolderTree(folder))])
    (folder / "zarr.json").unlink()
    with pytest.raises(ClipsteerError, match=r"zarr\.json"):
        ActivationReader([(0, 12, FolderTree(folder))])


@pytest.mark.parametrize("codec", CODECS)
def test_one_wrong_byte_is_found(tmp_path: Path, codec: str) -> None:
    folder = write_array(tmp_path / "a", activations(40), codec=codec)
    file = folder / "c/0/0/0"
    good = file.read_bytes()
    reader = ActivationReader([(0, 40, FolderTree(folder))])
    for place in np.linspace(0, len(good) - 1, 23).astype(int):
        bad = bytearray(good)
        bad[place] ^= 0x10
        file.write_bytes(bytes(bad))
        with pytest.raises(ClipsteerError, match=r"c/0/0/0: found damage"):
            reader.read(0, 40)
    file.write_bytes(good[:-9])
    with pytest.raises(ClipsteerError, match=r"c/0/0/0: found"):
        reader.read(0, 40)
    file.write_bytes(good)
    reader.read(0, 40)


def test_inner_chunk_that_was_never_written_is_found(tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "a",
        shape=(128, 5, 8),
        dtype="<f2",
        chunks=(64, 5, 8),
        shards=(128, 5, 8),
        compressors=byte_codecs("none"),
        fill_value=np.nan,
        attributes={"clipsteer_dtype": "float16"},
    )
    array[:64] = 1.0
    reader = ActivationReader([(0, 128, FolderTree(tmp_path / "a"))])
    assert (reader.read(0, 64) == 1).all()
    with pytest.raises(ClipsteerError, match="fill values"):
        reader.read(0, 128)


def test_shards_must_fit_together(tmp_path: Path) -> None:
    def tree(name: str, n: int, width: int = 8, dtype: str = "float16") -> FolderTree:
        return FolderTree(
            write_array(tmp_path / name, activations(n, width=width), dtype=dtype)
        )  # fmt: skip

    first = (0, 6, tree("a", 6))
    with pytest.raises(ClipsteerError, match="no shards"):
        ActivationReader([])
    with pytest.raises(ClipsteerError, match=r"ends at image 6 before one that starts at 7"):
        ActivationReader([(7, 10, tree("b", 3)), first])
    with pytest.raises(ClipsteerError, match="found 3 images, expected 4"):
        ActivationReader([first, (6, 10, tree("c", 3))])
    with pytest.raises(ClipsteerError, match="one shape and format"):
        ActivationReader([first, (6, 9, tree("d", 3, width=9))])
    with pytest.raises(ClipsteerError, match="one shape and format"):
        ActivationReader([first, (6, 9, tree("e", 3, dtype="bfloat16"))])


def test_nothing_half_written(tmp_path: Path) -> None:
    values = as_stored(activations(12), "float16")
    layouts = {"resid_post/00": ArrayLayout((5, 8), "float16")}

    def write(*batches: object) -> None:
        write_shard(
            tmp_path / "shard", n_images=12, layouts=layouts, codec="none", attributes={},
            batches=[{"resid_post/00": batch} for batch in batches],
        )  # fmt: skip

    for wrong in ([values[:5]], [values, values], [values[:, :4]], [values.astype(np.float32)]):
        with pytest.raises(ValueError, match="resid_post/00"):
            write(*wrong)
        assert not list(tmp_path.iterdir())
    write(values)
    before = contents(tmp_path)
    with pytest.raises(ClipsteerError, match="expected nothing"):
        write(values)
    assert contents(tmp_path) == before


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    values = activations(200)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(ClipsteerError, match=r"disk is full.*store\.root"):
            write_array(tmp_path / "a", values)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    write_array(tmp_path / "a", values)
