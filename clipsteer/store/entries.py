"""The entries of one tree object: their schema, their names, their bytes; which trees are packs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import canonical_json, is_digest
from clipsteer.store.objects import ObjectStore

TREE_FORMAT = "clipsteer-tree/1"
BLOB = "blob"
TREE = "tree"
# Bytes that stay where the user has them (a model folder by reference): their digest counts, but
# the store neither holds nor expects them.
EXTERNAL = "external"
KINDS = (BLOB, TREE, EXTERNAL)
# A file inside a pack, a tree that is one object (packs.py): nothing below it is an object.
PACKED = "packed"
_PACK_START = b"PAR1"


class Entry(NamedTuple):
    """What a tree says of one name. `size` in bytes; of a tree: of all blobs below it."""

    digest: str
    size: int
    kind: str = BLOB


def check_name(name: str, where: str = "tree") -> str:
    """`name` if it is a relative POSIX path that stays inside its root; else ClipsteerError.

    Refused: empty names and parts, `.` and `..`, a leading `/`, backslashes, NUL and text
    that is not Unicode. `where` names the file or tree in the message.
    """
    parts = name.split("/")
    if "" in parts or "." in parts or ".." in parts or "\\" in name or "\0" in name:
        raise _bad_name(name, where)
    if not name.isascii():
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise _bad_name(name, where) from None
    return name


def _bad_name(name: str, where: str) -> ClipsteerError:
    return ClipsteerError(
        f"{where}: found the path {name!r}; expected a relative path with '/' between its parts "
        "and without '..', '.', empty parts, backslashes or bytes that are not UTF-8. Correct or "
        "rename it."
    )


def is_pack(store: ObjectStore, digest: str) -> bool:
    """Whether a tree is one object, with its files inside. Raises MissingObjectError."""

    def begins_so(path: str) -> bool:
        with open(path, "rb") as stream:
            return stream.read(len(_PACK_START)) == _PACK_START

    return store.use_file(digest, begins_so)


def load_entries(store: ObjectStore, digest: str) -> dict[str, Entry]:
    """The entries of one tree object, checked: nothing in it can name a path outside.

    Raises MissingObjectError, DamagedObjectError, or ClipsteerError where it is not a tree.
    """
    try:
        value = json.loads(store.get_bytes(digest))
    except ValueError:
        value = None
    if not isinstance(value, dict) or value.get("format") != TREE_FORMAT:
        raise ClipsteerError(
            f"{store.root}: object {digest}: found something else where a tree of the format "
            f"{TREE_FORMAT} was expected; it was made by another version. Use that version, or "
            "delete the pointer that names it and run the same command again."
        )
    return checked(value.get("entries"), digest)


def checked(entries: Any, where: str, kinds: Collection[str] = KINDS) -> dict[str, Entry]:
    """Entries as JSON has them, of these kinds; `where` is their tree. Raises ClipsteerError for bad ones."""
    result: dict[str, Entry] = {}
    for name, value in (entries if isinstance(entries, dict) else {"": None}).items():
        if not _is_entry(value, kinds):
            raise ClipsteerError(
                f"tree {where}: found {value!r} for {name!r}; expected an object with digest, "
                f"size (bytes) and kind (one of {', '.join(kinds)}). The tree was made by another "
                "program; delete the pointer that names it and run the same command again."
            )
        result[check_name(name, f"tree {where}")] = Entry(**value)
    for name in result:
        for head, tail in splits(name):
            if tail and head in result:
                raise ClipsteerError(
                    f"tree {where}: found both {head!r} and {name!r}; expected a name to be a "
                    "file, a nested tree or a folder, not two of them."
                )
    return result


def _is_entry(value: Any, kinds: Collection[str]) -> TypeGuard[dict[str, Any]]:
    return (
        isinstance(value, dict)
        and value.keys() == {"digest", "size", "kind"}
        and is_digest(value["digest"])
        and type(value["size"]) is int
        and value["size"] >= 0
        and value["kind"] in kinds
    )


def splits(path: str) -> Iterator[tuple[str, str]]:
    """("a", "b/c"), ("a/b", "c"), ("a/b/c", "") of "a/b/c"."""
    at = path.find("/")
    while at >= 0:
        yield path[:at], path[at + 1 :]
        at = path.find("/", at + 1)
    yield path, ""


def tree_bytes(entries: Mapping[str, tuple[str, int, str]]) -> bytes:
    """The bytes of the tree object with these entries. Raises ClipsteerError for a bad entry."""
    plain = {
        name: {"digest": digest, "size": size, "kind": kind}
        for name, (digest, size, kind) in entries.items()
    }
    checked(plain, "to be stored")
    return canonical_json({"entries": plain, "format": TREE_FORMAT})
