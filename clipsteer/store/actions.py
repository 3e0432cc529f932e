"""Action records: what was computed from what, found again by a key.

An action is a step, a recipe (canonical JSON), the code's fingerprint and the digests of the
inputs. Its key is the digest of these, so equal work has one record in a store, whoever did it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import (
    ALGORITHM,
    canonical_json,
    digest_bytes,
    is_digest,
    parse_digest,
)
from clipsteer.store.durable import disk_errors, flush_folder, remove, token, write_new
from clipsteer.store.entries import BLOB, TREE
from clipsteer.store.layout import (
    ACTIONS,
    KEY,
    QUARANTINE,
    TMP,
    discard,
    open_root,
    publish_link,
    resurrect,
)
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import tree_complete

Record = dict[str, Any]  # its fields: docs/store-protocol.md, section 5

# Raise this when a change to the store itself may change results: every key changes with it.
# The store's own code is in no fingerprint.
STORE_SEMANTICS = 1

ACTION_FORMAT = "clipsteer-action/1"
_FIELDS = ("semantics", "step", "recipe", "code", "inputs", "outputs", "facts")


def action_key(
    step: str,
    recipe: Any,
    code: str,
    inputs: Mapping[str, str],
    *,
    semantics: int = STORE_SEMANTICS,
) -> str:
    """The digest that names an action.

    `recipe`: any JSON value; `code`: the code fingerprint; `inputs`: name -> digest.
    `semantics` is given only to recompute the key of an old record. Raises ValueError or
    TypeError for what has no canonical JSON.
    """
    return digest_bytes(
        canonical_json(
            {
                "code": code,
                "format": ACTION_FORMAT,
                "inputs": dict(inputs),
                "recipe": recipe,
                "semantics": semantics,
                "step": step,
            }
        )
    )


class ActionStore:
    """The action records of one store root; any number of processes may read and add at once."""

    _open = staticmethod(open_root)

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = self._open(root)
        self._root = os.fspath(self.root)
        self._actions = f"{self._root}/{ACTIONS}"

    def get(self, key: str) -> dict[str, Any] | None:
        """The record of an action, or None.

        A record that is damaged (its `check` does not hold) is moved to quarantine/ and counts
        as absent. Whether its objects are still there is another question: see `complete`.
        """
        path = self.file(key)
        record = self._read(path, key)
        if record is None and resurrect(self._root, self.relative(key)):
            record = self._read(path, key)
        return record

    def publish(self, key: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Make a record known; the record that holds from now on.

        That is the given one, or the one that is there already: the first writer wins. Durable on
        return. Call it only when every output object is durable. `format`, `key` and
        `semantics` are filled in. Raises ValueError where fields are missing, malformed or do
        not give `key` (a bug of the caller), ClipsteerError for a full or forbidden disk.
        """
        given = {"semantics": STORE_SEMANTICS, **record, "format": ACTION_FORMAT, "key": key}
        given.pop("check", None)
        # Through JSON once, so that what is returned is what every reader will get.
        full: dict[str, Any] = json.loads(canonical_json(given))
        fault = _fault(full, key)
        if fault:
            raise ValueError(f"action record {key}: {fault}")
        text = json.dumps({**full, "check": _check(full)}, sort_keys=True, indent=1) + "\n"
        path = self.file(key)
        temp = os.path.join(self.root, TMP, token())
        with disk_errors(self.root, KEY):
            write_new(temp, text.encode("ascii"), mode=0o444, flush=True)
            try:
                # A damaged record in the way is moved aside by `get`; then we try again.
                while not self._link(temp, path):
                    present = self.get(key)
                    if present is not None and self.touch(key):
                        return present
                    if os.path.exists(path):
                        raise ClipsteerError(
                            f"{path}: found a damaged action record that cannot be moved away; "
                            "expected a store that you may write. Delete the file, then run the "
                            "same command again."
                        )
            finally:
                remove(temp)
            flush_folder(os.path.dirname(path))
        return full

    def touch(self, key: str) -> bool:
        """Mark a record as used just now, so that gc counts it as young; whether it is (still) here.

        What gc has moved away in the meantime comes back. Touch a record before you count on it:
        from then on gc keeps what it names. Never fails.
        """
        try:
            os.utime(self.file(key))
        except FileNotFoundError:
            return resurrect(self._root, self.relative(key))
        except OSError:  # somebody else's, or a read-only store: gc goes by what pointers reach
            return os.path.exists(self.file(key))
        return True

    def forget(self, key: str) -> bool:
        """Take a record away (into trash/ under a name of its own); whether it was there.

        For an action whose result is known to be wrong or lost for good: it is computed anew.
        """
        with disk_errors(self.root, KEY):
            return discard(self.root, self.relative(key))

    def keys(self) -> Iterator[str]:
        """The key of every record here, in sorted order."""
        for folder in sorted(os.listdir(self._actions)):
            for name in sorted(os.listdir(os.path.join(self._actions, folder))):
                key = f"{ALGORITHM}:{folder}{name.removesuffix('.json')}"
                if len(folder) == 2 and name.endswith(".json") and is_digest(key):
                    yield key

    def made_by(self, step: str, code: str) -> Iterator[dict[str, Any]]:
        """The records of a step with one fingerprint of its code, by key; damaged ones are left out.

        The text of every record is read, but only these are parsed.
        """
        words = [json.dumps(word).encode("ascii") for word in (step, code)]
        for key in self.keys():
            try:
                with open(self.file(key), "rb") as stream:
                    data = stream.read()
            except OSError:
                continue
            record = parse_record(data, key) if all(word in data for word in words) else None
            wanted = (STORE_SEMANTICS, step, code)
            if record and (record["semantics"], record["step"], record["code"]) == wanted:
                yield record

    def file(self, key: str) -> str:
        """Where the record of an action lies, or would lie."""
        return f"{self._root}/{self.relative(key)}"

    @staticmethod
    def relative(key: str) -> str:
        """The same within the root, and within trash/."""
        name = parse_digest(key)[1]
        return f"{ACTIONS}/{name[:2]}/{name[2:]}.json"

    def _read(self, path: str, key: str) -> dict[str, Any] | None:
        try:
            with open(path, "rb") as stream:
                data = stream.read()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise ClipsteerError(
                f"{path}: permission denied; expected a record that you may read. Ask its owner "
                "to make the store readable, or choose another store.root."
            ) from error
        except OSError:
            data = b""
        record = parse_record(data, key)
        if record is None:
            away = self.root / QUARANTINE / f"action-{parse_digest(key)[1]}-{token()}.json"
            with contextlib.suppress(OSError):
                os.replace(path, away)
                record = parse_record(away.read_bytes(), key)
                if record is not None:  # a writer had just replaced the damaged one
                    os.replace(away, path)
        return record

    def _link(self, temp: str, path: str) -> bool:
        try:
            return publish_link(temp, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            flush_folder(self._actions)
            return publish_link(temp, path)


def complete(record: Mapping[str, Any], objects: ObjectStore, depth: int | None = 1) -> bool:
    """Whether all output objects of a record are here, so that it can be restored.

    `depth`: how many levels of tree entries to look at: 0 only the outputs themselves, 1 also
    the entries of output trees, None everything. One `stat` an object; contents are not read,
    but for the trees, and `external` entries are not asked for.
    """
    for output in record["outputs"].values():
        if output["kind"] == TREE:
            if not tree_complete(objects, output["digest"], depth):
                return False
        elif not objects.exists(output["digest"]):
            return False
    return True


def _check(record: Mapping[str, Any]) -> str:
    return digest_bytes(canonical_json(record))


def parse_record(data: bytes, key: str) -> dict[str, Any] | None:
    """The record in a file's bytes, or None where anything about it is wrong."""
    try:
        record = json.loads(data)
        if not isinstance(record, dict):
            return None
        check = record.pop("check", None)
        if check != _check(record) or _fault(record, key):
            return None
    except (ValueError, TypeError, RecursionError):
        return None
    return record


def _fault(record: Mapping[str, Any], key: str) -> str:
    """What is wrong with a record, or nothing."""
    missing = [name for name in _FIELDS if name not in record]
    if missing:
        return f"found no {', '.join(missing)}"
    if record.get("format") != ACTION_FORMAT or record.get("key") != key:
        return f"found the format {record.get('format')!r} and the key {record.get('key')!r}"
    for name in ("inputs", "outputs", "facts"):
        if not isinstance(record[name], dict):
            return f"{name} is not a mapping"
    for name, output in record["outputs"].items():
        if not (
            isinstance(output, dict)
            and is_digest(output.get("digest"))
            and type(output.get("size")) is int
            and output.get("kind") in (BLOB, TREE)
        ):
            return f"output {name!r} is {output!r}, not digest, size and kind (blob or tree)"
    made = action_key(
        record["step"],
        record["recipe"],
        record["code"],
        record["inputs"],
        semantics=record["semantics"],
    )
    return "" if made == key else f"its step, recipe, code and inputs give the key {made}"
