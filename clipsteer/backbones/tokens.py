"""Which tokens of an image are meant: all, the CLS token, or the spatial ones."""

from __future__ import annotations

from typing import Literal, get_args

from clipsteer.errors import ClipsteerError

Tokens = Literal["all", "spatial", "cls"]


def token_span(tokens: Tokens, n_tokens: int) -> slice:
    """The tokens of an image that `tokens` names, of a model whose CLS is token 0.

    Of a model without one: what `tokens_meant` gives. Raises ClipsteerError for another word.
    """
    spans = {"all": slice(0, n_tokens), "spatial": slice(1, n_tokens), "cls": slice(0, 1)}
    if tokens not in spans:
        words = ", ".join(get_args(Tokens))
        raise ClipsteerError(f"tokens: found {tokens!r}, expected one of {words}.")
    return spans[tokens]


def tokens_meant(tokens: Tokens, cls: int | None, key: str = "steering.tokens") -> Tokens:
    """`tokens` in words for `token_span`: without a CLS token, all tokens are spatial.

    `cls`: its place, None where there is none. Raises ClipsteerError where `tokens`, which the config `key` or an
    argument of that name says, asks for it then.
    """
    refuse_without_cls(key, tokens, cls)
    return tokens if cls is not None or tokens == "cls" else "all"


def refuse_without_cls(key: str, word: str, cls: int | None) -> None:
    """Raises ClipsteerError where the config `key`, or an argument, says `cls` and the model has no CLS token."""
    if word == "cls" and cls is None:
        raise ClipsteerError(
            f"{key}: found cls, but the model has no CLS token: all its tokens are patches. Choose another value."
        )
