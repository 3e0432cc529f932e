"""The formats of others that are read, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from clipsteer.dictionaries.formats import (
    dictionary_learning,
    openai,
    prisma,
    saelens,
    saev,
    sparsify,
)
from clipsteer.dictionaries.formats.reading import Config
from clipsteer.dictionaries.release import Claims, Release

if TYPE_CHECKING:
    from torch import Tensor


class Format(NamedTuple):
    """What a configuration says of itself, and the dictionary of its tensors; both name a file in messages."""

    claims: Callable[[Config, str], Claims]
    read: Callable[[Mapping[str, Tensor], Config, str], Release]


FORMATS = {
    "prisma": Format(prisma.claims, prisma.read),
    "saelens": Format(saelens.claims, saelens.read),
    "sparsify": Format(sparsify.claims, sparsify.read),
    "dictionary_learning": Format(dictionary_learning.claims, dictionary_learning.read),
    "saev": Format(saev.claims, saev.read),
    "openai": Format(openai.claims, openai.read),
}
