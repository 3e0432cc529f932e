"""Materzynska et al. (2022): photographs of objects, with and without a word on a sticky note.

`annotations.json` = {"IMG_2934.JPG": {"true object": "cup", "typographic attack label": "good"}, ...}, where "" is a
clean photograph, and the images beside it or in `images/`. `classes.json`, if it is there, lists the names that images
are told apart by; else these are all objects and words. All images are of the split test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.data import files, labels
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FileTree

_TRUE, _WORD = "true object", "typographic attack label"
_FORM = '{"IMG_2934.JPG": {"true object": "cup", "typographic attack label": "good"}}'


def read(tree: FileTree) -> pl.DataFrame:
    """Rows (path, split, target and spurious null, class = object, text = word or "") in the order of the names.

    Raises ClipsteerError where annotations.json is missing or malformed, or an image that it names is not there.
    """
    listing = files.listing_of(tree)
    file = files.need_file(listing, ("annotations.json",), "what is on which image")
    annotations = _json(tree, file)
    if (
        not isinstance(annotations, dict)
        or not annotations
        or not all(map(_fits, annotations.values()))
    ):
        raise ClipsteerError(
            f"{file}: found other JSON; expected an entry an image, such as {_FORM}."
        )
    folder, there = files.folder_of(file), set(listing)
    rows = []
    for name, said in sorted(annotations.items()):
        path = next((p for p in (f"{folder}images/{name}", folder + name) if p in there), None)
        if path is None:
            raise ClipsteerError(
                f"{file}: found no image {name!r}, which it names, in {folder or './'} or {folder}images/; expected "
                "all of them. Unpack the images beside it."
            )
        rows.append((path, "test", None, None, said[_TRUE].strip(), said[_WORD].strip()))
    return pl.DataFrame(rows, schema=labels.ROW_SCHEMA, orient="row")


def class_names(tree: FileTree) -> dict[str, str]:
    """The names in classes.json, each by itself; empty without one. Raises ClipsteerError for another content."""
    file = files.find_file(tree.paths(), ("classes.json",))
    if file is None:
        return {}
    found = _json(tree, file)
    names = [*found] if isinstance(found, dict) else found  # by number or by name
    if isinstance(found, dict) and all(str(name).isdigit() for name in found):
        names = [*found.values()]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise ClipsteerError(f"{file}: found other JSON; expected a list of names.")
    return {name: name for name in names}


def canonical(paths: pl.Series, listing: Sequence[str], options: Mapping[str, Any]) -> pl.Series:
    """The names alone, wherever they lie."""
    return paths.str.replace(r"^.*/", "")


def _fits(said: object) -> bool:
    return isinstance(said, dict) and all(isinstance(said.get(key), str) for key in (_TRUE, _WORD))


def _json(tree: FileTree, file: str) -> Any:
    try:
        return json.loads(labels.decode_text(tree.read(file), file))
    except ValueError as fault:
        raise ClipsteerError(f"{file}: not JSON ({fault}); expected such as {_FORM}.") from None
