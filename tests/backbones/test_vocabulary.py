"""Entries of a vocabulary: from a tokenizer, from captions, from a file; and which of them are one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.tokenizer import build_tokenizer
from clipsteer.backbones.vocabulary import (
    Entry,
    caption_words,
    distinct,
    file_words,
    tokenizer_words,
)
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import make_tiny

TEMPLATE = "a {}."


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Its tokenizer has a token a byte, its texts 24 at most."""
    return load_backbone(make_tiny(tmp_path_factory.mktemp("model") / "m"), device="cpu")


def texts(found: list[Entry]) -> list[str]:
    return [entry.text for entry in found]


def test_words_of_a_tokenizer_are_its_whole_words_in_the_order_of_its_merges(
    tmp_path: Path,
) -> None:
    """Read from the tokenizer's own file, which lists merges as they were learned."""
    lines = ["the cat sat", "the cat", "the dog in cafés", "cafés at 1234 the", "of of of it"]
    build_tokenizer(lines * 3, tmp_path, vocabulary=700)
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    letters = set("abcdefghijklmnopqrstuvwxyz")
    merged = ["".join(pair) for pair in vocabulary["merges"]]
    expected = [
        token[:-4]
        for token in dict.fromkeys(merged)
        if token.endswith("</w>") and len(token) > 6 and set(token[:-4]) <= letters
    ]
    found = texts(tokenizer_words(AutoTokenizer.from_pretrained(tmp_path), "here"))
    assert found == expected
    assert found[0] == "the"
    assert {"cat", "dog"} <= set(found)


def test_a_tokenizer_without_words_is_told(clip: Backbone) -> None:
    with pytest.raises(ClipsteerError, match="no whole word in the tokenizer of here"):
        tokenizer_words(clip.tokenizer, "here")


def test_captions_give_words_and_phrases_by_how_many_have_them() -> None:
    captions = [
        "A photo of a blond woman with golden hair.",
        "a photo of a woman wearing a hat",
        "a picture of a jack-o'-lantern, smiling",
        "a photo of an ox by the sea, sea",
    ]
    found = texts(caption_words(captions, "a photo of a {}."))
    assert found == [
        "woman",
        *("blond", "blond woman", "golden", "golden hair", "hair", "hat", "jack-o'-lantern"),
        *("picture", "sea", "smiling"),
    ]


@given(st.lists(st.text(st.sampled_from("ab -',.\n"), max_size=12), max_size=6))
def test_every_word_of_a_phrase_stands_in_a_caption(captions: list[str]) -> None:
    for entry in texts(caption_words(captions, "{}")):
        assert any(entry in " ".join(caption.split()) for caption in captions)


def test_a_file_has_an_entry_a_line() -> None:
    data = "\ufeffcat\r\n\n  a big dog \n".encode()
    found = file_words(data, "words.txt")
    assert found == [Entry("cat", "line 1 of words.txt"), Entry("a big dog", "line 3 of words.txt")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"cat\nd\xffg\n", "words.txt: found a byte that is not UTF-8 in line 2"),
        (b"<!DOCTYPE html>\n", "words.txt: found a web page"),
    ],
)
def test_a_file_of_something_else_is_told(data: bytes, said: str) -> None:
    with pytest.raises(ClipsteerError, match=said):
        file_words(data, "words.txt")


def test_what_the_model_cannot_tell_apart_is_one_entry(clip: Backbone) -> None:
    entries = [Entry("Dog"), Entry("cat"), Entry("dog"), Entry("big  cat"), Entry("big cat")]
    found = distinct(clip, entries, TEMPLATE, 9)
    assert (found.words, found.repeated) == (["Dog", "cat", "big  cat"], 2)
    assert distinct(clip, entries, TEMPLATE, 2).words == ["Dog", "cat"]
    rows = clip.text(["a Dog.", "a dog.", "a cat."])
    assert rows[0].equal(rows[1])
    assert not rows[0].equal(rows[2])


def test_an_entry_of_too_many_tokens_is_told_with_its_line(clip: Backbone) -> None:
    """Two marks, `a`, the full stop and 20 letters are 24; the text tower would cut what is longer."""
    distinct(clip, [Entry("x" * 20), Entry("cat")], TEMPLATE, 9)
    long = [Entry("cat"), Entry("x" * 21, "line 7 of words.txt")]
    said = "line 7 of words.txt: found 'x+', of 25 tokens with its template, expected at most 24"
    with pytest.raises(ClipsteerError, match=said):
        distinct(clip, long, TEMPLATE, 9)


def test_one_entry_is_no_vocabulary(clip: Backbone) -> None:
    with pytest.raises(ClipsteerError, match="found 1 different entries, expected at least two"):
        distinct(clip, [Entry("dog"), Entry("DOG")], TEMPLATE, 9)
