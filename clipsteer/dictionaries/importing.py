"""From the files of a released dictionary to a dictionary of ours, which does exactly the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.claimed import (
    Expected,
    Settled,
    claims_of,
    configuration,
    format_of_content,
    settle,
)
from clipsteer.dictionaries.files import load
from clipsteer.dictionaries.formats.every import FORMATS
from clipsteer.dictionaries.release import canonical
from clipsteer.dictionaries.sources import relevant_files
from clipsteer.dictionaries.tensor_files import read_tensors


class Imported(NamedTuple):
    """A dictionary, and what is known of it beside its tensors (JSON values)."""

    dictionary: Dictionary
    about: dict[str, Any]


def import_dictionary(path: Path, expected: Expected, key: str, scratch: Path) -> Imported:
    """Read a released dictionary of one layer.

    Args:
        path: its folder, or its weight file.
        expected: what the config says of it.
        key: `dictionaries.<name>`, for messages.
        scratch: an existing folder of ours, for copies that have to be made.

    Returns:
        The dictionary, its tensors views of the file where nothing had to be folded; and `format`, `tokens`, `model`
        (which it says it was made for), `normalize`, `subtracts_b_dec`.

    Raises:
        ClipsteerError: it is not what the config takes it for, or nothing that could be read exactly.
    """
    folder, names = relevant_files(path, key)
    weights = folder / names[-1]
    kind, config, file = configuration(folder, names, expected.format)
    where = str(file or weights)
    if kind == "clipsteer":
        claims = claims_of(kind, config, where)
        settled = settle(claims, expected, where, key)
        dictionary = load(folder)
        dictionary.tokens = settled.tokens
        return Imported(dictionary, _about(kind, settled, claims.model, subtracts_b_dec=True))
    content = None
    if file is None:
        content = read_tensors(weights, scratch)
        config = content.config
        kind = kind or format_of_content(config, content.tensors, where)
    claims = claims_of(kind, config, where)
    settled = settle(claims, expected, where, key)
    content = content or read_tensors(weights, scratch)
    release = FORMATS[kind].read(content.tensors, config, where)
    dictionary = canonical(release, settled.normalize, str(weights))
    dictionary.tokens = settled.tokens
    return Imported(dictionary, _about(kind, settled, claims.model, release.subtracts_b_dec))


def _about(kind: str, settled: Settled, model: str | None, subtracts_b_dec: bool) -> dict[str, Any]:
    return {
        "format": kind,
        "model": model,
        "tokens": settled.tokens,
        "normalize": settled.normalize,
        "subtracts_b_dec": subtracts_b_dec,
    }
