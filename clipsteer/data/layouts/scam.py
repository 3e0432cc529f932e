"""SCAM (Westerhoff et al. 2025): photographs with a word on a sticky note, each three times.

`metadata.jsonl`, an object a line, names the images beside it, such as

    {"file_name": "12.jpg", "id": "SCAM_mug_taxi_3", "type": "SCAM", "object_label": "mug", "attack_word": "taxi"}

`type` is SCAM (the word is on the note), NoSCAM (the note is blank) or SynthSCAM (the word is put back by a program),
and the three have one `id` behind the type. Other keys are passed over. Clean images are NoSCAM; attacked are those of
SCAM, or with `attack: synthetic` those of SynthSCAM. All images are of the split test.

Nothing is known here of SCAM in folders without that file, and images within Parquet files are not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import polars as pl

from clipsteer.data import files, labels
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FileTree

_FILE = "metadata.jsonl"
_CLEAN = "NoSCAM"
_TYPES = {"real": "SCAM", "synthetic": "SynthSCAM"}
_KEYS = ("file_name", "id", "type", "object_label", "attack_word")


class _Image(NamedTuple):
    """One line: its file, its type, what names its triplet, and what is on it."""

    file: str
    kind: str
    triplet: str
    label: str
    word: str


def read(tree: FileTree, *, attack: str = "real") -> pl.DataFrame:
    """Rows (path, split, target and spurious null, class = object, text = word or "") in the order of the paths.

    Raises ClipsteerError where metadata.jsonl is missing or malformed, an image is not there, or an attacked one has no
    clean one.
    """
    listing = files.listing_of(tree)
    if files.find_file(listing, (_FILE,)) is None and any(p.endswith(".parquet") for p in listing):
        raise ClipsteerError(
            f"found Parquet files and no {_FILE}; expected it and the images that it names as files of their own. "
            "Images within Parquet are not read: download SCAM's images.zip and unpack it."
        )
    file = files.need_file(listing, (_FILE,), "what is on which image")
    found = list(_lines(labels.decode_text(tree.read(file), file), file))
    kinds = _TYPES[attack], _CLEAN
    images = {kind: [one for one in found if one.kind == kind] for kind in kinds}
    for kind, of_kind in images.items():
        if not of_kind:
            raise ClipsteerError(
                f'{file}: found no image of "type": "{kind}" among {len(found)}; expected some.'
            )
    _check_triplets(images[kinds[0]], images[_CLEAN], file)
    folder, there = files.folder_of(file), set(listing)
    rows = []
    for kind, of_kind in images.items():
        for one in of_kind:
            path = folder + one.file
            if path not in there:
                raise ClipsteerError(
                    f"{file}: found no image {path!r}, which it names; expected all of them beside it. Unpack "
                    "SCAM's images.zip whole."
                )
            rows.append((path, "test", None, None, one.label, "" if kind == _CLEAN else one.word))
    return pl.DataFrame(sorted(rows, key=itemgetter(0)), schema=labels.ROW_SCHEMA, orient="row")


def canonical(paths: pl.Series, listing: Sequence[str], options: Mapping[str, Any]) -> pl.Series:
    """The paths below the folder of metadata.jsonl, wherever it lies."""
    file = files.find_file(listing, (_FILE,))
    assert file is not None
    return paths.str.strip_prefix(files.folder_of(file))


def _lines(text: str, file: str) -> Iterator[_Image]:
    """What each line says. Raises ClipsteerError for one that is of another form."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except ValueError as fault:
            raise ClipsteerError(
                f"{file}, line {number}: not JSON ({fault}); expected an object a line."
            ) from None
        missing = [
            key
            for key in _KEYS
            if not isinstance(said, dict)
            or not isinstance(said.get(key), str)
            or not said[key].strip()
        ]
        if missing:
            raise ClipsteerError(
                f"{file}, line {number}: found no text under {missing[0]!r}; expected {', '.join(_KEYS)}."
            )
        kind = said["type"]
        if kind not in (*_TYPES.values(), _CLEAN):
            raise ClipsteerError(
                f'{file}, line {number}: found "type": {kind!r}; expected {", ".join(_TYPES.values())} or {_CLEAN}.'
            )
        if not said["id"].startswith(kind):
            raise ClipsteerError(
                f"{file}, line {number}: found the id {said['id']!r} of {kind}; expected one that begins with its "
                "type, as images of one object are found by what comes after it."
            )
        label, word = said["object_label"].strip(), said["attack_word"].strip()
        yield _Image(said["file_name"], kind, said["id"].removeprefix(kind), label, word)


def _check_triplets(attacked: Sequence[_Image], clean: Sequence[_Image], file: str) -> None:
    """Raise a ClipsteerError unless each attacked image has one clean one, of the same object and word."""
    for kind in (attacked, clean):
        names = pl.Series([one.triplet for one in kind])
        if names.is_duplicated().any():
            double = names.filter(names.is_duplicated())[0]
            raise ClipsteerError(
                f"{file}: found {kind[0].kind + double!r} more than once; expected each id on one line."
            )
    there = {one.triplet: one for one in clean}
    for one in attacked:
        other = there.get(one.triplet)
        if other is None:
            raise ClipsteerError(
                f"{file}: found {one.kind + one.triplet!r} and no {_CLEAN + one.triplet!r}; expected a clean image for "
                "each attacked one. Add its line, or take the other out."
            )
        if (one.label, one.word) != (other.label, other.word):
            raise ClipsteerError(
                f"{file}: found {one.label!r} with {one.word!r} for {one.kind + one.triplet!r}, but {other.label!r} "
                f"with {other.word!r} for its clean image; expected the same of both."
            )
