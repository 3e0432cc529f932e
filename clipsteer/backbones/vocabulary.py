"""A vocabulary (Section 6.1): entries whose probabilities, given an image, say what a model sees in it.

Entries come from the model's own tokenizer, from captions, or from a file of the user's; what the model cannot
tell apart is one entry.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from clipsteer.errors import ClipsteerError
from clipsteer.lookalikes import check_content

if TYPE_CHECKING:
    from clipsteer.backbones.base import Backbone

KEY = "vocabulary.source"
# Fewer letters are mostly fragments and abbreviations.
_LETTERS = 3
_WORD = re.compile(r"[a-z]+(?:[-']+[a-z]+)*")
# Phrases end at these, and at punctuation.
_FUNCTION_WORDS = {
    *("a", "an", "the", "this", "that", "which", "her", "his", "its", "their", "is", "wearing"),
    *("as", "at", "beside", "by", "for", "from", "in", "inside", "into", "near", "of", "off", "on"),
    *("onto", "over", "to", "under", "upon", "with", "without", "and", "or"),
}


class Entry(NamedTuple):
    """An entry, and where it is from, for messages: `line 12 of words.txt`."""

    text: str
    where: str = ""


def tokenizer_words(tokenizer: Any, where: str) -> list[Entry]:
    """The whole words of a model's tokenizer, the most frequent first: letters alone, at least three.

    CLIP's byte pairs mark where a word ends (`cat</w>`), and are numbered in the order in which they were merged,
    which is that of their frequency. A sentencepiece model marks where one begins (`▁cat`); its pieces are
    numbered likewise. Raises ClipsteerError where no token is a whole word.
    """
    numbered = sorted((number, token) for token, number in tokenizer.get_vocab().items())
    found = []
    for _, token in numbered:
        word = token.removesuffix("</w>").removeprefix("\u2581")
        if word != token and len(word) >= _LETTERS and word.isascii() and word.isalpha():
            found.append(Entry(word.lower()))
    if not found:
        raise ClipsteerError(
            f"{KEY}: found no whole word in the tokenizer of {where}; expected some. Give a file with an entry a line."
        )
    return found


def caption_words(captions: Iterable[str], template: str) -> list[Entry]:
    """Words and phrases of captions, the most frequent first, of equals by the alphabet.

    A phrase is what stands between function words or punctuation (as candidates are made by Rose et al. 2010,
    "Automatic keyword extraction from individual documents"); each of its words of three letters or more is an
    entry too. What is in the template anyway (`photo`) says nothing of an image and is none.
    """
    said = set(_WORD.findall(template.lower()))
    counts: Counter[str] = Counter()
    for caption in captions:
        here = set()
        for phrase in _phrases(caption.lower()):
            words = [word for word in phrase if word not in said]
            here |= {word for word in words if len(word) >= _LETTERS}
            here |= {" ".join(words)} if len(words) > 1 else set()
        counts.update(here)
    return [Entry(text) for text, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]


def _phrases(text: str) -> Iterable[list[str]]:
    """The runs of words between function words or punctuation."""
    phrase: list[str] = []
    end = 0
    for found in _WORD.finditer(text):
        joined = not text[end : found.start()].strip()
        if phrase and not (joined and found[0] not in _FUNCTION_WORDS):
            yield phrase
            phrase = []
        if found[0] not in _FUNCTION_WORDS:
            phrase.append(found[0])
        end = found.end()
    if phrase:
        yield phrase


def file_words(data: bytes, name: str) -> list[Entry]:
    """The entries of a file, one a line; empty lines are passed over.

    Raises:
        ClipsteerError: it is no text in UTF-8, or something else than a list of words (a web page, say).
    """
    check_content(data, f"{KEY}: {name}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClipsteerError(
            f"{KEY}: {name}: found a byte that is not UTF-8 in line {data[: error.start].count(10) + 1}; expected text "
            "in UTF-8, an entry a line. Save it as UTF-8."
        ) from error
    lines = enumerate(text.splitlines(), start=1)
    return [Entry(line.strip(), f"line {n} of {name}") for n, line in lines if line.strip()]


class Distinct(NamedTuple):
    """The entries that are kept, and how many the model could not tell from an earlier one."""

    words: list[str]
    repeated: int


def distinct(
    backbone: Backbone, entries: Sequence[Entry], template: str, size: int, *, key: str = KEY
) -> Distinct:
    """The first `size` entries that are different prompts to the model, in their order.

    Raises:
        ClipsteerError: a prompt has more tokens than the model takes, or fewer than two entries are left.
    """
    prompts = [template.replace("{}", entry.text) for entry in entries]
    found: dict[tuple[int, ...], str] = {}
    repeated = 0
    for entry, ids in zip(entries, backbone.token_ids(prompts), strict=True):
        if len(found) == size:
            break
        if len(ids) > backbone.context:
            where = f"{entry.where}: " if entry.where else ""
            raise ClipsteerError(
                f"{key}: {where}found {entry.text[:60]!r}, of {len(ids)} tokens with its template, expected at "
                f"most {backbone.context}. Shorten the entry."
            )
        repeated += ids in found
        found.setdefault(ids, entry.text)
    if len(found) < 2:
        raise ClipsteerError(
            f"{key}: found {len(found)} different entries, expected at least two. Add some."
        )
    return Distinct(list(found.values()), repeated)
