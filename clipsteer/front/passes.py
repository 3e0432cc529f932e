"""Images through a model, batch by batch: what passes a place, and what becomes of it under an edit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import torch
from torch import Tensor

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.tokens import Tokens, token_span, tokens_meant
from clipsteer.dictionaries.tokens import edited as edited_tokens
from clipsteer.dictionaries.tokens import suited
from clipsteer.errors import ClipsteerError
from clipsteer.front import given
from clipsteer.front.given import Pictures
from clipsteer.front.placed import Edit, Placed, Vocabulary
from clipsteer.steering.intervention import in_stream
from clipsteer.steering.steerability import probabilities

# Images of one forward pass.
_BATCH = 32


def activations_of(model: Backbone, images: Pictures, layer: int, hook_point: str) -> Tensor:
    """See `clipsteer.activations_of`."""
    _check(layer, hook_point, model)
    return torch.cat(
        [
            model.run(pixels, [hook_point])[1][hook_point][layer].float().cpu()
            for pixels in _batches(model, images)
        ]
    )


def features_of(model: Backbone, placed: Placed, images: Pictures) -> Tensor:
    """See `clipsteer.features_of`."""
    check_fits(model, placed)
    x = activations_of(model, images, placed.layer, placed.hook_point)
    dictionary = suited(placed.dictionary, model.cls)
    own = token_span(dictionary.tokens, x.shape[1])
    codes = torch.zeros(*x.shape[:2], dictionary.m)
    with torch.inference_mode():
        codes[:, own] = dictionary.encode(x[:, own].flatten(0, 1)).reshape(*x[:, own].shape[:2], -1)
    return codes


def top_features(codes: Tensor, k: int) -> pl.DataFrame:
    """See `clipsteer.top_features`."""
    k = given.whole("k", k, 1)
    codes = given.of_type("codes", codes, Tensor, "a tensor, of features_of").detach()
    if codes.ndim != 3:
        raise ClipsteerError(
            f"codes: found shape {tuple(codes.shape)}, expected (images, tokens, m)."
        )
    mean = codes.mean(dim=1)
    values, numbers = mean.topk(min(k, codes.shape[2]), dim=1)
    image = torch.arange(len(codes))[:, None].expand_as(numbers)
    here = codes.gather(2, numbers[:, None, :].expand(-1, codes.shape[1], -1))
    columns = {
        "image": image,
        "feature": numbers,
        "mean": values,
        "max": here.amax(dim=1),
        "tokens": (here > 0).sum(dim=1),
    }
    frame = pl.DataFrame({name: column.flatten().numpy() for name, column in columns.items()})
    return frame.filter(pl.col("tokens") > 0)


def classify(
    model: Backbone, images: Pictures, head: Tensor, edit: Edit | None, tokens: Tokens
) -> Tensor:
    """See `clipsteer.classify`."""
    head = given.text_rows("head", head, model.projection_dim)
    return torch.cat(
        [
            model.probabilities(embeddings, head).cpu()
            for embeddings in _embeddings(model, images, edit, tokens)
        ]
    )


def top_words(
    model: Backbone,
    images: Pictures,
    vocabulary: Vocabulary,
    edit: Edit | None,
    k: int,
    tokens: Tokens,
) -> pl.DataFrame:
    """See `clipsteer.top_words`."""
    k = given.whole("k", k, 1)
    given.of_type("vocabulary", vocabulary, Vocabulary, "one of make_vocabulary or of a run")
    given.text_rows("vocabulary", vocabulary.embeddings, model.projection_dim)
    rows = []
    number = 0
    for embeddings in _embeddings(model, images, edit, tokens):
        with torch.inference_mode():
            words = vocabulary.embeddings.to(embeddings.device)
            found = probabilities(embeddings, words, model.logit_scale).cpu()
        values, places = found.topk(min(k, found.shape[1]), dim=1)
        for shares, words_there in zip(values.tolist(), places.tolist(), strict=True):
            for share, word in zip(shares, words_there, strict=True):
                rows.append((number, vocabulary.words[word], share))
            number += 1
    schema = {"image": pl.Int64, "word": pl.String, "probability": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _embeddings(
    model: Backbone, images: Pictures, edit: Edit | None, tokens: Tokens
) -> Iterator[Tensor]:
    """Image embeddings (n, p) of each batch, under an edit if there is one.

    Raises ClipsteerError where one is not finite: no probability follows from it.
    """
    tokens = tokens_meant(given.tokens_word(tokens), model.cls, "tokens")
    if edit is not None:
        given.of_type("edit", edit, Edit, "one of ablate, set_to or scale")
    for pixels in _batches(model, images):
        if edit is None:
            embeddings, _ = model.run(pixels, [])
        else:
            embeddings = _edited(model, pixels, edit, tokens)
        if not bool(torch.isfinite(embeddings).all()):
            raise ClipsteerError(
                "model: found an image whose embedding is not finite, expected numbers. Load the model with "
                'dtype="float32", or see to its weights.'
                if edit is None
                else "edit: found an image whose embedding is not finite under it, expected numbers. Take a smaller "
                "strength."
            )
        yield embeddings


def _edited(model: Backbone, pixels: Tensor, edit: Edit, tokens: Tokens) -> Tensor:
    """Image embeddings under an edit: the pass resumes behind the layer that is edited."""
    layer, hook_point = edit.placed.layer, edit.placed.hook_point
    check_fits(model, edit.placed)
    dictionary = suited(edit.placed.dictionary, model.cls)
    edit = replace(edit, placed=replace(edit.placed, dictionary=dictionary))
    # one that is for CLS or spatial tokens alone stays on them
    meant = edited_tokens(tokens, dictionary, "tokens")
    _, kept = model.run(pixels, sorted({hook_point, "resid_post"}))
    x = kept[hook_point][layer].float()
    stream = x if hook_point == "resid_post" else kept["resid_post"][layer].float()
    with torch.inference_mode():
        return model.resume(layer, in_stream(edit.apply(x, meant), x, stream))


def check_fits(model: Backbone, placed: Placed) -> None:
    """Raises ClipsteerError where a dictionary is not one of this model's."""
    _check(placed.layer, placed.hook_point, model)
    if placed.dictionary.d != model.width:
        raise ClipsteerError(
            f"dictionary: found one of width {placed.dictionary.d}, expected {model.width}, the model's; take the "
            "model that the dictionary was trained on."
        )


def _batches(model: Backbone, images: Pictures) -> Iterator[Tensor]:
    images = given.pictures(images)
    for start in range(0, len(images), _BATCH):
        yield model.pixels([given.picture(image) for image in images[start : start + _BATCH]])


def _check(layer: int, hook_point: str, model: Backbone) -> None:
    given.whole("layer", layer, 0, model.n_layers - 1)
    given.hook_point_word(hook_point)
