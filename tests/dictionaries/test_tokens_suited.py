"""A dictionary of one kind of tokens, in a model with a CLS token and in one without."""

from __future__ import annotations

import pytest

from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.tokens import suited
from clipsteer.errors import ClipsteerError


def test_without_cls_all_tokens_are_spatial() -> None:
    for tokens, cls, expected in (
        ("spatial", 0, "spatial"),
        ("cls", 0, "cls"),
        ("all", None, "all"),
        ("spatial", None, "all"),
    ):
        dictionary = NeuronBasis(4)
        dictionary.tokens = tokens  # type: ignore[assignment]
        assert suited(dictionary, cls).tokens == expected
        assert dictionary.tokens == tokens  # it is the caller's
    dictionary = NeuronBasis(4)
    dictionary.tokens = "cls"
    with pytest.raises(ClipsteerError, match="trained on CLS tokens alone, but the model has no"):
        suited(dictionary, None)
