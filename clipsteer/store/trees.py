"""Trees of named objects, and the one view that loaders take of a folder or a tree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from clipsteer.errors import ClipsteerError
from clipsteer.store.clutter import is_clutter
from clipsteer.store.digest import digest_bytes, digest_file
from clipsteer.store.entries import (
    BLOB,
    EXTERNAL,
    PACKED,
    TREE,
    is_pack,
    load_entries,
    splits,
    tree_bytes,
)
from clipsteer.store.entries import Entry as Entry
from clipsteer.store.entries import check_name as check_name
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from clipsteer.store.packs import Pack


class FileTree(Protocol):
    """Files by relative POSIX path: a folder of the user's or a tree in the store."""

    def paths(self) -> list[str]:
        """Every file's path, sorted, through nested trees and folders."""

    def exists(self, path: str) -> bool:
        """Whether the tree names this file."""

    def read(self, path: str) -> bytes:
        """The file's content. Raises ClipsteerError where it is missing or damaged."""

    def digest(self, path: str) -> str:
        """The digest of the file's content."""

    def size(self, path: str) -> int:
        """The file's size in bytes."""

    def local_path(self, path: str) -> Path:
        """A file on this machine with the content, for reading in parts."""


class FolderTree:
    """A folder of the user's, followed through symbolic links, as a FileTree.

    Links may lead anywhere: they are the user's own. Asked-for paths may not (see `check_name`).
    `whole`: False lists no hidden and system files and folders (`is_clutter`); they can be asked
    for in any case. Raises ClipsteerError where `root` is not a folder.
    """

    def __init__(self, root: str | os.PathLike[str], *, whole: bool = True) -> None:
        self.root = Path(os.path.abspath(root))
        self.whole = whole
        self.left_out: list[str] = []
        """The hidden and system files and folders that `paths` has passed by."""
        self.dangling: list[str] = []
        """The symbolic links that lead to nothing, which `paths` has passed by too."""
        if not self.root.is_dir():
            found = "a file" if self.root.exists() else "nothing"
            raise ClipsteerError(
                f"{self.root}: found {found}, expected a folder. Put the folder there, or change "
                "the path in the config."
            )

    def paths(self) -> list[str]:
        """Every file's path, sorted by its text. Raises ClipsteerError for a loop of links."""
        found: list[str] = []
        self.left_out, self.dangling = [], []
        self._walk(os.fspath(self.root), "", (), found)
        return sorted(found)

    def _walk(
        self, folder: str, prefix: str, above: tuple[tuple[int, int], ...], found: list[str]
    ) -> None:
        info = os.stat(folder)
        if (info.st_dev, info.st_ino) in above:
            raise ClipsteerError(
                f"{folder}: found a symbolic link to a folder above itself, expected folders that "
                "end. Remove the link."
            )
        above = (*above, (info.st_dev, info.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if is_clutter(entry.name) and not self.whole:
                    self.left_out.append(name)
                elif entry.is_dir():
                    self._walk(entry.path, name + "/", above, found)
                elif entry.is_file():
                    found.append(check_name(name, os.fspath(self.root)))
                elif entry.is_symlink():
                    self.dangling.append(name)

    def exists(self, path: str) -> bool:
        return self._file(path).is_file()

    def read(self, path: str) -> bytes:
        try:
            return self._file(path).read_bytes()
        except OSError as error:
            raise self._unreadable(path, error) from error

    def digest(self, path: str) -> str:
        try:
            return digest_file(self._file(path))
        except OSError as error:
            raise self._unreadable(path, error) from error

    def size(self, path: str) -> int:
        try:
            return self._file(path).stat().st_size
        except OSError as error:
            raise self._unreadable(path, error) from error

    def local_path(self, path: str) -> Path:
        """The file itself. Raises ClipsteerError where there is none."""
        file = self._file(path)
        if not file.is_file():
            raise self._unreadable(path, FileNotFoundError("no such file"))
        return file

    def _file(self, path: str) -> Path:
        return self.root / check_name(path, os.fspath(self.root))

    def _unreadable(self, path: str, error: OSError) -> ClipsteerError:
        return ClipsteerError(
            f"{self.root / path}: cannot be read ({error.strerror or error}); expected a readable "
            "file. Put it there, or correct the list or config that names it."
        )


class StoreTree:
    """A tree in the store as a FileTree; nested trees appear as folders.

    `external`: where to find the content of `external` entries (verified on `read`).
    Raises MissingObjectError or DamagedObjectError where the tree itself is missing or damaged.
    """

    def __init__(
        self, store: ObjectStore, digest: str, *, external: FileTree | None = None
    ) -> None:
        self.store = store
        self.root_digest = digest
        self.external = external
        self._pack = Pack(store, digest) if is_pack(store, digest) else None
        self.entries = self._pack.entries if self._pack else load_entries(store, digest)
        self._nested: dict[str, StoreTree] = {}

    def total_size(self) -> int:
        """Bytes of all blobs below, counted as often as they are named."""
        return sum(entry.size for entry in self.entries.values())

    def paths(self) -> list[str]:
        found: list[str] = []
        for name, entry in self.entries.items():
            if entry.kind == TREE:
                found += [f"{name}/{path}" for path in self._tree(name).paths()]
            else:
                found.append(name)
        return sorted(found)

    def exists(self, path: str) -> bool:
        """Whether the tree names this file; its blob may still be missing."""
        return self._find(check_name(path, self.root_digest)) is not None

    def entry(self, path: str) -> Entry:
        """What the tree says of the file at `path`. Raises ClipsteerError where it has none."""
        return self._place(path)[1]

    def _place(self, path: str) -> tuple[StoreTree, Entry]:
        """The innermost tree that has the file at `path`, and what it says of it."""
        found = self._find(check_name(path, self.root_digest))
        if found is None:
            raise ClipsteerError(
                f"tree {self.root_digest}: found no file {path!r} in it; expected one of "
                f"{len(self.entries)} entries such as {sorted(self.entries)[:3]}. The pointer that "
                "names the tree belongs to another version; run the same command again."
            )
        return found

    def digest(self, path: str) -> str:
        return self.entry(path).digest

    def size(self, path: str) -> int:
        return self.entry(path).size

    def read(self, path: str) -> bytes:
        """The content, verified below the store's `verify_below` (external: always)."""
        tree, entry = self._place(path)
        if tree._pack:
            return tree._pack.read(entry)
        if self._is_external(path, entry):
            assert self.external is not None
            data = self.external.read(path)
            if digest_bytes(data, entry.digest.partition(":")[0]) != entry.digest:
                raise self._changed(path, entry)
            return data
        self._check_size(entry)
        return self.store.get_bytes(entry.digest)

    def local_path(self, path: str) -> Path:
        """The blob's read-only file; only its size is checked. Never write to it.

        Raises ValueError for a file in a pack, which is no file of its own.
        """
        entry = self.entry(path)
        if entry.kind == PACKED:
            raise ValueError(f"{path} is in the pack {self.root_digest}: read it")
        if self._is_external(path, entry):
            assert self.external is not None
            if self.external.size(path) != entry.size:
                raise self._changed(path, entry)
            return self.external.local_path(path)
        return self._check_size(entry)

    def subtree(self, path: str) -> StoreTree:
        """The nested tree at `path`. Raises ClipsteerError where there is none."""
        check_name(path, self.root_digest)
        for head, tail in splits(path):
            entry = self.entries.get(head)
            if entry is not None and entry.kind == TREE:
                nested = self._tree(head)
                return nested.subtree(tail) if tail else nested
        raise ClipsteerError(
            f"tree {self.root_digest}: found no nested tree {path!r}; expected one of "
            f"{sorted(n for n, e in self.entries.items() if e.kind == TREE)}."
        )

    def _find(self, path: str) -> tuple[StoreTree, Entry] | None:
        for head, tail in splits(path):
            entry = self.entries.get(head)
            if entry is None:
                continue
            if entry.kind == TREE:
                return self._tree(head)._find(tail) if tail else None
            return None if tail else (self, entry)
        return None

    def _tree(self, name: str) -> StoreTree:
        if name not in self._nested:
            inner = _Below(self.external, name) if self.external is not None else None
            digest = self.entries[name].digest
            self._nested[name] = StoreTree(self.store, digest, external=inner)
        return self._nested[name]

    def _is_external(self, path: str, entry: Entry) -> bool:
        """Whether to read from the user's files; an external blob may be in the store as well."""
        if entry.kind != EXTERNAL:
            return False
        if self.external is not None:
            return True
        raise ClipsteerError(
            f"tree {self.root_digest}: the file {path!r} is not kept in the store; expected the "
            "folder that it was taken from. Give that folder."
        )

    def _check_size(self, entry: Entry) -> Path:
        size = self.store.size(entry.digest)
        if size != entry.size:
            self.store.verify(entry.digest)
            raise DamagedObjectError(
                f"tree {self.root_digest}: says {entry.size} bytes of {entry.digest}, found {size} "
                f"in the store {self.store.root}: the tree is damaged or was made by another "
                "program. Run the same command again.",
                self.root_digest,
            )
        return self.store.path(entry.digest)

    def _changed(self, path: str, entry: Entry) -> ClipsteerError:
        return ClipsteerError(
            f"{path}: found other content than the {entry.size} bytes {entry.digest} that were "
            "there when this was planned. Run the same command again; it will take the new file."
        )


class _Below:
    """The part of a FileTree below one folder name."""

    def __init__(self, tree: FileTree, prefix: str) -> None:
        self.tree, self.prefix = tree, prefix + "/"

    def paths(self) -> list[str]:
        start = len(self.prefix)
        return [path[start:] for path in self.tree.paths() if path.startswith(self.prefix)]

    def exists(self, path: str) -> bool:
        return self.tree.exists(self.prefix + path)

    def read(self, path: str) -> bytes:
        return self.tree.read(self.prefix + path)

    def digest(self, path: str) -> str:
        return self.tree.digest(self.prefix + path)

    def size(self, path: str) -> int:
        return self.tree.size(self.prefix + path)

    def local_path(self, path: str) -> Path:
        return self.tree.local_path(self.prefix + path)


def put_tree_entries(store: ObjectStore, entries: Mapping[str, tuple[str, int, str]]) -> str:
    """Store a tree of {name: (digest, size in bytes, kind)}; its digest.

    The blobs need not be in the store; where they never will be (a user's model folder by
    reference) their kind is `external`. Raises ClipsteerError for bad entries or a full disk.
    """
    return store.put_bytes(tree_bytes(entries))


def put_tree(
    store: ObjectStore,
    folder: Path,
    nested: Sequence[str] = (),
    *,
    move: bool = False,
) -> str:
    """Store a folder and all below it; the digest of its tree. Durable on return.

    `nested` lists sub-folders (relative, may lie in one another) that become trees of their own,
    with digests of their own. Empty folders leave no trace unless listed. `move=True` gives the
    files away (see `ObjectStore.put_file`). Raises ClipsteerError for a missing folder, a bad
    name or a full disk.
    """
    source = FolderTree(folder)
    tops = sorted({check_name(name, os.fspath(folder)) for name in nested}, key=len, reverse=True)
    for name in tops:
        if not (source.root / name).is_dir():
            raise ClipsteerError(
                f"{source.root / name}: found no folder; expected one, to store as a tree."
            )
    paths = source.paths()
    files = [source.root / path for path in paths]
    digests = [store.put_file(f, move=True) for f in files] if move else store.put_many(files)
    trees: dict[str, dict[str, Entry]] = {name: {} for name in [*tops, ""]}
    for path, digest in zip(paths, digests, strict=True):
        home = _home(path, tops)
        # The size of what was stored, not of the file, which may have changed since.
        entry = Entry(digest, store.size(digest), BLOB)
        trees[home][path[len(home) + 1 if home else 0 :]] = entry
    blobs: list[bytes] = []
    for name, entries in trees.items():
        # Longest first, so a tree is complete before the tree that holds it.
        blobs.append(tree_bytes(entries))
        if name:
            home = _home(name, [top for top in tops if top != name])
            size = sum(entry.size for entry in entries.values())
            inner = name[len(home) + 1 if home else 0 :]
            trees[home][inner] = Entry(digest_bytes(blobs[-1]), size, TREE)
    return store.put_many(blobs)[-1]


def _home(path: str, tops: Iterable[str]) -> str:
    """The innermost nested tree that holds `path` (`tops` has the longest names first)."""
    return next((top for top in tops if path.startswith(top + "/")), "")


def tree_complete(store: ObjectStore, digest: str, depth: int | None = None) -> bool:
    """Whether a tree and its entries are here: `depth` levels of entries, None for all.

    Existence only, and nothing is asked of `external` entries. A damaged tree counts as absent.
    """
    if not store.exists(digest):
        return False
    if depth is not None and depth <= 0:
        return True
    try:
        entries = {} if is_pack(store, digest) else load_entries(store, digest)
    except (MissingObjectError, DamagedObjectError):
        return False
    below = None if depth is None else depth - 1
    return all(
        tree_complete(store, entry.digest, below)
        if entry.kind == TREE
        else entry.kind == EXTERNAL or store.exists(entry.digest)
        for entry in entries.values()
    )
