"""What of a store a person names to have it as files: a pointer, a part of one, an object, an action."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lineage.listing import PREFIX, Names
from clipsteer.store.entries import BLOB, TREE
from clipsteer.store.pointers import Output, Pointer, read_pointer
from clipsteer.store.roots import REFS, pointers_of
from clipsteer.store.trees import StoreTree

_SHOWN = 6
_SHORT = 12  # digits of a digest that has no other name


class UnknownNameError(ClipsteerError):
    """Nothing in a store goes by a name."""


def pick(text: str, names: Names) -> dict[str, Output]:
    """The outputs that a name stands for, by their path below the folder that they are to fill.

    A name is that of a pointer, as a path or as it is called below artifacts/refs, with or without a
    member, or an output of one after it; or the key of an action or the digest of an object, or the
    first digits. A tree that is all there is has the path "". Raises UnknownNameError for any other name,
    and DamagedPointerError.
    """
    pointer, part = find_pointer(text)
    if pointer is not None:
        return _part(_outputs(pointer), part, text)
    try:
        kind, digest = names.find(text)
    except ClipsteerError as error:
        if PREFIX.fullmatch(text):
            raise UnknownNameError(str(error)) from None
        known = [p.relative_to(REFS).as_posix().removesuffix(".json") for p in pointers_of(Path())]
        raise UnknownNameError(
            f"{text}: found no pointer of that name in {Path.cwd() / REFS}, expected one such as "
            f"celeba/world, the key of an action or the digest of an object.{close_match(text, known)}"
        ) from None
    if kind == "action":
        outputs = {n: Output(**output) for n, output in names.record(digest)["outputs"].items()}
        return _part(outputs, "", text)
    for record in names.index.producers(digest):
        for name, output in record["outputs"].items():
            if output["digest"] == digest:
                return _part({name: Output(**output)}, "", text)
    name = digest.partition(":")[2][:_SHORT]
    return _part({name: _unnamed(names, digest)}, "", text)


def find_pointer(text: str) -> tuple[Pointer | None, str]:
    """The pointer that a name begins with, and the rest of the name; None where there is none.

    Raises DamagedPointerError.
    """
    parts = text.split("/")
    for end in range(len(parts), 0, -1):
        head, rest = "/".join(parts[:end]), "/".join(parts[end:])
        for path in (Path(head), Path(REFS, head), Path(REFS, f"{head}.json")):
            if path.suffix == ".json" and path.is_file():
                return read_pointer(path), rest
    return None, ""


def _outputs(pointer: Pointer) -> dict[str, Output]:
    """All outputs of a pointer: `member/output`, of its only member `output`."""
    return {
        output if member == "all" else f"{member}/{output}": found
        for member, outputs in pointer.members.items()
        for output, found in outputs.outputs.items()
    }


def _part(outputs: Mapping[str, Output], part: str, text: str) -> dict[str, Output]:
    """The outputs at or below `part`, by what their names have more than it."""
    inside = f"{part}/" if part else ""
    found = {
        name.removeprefix(inside): out for name, out in outputs.items() if name.startswith(inside)
    }
    if part in outputs:
        found = {part.rpartition("/")[2]: outputs[part]}
    if not found:
        shown = ", ".join(sorted(outputs)[:_SHOWN])
        raise UnknownNameError(
            f"{text}: found nothing of that name in the pointer, expected one of its {len(outputs)} "
            f"outputs such as {shown or '(none)'}.{close_match(part, outputs)}"
        )
    if len(found) == 1:
        ((name, output),) = found.items()
        return {"" if output.kind == TREE else name.rpartition("/")[2]: output}
    return found


def _unnamed(names: Names, digest: str) -> Output:
    """An object that no record names as an output: inside a tree, or made by nobody."""
    size = names.objects.size(digest)
    try:
        StoreTree(names.objects, digest)
    except ClipsteerError:
        return Output(digest, size, BLOB)
    return Output(digest, size, TREE)
