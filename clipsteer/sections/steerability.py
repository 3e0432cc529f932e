"""The section `vocabulary`: the words whose probabilities steering moves (Section 6.1)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clipsteer.sections.values import WHOLE, Section, SomeText, Template, key

_EMBED = "embed_vocabulary"


class Vocabulary(Section):
    """The words whose probabilities are measured, V in Section 6.1."""

    source: SomeText = key(
        "`model`: words that the model knows, which are the most frequent whole words of its tokenizer, and of the "
        "tiny CLIP the words and phrases of the captions that it learns from; or your own file, one entry a line",
        _EMBED,
        default="model",
        allowed="`model`, or a file",
    )
    size: Annotated[int, Field(strict=True, ge=2), WHOLE] = key(
        "entries at most, the first ones", _EMBED, default=5000
    )
    template: Template = key(
        "the prompt that each entry is put into", _EMBED, default="a photo of a {}."
    )
