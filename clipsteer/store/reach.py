"""What a set of results is made of: objects, what the records that made them were made from, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import Record
from clipsteer.store.digest import ALGORITHM, is_digest
from clipsteer.store.entries import EXTERNAL, TREE, Entry, is_pack, load_entries
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore

# How the bytes of every tree begin (canonical JSON), for digests of which no record says the kind.
_TREE_START = b'{"entries":{'


class Trees:
    """The entries of tree objects, each tree read once.

    A tree that is missing or damaged has no entries. So has one of another version's format;
    `strict=True` raises ClipsteerError instead.
    """

    def __init__(self, objects: ObjectStore, *, strict: bool = False) -> None:
        self.objects, self._strict = objects, strict
        self._entries: dict[str, tuple[Entry, ...]] = {}
        self._below: dict[str, dict[str, str]] = {}

    def entries(self, digest: str) -> tuple[Entry, ...]:
        """What the store should hold of one tree: `external` entries are left out, and a pack has none."""
        if digest not in self._entries:
            try:
                packed = is_pack(self.objects, digest)
                found = {} if packed else load_entries(self.objects, digest)
                self._entries[digest] = tuple(e for e in found.values() if e.kind != EXTERNAL)
            except (MissingObjectError, DamagedObjectError):
                self._entries[digest] = ()
            except ClipsteerError:
                if self._strict:
                    raise
                self._entries[digest] = ()
        return self._entries[digest]

    def below(self, digest: str) -> Mapping[str, str]:
        """Digest and kind of all entries of a tree, through nested trees."""
        if digest not in self._below:
            found: dict[str, str] = {}
            for entry in self.entries(digest):
                found[entry.digest] = entry.kind
                if entry.kind == TREE:
                    found |= self.below(entry.digest)
            self._below[digest] = found
        return self._below[digest]


def reach(
    trees: Trees,
    records: Mapping[str, Record],
    outputs: Iterable[tuple[str, str]],
    keys: Iterable[str],
) -> set[str]:
    """Digests of all objects (here or not) that results, recent records and remaking need.

    These are what the results `outputs` (digest, kind) and the records `keys` consist of: an
    object reaches the entries of its tree and every record that has it as an output; a record
    reaches its outputs and its inputs. And they are what no record can make again (`given`).
    Raises ClipsteerError where a tree is of a format that this version does not know.
    """
    makers: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    for key, record in records.items():
        for output in record["outputs"].values():
            makers.setdefault(output["digest"], []).append(key)
            kinds[output["digest"]] = output["kind"]

    def inputs(digests: Iterable[str]) -> Iterator[tuple[str, str]]:
        for digest in digests:
            if is_digest(digest) and digest.startswith(ALGORITHM):
                yield digest, kinds.get(digest) or _kind(trees.objects, digest)

    found: set[str] = set()
    done: set[str] = set()
    opened: set[str] = set()
    pending = [*outputs, *inputs(given(records.values()))]
    waiting = [key for key in keys if key in records]
    while pending or waiting:
        if pending:
            digest, kind = pending.pop()
            if digest not in found:
                found.add(digest)
                waiting += makers.get(digest, [])
            if kind == TREE and digest not in opened:
                opened.add(digest)
                pending += [(entry.digest, entry.kind) for entry in trees.entries(digest)]
            continue
        key = waiting.pop()
        if key not in done:
            done.add(key)
            record = records[key]
            pending += [(o["digest"], o["kind"]) for o in record["outputs"].values()]
            pending += inputs(record["inputs"].values())
    return found


def given(records: Iterable[Record]) -> set[str]:
    """The inputs that no record makes: the one that did was forgotten, say.

    An action that gives back the bytes of an input of its own does not make that.
    """
    inputs: set[str] = set()
    made: set[str] = set()
    for record in records:
        own = set(record["inputs"].values())
        inputs |= own
        made |= {output["digest"] for output in record["outputs"].values()} - own
    return inputs - made


def _kind(objects: ObjectStore, digest: str) -> str:
    """The kind of an object that no record made; nothing for one that is not here."""
    try:
        return TREE if objects.use_file(digest, _start) == _TREE_START else ""
    except MissingObjectError:
        return ""


def _start(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(len(_TREE_START))
