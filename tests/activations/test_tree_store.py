"""The read-only Zarr store on a tree answers as Zarr's own store on the same folder does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore

from clipsteer.activations.tree_store import TreeStore
from clipsteer.errors import ClipsteerError
from clipsteer.store.objects import MissingObjectError, ObjectStore
from clipsteer.store.trees import FolderTree, StoreTree, put_tree
from tests.activations.helpers import activations, write_array


async def _all(names: AsyncIterator[str]) -> list[str]:
    return sorted([name async for name in names])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_array(tmp_path / "a", activations(12))
    return tmp_path / "a"


@pytest.mark.parametrize(
    "span",
    [None, RangeByteRequest(5, 40), OffsetByteRequest(100), SuffixByteRequest(20)],
    ids=["all", "range", "offset", "suffix"],
)
def test_bytes_as_local_store(folder: Path, span: ByteRequest | None) -> None:
    async def check() -> None:
        local, ours = await LocalStore.open(folder, read_only=True), TreeStore(FolderTree(folder))
        prototype = default_buffer_prototype()
        for key in ("resid_post/00/c/0/0/0", "resid_post/00/zarr.json"):
            expected = await local.get(key, prototype, span)
            got = await ours.get(key, prototype, span)
            assert expected is not None
            assert got is not None
            assert got.to_bytes() == expected.to_bytes()
            assert await ours.exists(key)
        assert await ours.get("resid_post/00/c/1/0/0", prototype) is None
        assert not await ours.exists("resid_post/00/c/1/0/0")

    asyncio.run(check())


def test_listing_as_local_store(folder: Path) -> None:
    async def check() -> None:
        local, ours = await LocalStore.open(folder, read_only=True), TreeStore(FolderTree(folder))
        assert await _all(ours.list()) == await _all(local.list())
        for place in ("", "resid_post", "resid_post/00"):
            assert await _all(ours.list_dir(place)) == await _all(local.list_dir(place))
            assert await _all(ours.list_prefix(place)) == await _all(local.list_prefix(place))

    asyncio.run(check())


def test_short_file_and_writing_are_refused(folder: Path) -> None:
    async def check() -> None:
        ours = TreeStore(FolderTree(folder))
        prototype = default_buffer_prototype()
        with pytest.raises(ClipsteerError, match=r"c/0/0/0.*expected at least 1000000"):
            await ours.get("resid_post/00/c/0/0/0", prototype, RangeByteRequest(0, 1_000_000))
        with pytest.raises(ValueError, match="read-only"):
            await ours.set("x", prototype.buffer.from_bytes(b"x"))
        with pytest.raises(ValueError, match="read-only"):
            await ours.delete("x")

    asyncio.run(check())


def test_an_object_that_is_dropped_at_this_moment(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is lost, as the caller has to know: then it is made again."""
    objects = ObjectStore(tmp_path / "store")
    tree = StoreTree(objects, put_tree(objects, folder / "resid_post/00"))
    look = tree.local_path

    def dropped_after(path: str) -> Path:
        found = look(path)
        found.unlink()
        return found

    monkeypatch.setattr(tree, "local_path", dropped_after)
    with pytest.raises(MissingObjectError):
        asyncio.run(TreeStore(tree).get("c/0/0/0", default_buffer_prototype()))
