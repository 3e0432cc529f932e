"""Pointers: the small files that stand for objects in a working copy, and that Snakemake sees.

Equal content gives equal bytes: no times, hosts, paths or keys.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import canonical_json, digest_bytes, is_digest
from clipsteer.store.durable import write_atomic
from clipsteer.store.entries import BLOB, TREE

POINTER_FORMAT = "clipsteer-pointer/1"


class DamagedPointerError(ClipsteerError):
    """A pointer's text is not what was written."""


@dataclass(frozen=True)
class Output:
    """One result: ``size`` in bytes (of a tree: all blobs below it), ``kind`` blob or tree."""

    digest: str
    size: int
    kind: str = BLOB


@dataclass(frozen=True)
class Member:
    """The results of one action, and the few facts that later rules need (JSON values)."""

    outputs: dict[str, Output] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pointer:
    """The results of a step: one member for each of its actions."""

    step: str
    members: dict[str, Member] = field(default_factory=dict)


def pointer_bytes(pointer: Pointer) -> bytes:
    """The file's content: sorted JSON, indented by 1, a newline at the end, its own check.

    Raises ValueError or TypeError for facts that JSON cannot hold and for malformed outputs.
    """
    body: dict[str, Any] = {
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
        if check != digest_bytes(canonical_json(value)) or value["format"] != POINTER_FORMAT:
            raise ValueError("its check does not hold")
        return Pointer(value["step"], {n: _member(m) for n, m in value["members"].items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedPointerError(
            f"{os.fspath(path)}: found a damaged or edited pointer, expected the format "
            f"{POINTER_FORMAT} unaltered. Run the same command again: it will be restored from the "
            "store (delete the file if it is still there)."
        ) from error


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
