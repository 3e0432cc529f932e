"""Which tokens of an image are meant: all, the CLS token, or the spatial ones."""

from __future__ import annotations

from typing import Literal, get_args

from clipsteer.errors import ClipsteerError

Tokens = Literal["all", "spatial", "cls"]


def token_span(tokens: Tokens, n_tokens: int) -> slice:
    """The tokens of an image that `tokens` names; CLS is token 0.

    Raises ClipsteerError for another word.
    """
    spans = {"all": slice(0, n_tokens), "spatial": slice(1, n_tokens), "cls": slice(0, 1)}
    if tokens not in spans:
        words = ", ".join(get_args(Tokens))
        raise ClipsteerError(f"tokens: found {tokens!r}, expected one of {words}.")
    return spans[tokens]
