from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes
from clipsteer.store.entries import load_entries
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from clipsteer.store.trees import (
    Entry,
    FileTree,
    FolderTree,
    StoreTree,
    check_name,
    put_tree,
    put_tree_entries,
    tree_complete,
)
from tests.store.places import quick_folder

BAD_NAMES = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../x",
    "a/../b",
    "a/..",
    ".",
    "./a",
    "a//b",
    "a/",
    "a\\b",
    "..\\b",
    "a\0b",
    "a\udc80",
]


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store")


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A folder as Zarr writes one: metadata, and an array in a folder per layer."""
    folder = tmp_path / "shard"
    for path, data in {
        "zarr.json": b"{}",
        "resid_post/zarr.json": b"{ }",
        "resid_post/00/c/0": b"layer 0",
        "resid_post/01/c/0": b"layer 1",
        "embedding/c/0": b"layer 0",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


# ---- names


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_path_that_could_escape_is_refused_everywhere(
    store: ObjectStore, shard: Path, name: str
) -> None:
    digest = put_tree(store, shard, ["resid_post"])
    folder, tree = FolderTree(shard), StoreTree(store, digest)
    (shard.parent / "x").write_text("outside")
    asked = [folder.exists, folder.read, folder.digest, folder.size, folder.local_path]
    asked += [tree.exists, tree.read, tree.digest, tree.size, tree.local_path, tree.subtree]
    asked.append(check_name)
    for ask in asked:
        with pytest.raises(ClipsteerError, match="found the path"):
            ask(name)
    with pytest.raises(ClipsteerError, match="found the path"):
        put_tree(store, shard, [name])
    with pytest.raises(ClipsteerError, match="found the path"):
        put_tree_entries(store, {name: Entry(digest, 1, "blob")})


@pytest.mark.parametrize("name", [n for n in BAD_NAMES if "\udc80" not in n])
def test_a_tree_made_by_a_stranger_cannot_escape(store: ObjectStore, name: str) -> None:
    entry = {"digest": digest_bytes(b""), "size": 0, "kind": "blob"}
    value = {"format": "clipsteer-tree/1", "entries": {name: entry}}
    digest = store.put_bytes(json.dumps(value).encode())
    with pytest.raises(ClipsteerError, match="found the path"):
        StoreTree(store, digest)


@pytest.mark.parametrize("name", ["a", "a b", "..a", "a..", "...", "é/字.jpg", "a/.b", "C:x", "-"])
def test_odd_but_harmless_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "names", [("a", "a/b"), ("a/b", "a/b/c"), ("x", "x/y/z")], ids=lambda names: names[1]
)
def test_a_name_is_a_file_or_a_folder(store: ObjectStore, names: tuple[str, str]) -> None:
    entry = Entry(digest_bytes(b""), 0, "blob")
    with pytest.raises(ClipsteerError, match="not two of them"):
        put_tree_entries(store, {name: entry for name in names})


# ---- the tree object


def test_the_bytes_of_a_tree(store: ObjectStore) -> None:
    blob, nested = digest_bytes(b"x"), digest_bytes(b"y")
    digest = put_tree_entries(store, {"b": (nested, 7, "tree"), "a/c": (blob, 1, "blob")})
    expected = (
        f'{{"entries":{{"a/c":{{"digest":"{blob}","kind":"blob","size":1}},'
        f'"b":{{"digest":"{nested}","kind":"tree","size":7}}}},"format":"clipsteer-tree/1"}}'
    )
    assert store.get_bytes(digest) == expected.encode()


@pytest.mark.parametrize(
    "value",
    [
        b"not json",
        b"[]",
        b'{"format":"clipsteer-tree/2","entries":{}}',
        b'{"format":"clipsteer-tree/1"}',
        b'{"format":"clipsteer-tree/1","entries":{"a":null}}',
        b'{"format":"clipsteer-tree/1","entries":{"a":{"digest":"x","kind":"blob","size":1}}}',
    ],
)
def test_what_is_no_tree(store: ObjectStore, value: bytes) -> None:
    with pytest.raises(ClipsteerError):
        load_entries(store, store.put_bytes(value))


@pytest.mark.parametrize(
    "entry",
    [
        ("blake3:0", 1, "blob"),
        (digest_bytes(b""), -1, "blob"),
        (digest_bytes(b""), True, "blob"),
        (digest_bytes(b""), 1, "link"),
    ],
)
def test_bad_entries_are_refused(store: ObjectStore, entry: tuple[str, int, str]) -> None:
    with pytest.raises(ClipsteerError, match="expected an object with"):
        put_tree_entries(store, {"a": entry})


# ---- round trips

PARTS = st.text(st.sampled_from("ab.é -0"), min_size=1, max_size=3).filter(
    lambda part: part not in (".", "..")
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


def drop_clashes(files: dict[str, bytes]) -> dict[str, bytes]:
    folders = {path[:at] for path in files for at in range(len(path)) if path[at] == "/"}
    return {path: data for path, data in files.items() if path not in folders}


FILES = st.dictionaries(PATHS, st.binary(max_size=40), max_size=12).map(drop_clashes)


@settings(max_examples=60)
@given(FILES, st.data())
def test_random_trees_round_trip(files: dict[str, bytes], data: st.DataObject) -> None:
    with quick_folder() as folder:
        store = ObjectStore(Path(folder, "store"))
        source = Path(folder, "source")
        source.mkdir()
        for path, content in files.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(content)
        folders = sorted({p[:at] for p in files for at in range(len(p)) if p[at] == "/"})
        nested = data.draw(st.lists(st.sampled_from(folders), unique=True)) if folders else []
        digest = put_tree(store, source, nested)
        tree = StoreTree(store, digest)
        views: list[FileTree] = [FolderTree(source), tree]
        for view in views:
            assert view.paths() == sorted(files)
            for path, content in files.items():
                assert view.exists(path)
                assert view.read(path) == view.local_path(path).read_bytes() == content
                assert view.digest(path) == digest_bytes(content)
                assert view.size(path) == len(content)
            for path in folders:
                assert not view.exists(path)
        for name in nested:
            assert tree.subtree(name).root_digest == put_tree(
                store,
                source / name,
                [n[len(name) + 1 :] for n in nested if n.startswith(name + "/")],
            )
        assert tree.total_size() == sum(map(len, files.values()))
        assert tree_complete(store, digest)
        assert put_tree(store, source, nested[::-1], move=True) == digest
        assert not [path for path in source.rglob("*") if path.is_file()]


def test_nested_trees_have_digests_of_their_own(store: ObjectStore, shard: Path) -> None:
    layers = ["resid_post/00", "resid_post/01"]
    tree = StoreTree(store, put_tree(store, shard, layers))
    assert {name: entry.kind for name, entry in tree.entries.items()} == {
        "embedding/c/0": "blob",
        "resid_post/00": "tree",
        "resid_post/01": "tree",
        "resid_post/zarr.json": "blob",
        "zarr.json": "blob",
    }
    assert tree.entries["resid_post/00"].size == 7
    before = tree.subtree("resid_post/00").root_digest
    (shard / "resid_post/01/c/0").write_bytes(b"another")
    after = StoreTree(store, put_tree(store, shard, layers))
    assert after.root_digest != tree.root_digest
    assert after.subtree("resid_post/00").root_digest == before
    assert after.subtree("resid_post/01").read("c/0") == b"another"


def test_a_listed_folder_must_be_there(store: ObjectStore, shard: Path) -> None:
    with pytest.raises(ClipsteerError, match="resid_post/02"):
        put_tree(store, shard, ["resid_post/02"])
    (shard / "resid_post/02").mkdir()
    tree = StoreTree(store, put_tree(store, shard, ["resid_post/02"]))
    assert tree.subtree("resid_post/02").paths() == []


def test_what_a_tree_does_not_name(store: ObjectStore, shard: Path) -> None:
    tree = StoreTree(store, put_tree(store, shard, ["resid_post/00"]))
    for path in ("nothing", "resid_post", "resid_post/00", "resid_post/00/d", "zarr.json/x"):
        assert not tree.exists(path)
        with pytest.raises(ClipsteerError, match="found no file"):
            tree.read(path)
    for path in ("nothing", "resid_post", "resid_post/00/c", "zarr.json"):
        with pytest.raises(ClipsteerError, match="found no nested tree"):
            tree.subtree(path)


# ---- folders of the user's


def test_links_in_the_users_folder_are_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.jpg").write_bytes(b"one")
    root = tmp_path / "root"
    root.mkdir()
    (root / "images").symlink_to(elsewhere)
    (root / "2.jpg").symlink_to(elsewhere / "1.jpg")
    (root / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(root)
    tree = FolderTree(tmp_path / "link")
    assert tree.paths() == ["2.jpg", "images/1.jpg"]
    assert tree.read("images/1.jpg") == tree.read("2.jpg") == b"one"
    assert not tree.exists("broken")


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    with pytest.raises(ClipsteerError, match="symbolic link to a folder above"):
        FolderTree(tmp_path).paths()


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    tree = FolderTree(tmp_path)
    for ask in (tree.read, tree.digest, tree.size, tree.local_path):
        with pytest.raises(ClipsteerError, match=str(tmp_path / "a.jpg")):
            ask("a.jpg")
    with pytest.raises(ClipsteerError, match="found nothing, expected a folder"):
        FolderTree(tmp_path / "none")


# ---- missing and damaged


def test_a_missing_blob_raises(store: ObjectStore, shard: Path) -> None:
    digest = put_tree(store, shard, ["resid_post"])
    tree = StoreTree(store, digest)
    assert tree_complete(store, digest)
    store.path(tree.digest("resid_post/01/c/0")).unlink()
    assert tree.exists("resid_post/01/c/0")
    for ask in (tree.read, tree.local_path):
        with pytest.raises(MissingObjectError):
            ask("resid_post/01/c/0")
    assert [tree_complete(store, digest, depth) for depth in (0, 1, 2, None)] == [
        True,
        True,
        False,
        False,
    ]
    store.path(tree.entries["resid_post"].digest).unlink()
    assert [tree_complete(store, digest, depth) for depth in (0, 1)] == [True, False]


@settings(max_examples=40)
@given(st.integers(0), st.integers(1, 255))
def test_any_changed_byte_of_a_tree_is_found(where: int, flip: int) -> None:
    with quick_folder() as folder:
        store = ObjectStore(folder)
        digest = put_tree_entries(store, {"a": Entry(digest_bytes(b""), 0, "blob")})
        bad = bytearray(store.get_bytes(digest))
        bad[where % len(bad)] ^= flip
        overwrite(store.path(digest), bytes(bad))
        with pytest.raises(DamagedObjectError):
            StoreTree(store, digest)
        assert not tree_complete(store, digest)


@pytest.mark.parametrize("ask", ["read", "local_path"])
def test_a_cut_blob_is_found_whatever_its_size(tmp_path: Path, shard: Path, ask: str) -> None:
    store = ObjectStore(tmp_path / "store", verify_below=0)
    tree = StoreTree(store, put_tree(store, shard))
    overwrite(store.path(tree.digest("embedding/c/0")), b"lay")
    with pytest.raises((DamagedObjectError, MissingObjectError)):
        getattr(tree, ask)("embedding/c/0")
    assert not store.exists(tree.digest("embedding/c/0"))


# ---- trees whose blobs stay with the user


def test_a_folder_by_reference(store: ObjectStore, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "config.json").write_bytes(b"{}")
    (model / "sub" / "weights").write_bytes(b"12345")
    folder = FolderTree(model)

    def entries(under: str) -> dict[str, Entry]:
        return {
            path.removeprefix(under): Entry(folder.digest(path), folder.size(path), "external")
            for path in folder.paths()
            if path.startswith(under)
        }

    nested = put_tree_entries(store, entries("sub/"))
    top = {"config.json": entries("")["config.json"], "sub": Entry(nested, 5, "tree")}
    digest = put_tree_entries(store, top)
    assert tree_complete(store, digest)
    tree = StoreTree(store, digest, external=folder)
    assert tree.paths() == folder.paths()
    for path in folder.paths():
        assert tree.read(path) == folder.read(path)
        assert tree.local_path(path) == model / path
    assert tree.subtree("sub").read("weights") == b"12345"

    (model / "sub" / "weights").write_bytes(b"12346")
    with pytest.raises(ClipsteerError, match="found other content"):
        tree.read("sub/weights")
    (model / "sub" / "weights").write_bytes(b"123456")
    with pytest.raises(ClipsteerError, match="found other content"):
        tree.local_path("sub/weights")
    with pytest.raises(ClipsteerError, match="not kept in the store"):
        StoreTree(store, digest).read("config.json")
