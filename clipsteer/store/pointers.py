"""Pointers: the small files that stand for objects in a working copy, and that Snakemake sees.

Equal content gives equal bytes: no times, hosts or paths. A pointer says which chain of recipes it is
the result of (`chain_key`), so that whoever knows the configuration can tell whether it is current.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import canonical_json, digest_bytes, is_digest
from clipsteer.store.durable import write_atomic
from clipsteer.store.entries import BLOB, TREE

POINTER_FORMAT = "clipsteer-pointer/2"
# Without a chain key; what names such a pointer's objects still keeps them.
_OLD_FORMAT = "clipsteer-pointer/1"
CHAIN_FORMAT = "clipsteer-chain/1"
# Its first line: `chain` sorts before all other fields.
_CHAIN = re.compile(rb'\{\n "chain": "([a-z0-9]+:[0-9a-f]+)",\n')
_CHAIN_BYTES = 128


class DamagedPointerError(ClipsteerError):
    """A pointer's text is not what was written."""


@dataclass(frozen=True)
class Output:
    """One result: `size` in bytes (of a tree: all blobs below it), `kind` blob or tree."""

    digest: str
    size: int
    kind: str = BLOB


@dataclass(frozen=True)
class Member:
    """The results of one action, and the few facts that later rules need (JSON values)."""

    outputs: dict[str, Output] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, outputs: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]) -> Self:
        """From the outputs and facts of an action's record."""
        return cls({name: Output(**output) for name, output in outputs.items()}, dict(facts))


@dataclass(frozen=True)
class Pointer:
    """The results of a step: one member for each of its actions. `chain`: see `chain_key`."""

    step: str
    members: dict[str, Member] = field(default_factory=dict)
    chain: str = ""


def chain_key(recipe: str, sources: Iterable[str]) -> str:
    """The chain key of what a step makes: everything that leads to it, known before anything runs.

    `recipe`: the step's canonical recipe; `sources`: the chain keys of the pointers that it reads
    and the digests of what it reads of the user's own. Unlike an action's key it does not wait for
    contents, so it can be compared with what a pointer says before the DAG is built; it changes with
    anything upstream, also where the contents come out the same (then the step is only restored).
    """
    body = {"format": CHAIN_FORMAT, "recipe": recipe, "sources": sorted(set(sources))}
    return digest_bytes(canonical_json(body))


def pointer_bytes(pointer: Pointer) -> bytes:
    """The file's content: sorted JSON, indented by 1, a newline at the end, its own check.

    Raises ValueError or TypeError for facts that JSON cannot hold and for malformed outputs.
    """
    body: dict[str, Any] = {
        "chain": pointer.chain,
        "format": POINTER_FORMAT,
        "members": {
            name: {
                "facts": member.facts,
                "outputs": {
                    output_name: {"digest": out.digest, "kind": out.kind, "size": out.size}
                    for output_name, out in member.outputs.items()
                },
            }
            for name, member in pointer.members.items()
        },
        "step": pointer.step,
    }
    body["check"] = digest_bytes(canonical_json(body))
    for member in body["members"].values():
        for output in member["outputs"].values():
            if _output(output) is None:
                raise ValueError(f"{output!r} is not digest, size and kind (blob or tree)")
    return (json.dumps(body, sort_keys=True, indent=1, allow_nan=False) + "\n").encode("ascii")


def write_pointer(path: str | os.PathLike[str], pointer: Pointer) -> None:
    """Write a pointer, whole or not at all. Raises ClipsteerError for a full or forbidden disk.

    Write it last: after the objects and the action records.
    """
    write_atomic(Path(path), pointer_bytes(pointer))


def read_pointer(path: str | os.PathLike[str]) -> Pointer:
    """Read a pointer. It does not promise that its objects are still in the store.

    Raises ClipsteerError where there is none, DamagedPointerError where it was altered.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ClipsteerError(
            f"{os.fspath(path)}: cannot be read ({error.strerror}); expected a pointer that an "
            "earlier step wrote. Run the same command again."
        ) from error
    try:
        value = json.loads(data)
        check = value.pop("check")
        if check != digest_bytes(canonical_json(value)) or not is_pointer(value):
            raise ValueError("its check does not hold")
        members = {name: _member(member) for name, member in value["members"].items()}
        return Pointer(value["step"], members, str(value.get("chain", "")))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedPointerError(
            f"{os.fspath(path)}: found a damaged or edited pointer, expected the format "
            f"{POINTER_FORMAT} unaltered. Run the same command again: it will be restored from the "
            "store (delete the file if it is still there)."
        ) from error


def is_pointer(value: Any) -> bool:
    """Whether a JSON value has the format of a pointer, of this or an earlier version."""
    return isinstance(value, dict) and value.get("format") in (POINTER_FORMAT, _OLD_FORMAT)


def read_chain(path: str | os.PathLike[str]) -> str | None:
    """The chain key in a pointer's first line; empty where it has none, None where there is no file.

    Reads that line only and checks nothing else: a pointer that is damaged further down is mended or
    missed by whoever reads it.
    """
    try:
        with open(path, "rb") as stream:
            found = _CHAIN.match(stream.read(_CHAIN_BYTES))
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    return found[1].decode() if found else ""


def _member(value: Any) -> Member:
    outputs = {name: _output(output) for name, output in value["outputs"].items()}
    if None in outputs.values():
        raise ValueError("an output is not digest, size and kind")
    return Member({n: o for n, o in outputs.items() if o is not None}, dict(value["facts"]))


def _output(value: Any) -> Output | None:
    well_formed = (
        isinstance(value, dict)
        and value.keys() == {"digest", "kind", "size"}
        and is_digest(value["digest"])
        and type(value["size"]) is int
        and value["size"] >= 0
        and value["kind"] in (BLOB, TREE)
    )
    return Output(value["digest"], value["size"], value["kind"]) if well_formed else None
