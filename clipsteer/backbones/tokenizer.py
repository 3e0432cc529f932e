"""A small CLIP tokenizer learned from captions.

A real `transformers` CLIPTokenizer: byte-level BPE with `</w>` at a word's end. Its vocabulary
begins with all 256 bytes, plain and word-final, so that any text can be tokenised, not only the
captions' own words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"


def build_tokenizer(
    texts: Iterable[str],
    folder: Path,
    *,
    vocabulary: int = 1536,
    min_frequency: int = 2,
    context_length: int = 32,
) -> int:
    """Learn merges from the texts, write the tokenizer's files into the folder.

    `transformers.AutoTokenizer.from_pretrained(folder)` loads them. The same texts give the same
    bytes.

    Args:
        vocabulary: size at most, the 512 byte tokens and two special ones included.
        min_frequency: merges that occur more rarely in the texts are not learned.
        context_length: tokens of a text at most, start and end included.

    Returns:
        The size of the vocabulary.

    Raises:
        ClipsteerError: a vocabulary without room for the bytes.
    """
    if vocabulary < 514:
        raise ClipsteerError(
            f"tokenizer: found a vocabulary of {vocabulary}; expected at least 514, "
            "256 bytes plain and at a word's end and two special tokens. Enlarge it."
        )
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # CLIPTokenizer's own normaliser and splitter, so that merges are learned on what it will see.
    splitter = CLIPTokenizer().backend_tokenizer
    # As in CLIP's own file: bytes, word-final bytes, merges in order, special tokens last.
    tokens = [*alphabet, *(byte + WORD_END for byte in alphabet)]
    learner = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    learner.normalizer, learner.pre_tokenizer = splitter.normalizer, splitter.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2,
        min_frequency=min_frequency,
        initial_alphabet=[],
        # Ties between merges go by the tokens' numbers, which would else vary from run to run.
        special_tokens=tokens,
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    learner.train_from_iterator(sorted(texts), trainer)
    pairs: list[Any] = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens += list(dict.fromkeys(a + b for a, b in pairs))
    tokens += [START, END]
    tokenizer = CLIPTokenizer(
        vocab={token: number for number, token in enumerate(dict.fromkeys(tokens))},
        merges=pairs,
        model_max_length=context_length,
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)
