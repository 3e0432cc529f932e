"""Which tokens a word means, in a model with a CLS token and in one without."""

from __future__ import annotations

import pytest

from clipsteer.backbones.tokens import Tokens, refuse_without_cls, token_span, tokens_meant
from clipsteer.errors import ClipsteerError


@pytest.mark.parametrize(
    ("tokens", "cls", "expected"),
    [
        ("all", 0, [0, 1, 2, 3]),
        ("spatial", 0, [1, 2, 3]),
        ("cls", 0, [0]),
        ("all", None, [0, 1, 2, 3]),
        ("spatial", None, [0, 1, 2, 3]),
    ],
)
def test_words_name_tokens(tokens: Tokens, cls: int | None, expected: list[int]) -> None:
    assert list(range(4)[token_span(tokens_meant(tokens, cls), 4)]) == expected


def test_a_cls_that_is_not_there_is_refused() -> None:
    with pytest.raises(ClipsteerError, match=r"steering\.tokens: found cls, but the model has no"):
        tokens_meant("cls", None)
    with pytest.raises(ClipsteerError, match=r"steering\.aggregate: found cls"):
        refuse_without_cls("steering.aggregate", "cls", None)
    with pytest.raises(ClipsteerError, match=r"^tokens: found cls, but the model has no"):
        tokens_meant("cls", None, "tokens")
    refuse_without_cls("steering.aggregate", "max", None)
    refuse_without_cls("steering.aggregate", "cls", 0)


def test_another_word_is_refused() -> None:
    with pytest.raises(ClipsteerError, match="tokens: found 'patches', expected one of all, spat"):
        token_span("patches", 4)  # type: ignore[arg-type]
