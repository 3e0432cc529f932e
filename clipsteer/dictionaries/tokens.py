"""A dictionary that was trained on CLS tokens or on spatial ones alone stays on these, whatever is asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from clipsteer.backbones.tokens import token_span
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clipsteer.backbones.tokens import Tokens
    from clipsteer.dictionaries.base import Dictionary


def its_own(
    batches: Iterable[tuple[int, NDArray[np.floating]]],
    dictionary: Dictionary,
    aggregate: str,
    key: str = "steering.aggregate",
) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """(start, activations (n, T, d)) -> the same with the tokens that a dictionary is for.

    Raises ClipsteerError where `aggregate`, which the config `key` says, asks for the one token that it is not for.
    """
    if aggregate == "cls" and dictionary.tokens == "spatial":
        raise ClipsteerError(
            f"{key}: found cls, but this dictionary was trained on spatial tokens alone, expected mean or max. Change "
            "it, or take another dictionary."
        )
    for start, x in batches:
        yield start, x[:, token_span(dictionary.tokens, x.shape[1])]


def edited(asked: Tokens, dictionary: Dictionary, key: str = "steering.tokens") -> Tokens:
    """The tokens that an edit by a dictionary changes, where the config `key`, or an argument, asks for some.

    Raises ClipsteerError where that leaves none.
    """
    own = dictionary.tokens
    if "all" not in (asked, own) and asked != own:
        raise ClipsteerError(
            f"{key}: found {asked}, but this dictionary was trained on {own} tokens alone, expected {own} or all. "
            "Change it, or take another dictionary."
        )
    return own if asked == "all" else asked


def suited(dictionary: Dictionary, cls: int | None) -> Dictionary:
    """A dictionary for the tokens of a model, whose CLS token is `cls`: without one, all are spatial.

    Where that changes what it is for, it is another one that shares the tensors; the given one stays as it is.
    Raises ClipsteerError where it is for CLS tokens alone, and the model has none.
    """
    if cls is None:
        if dictionary.tokens == "cls":
            raise ClipsteerError(
                "dictionaries: found one that was trained on CLS tokens alone, but the model has no CLS token. Take "
                "another dictionary."
            )
        dictionary = copy.copy(dictionary)
        dictionary.tokens = "all"
    return dictionary
