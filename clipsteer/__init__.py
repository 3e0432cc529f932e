"""Steering CLIP's vision transformer with sparse autoencoders: what a notebook needs.

Load a model, a dictionary or a finished run; look at features; edit them and classify. docs/python.md shows
how, docs/api.md lists everything. Nothing heavy is imported before it is used.

The workflow's steps do not use these functions, so that an edit here makes no result stale. A name here is
none of a package below, which would take its place once it is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl
    from PIL.Image import Image
    from torch import Tensor

    from clipsteer.backbones.base import Backbone
    from clipsteer.backbones.tokens import Tokens
    from clipsteer.front.placed import Edit, Placed, Vocabulary
    from clipsteer.front.runs import Run
    from clipsteer.steering.feature_set import FeatureSet
    from clipsteer.steering.intervention import ErrorTerm, Features

    Images = Sequence[Image | str | Path]

__all__ = [
    "ablate",
    "activations_of",
    "classify",
    "features_of",
    "load_dictionary",
    "load_model",
    "make_vocabulary",
    "open_run",
    "scale",
    "set_to",
    "top_features",
    "top_words",
    "zero_shot_head",
]


def load_model(
    source: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    crop: str = "transformers",
) -> Backbone:
    """Load a CLIP or a SigLIP.

    Args:
        source: a folder in `transformers` layout, or a hub name such as `openai/clip-vit-base-patch32`.
        revision: branch, tag or commit of a hub name.
        device: `auto` (cuda where it is there, else cpu) or a device's name.
        dtype: `float32`, `bfloat16` or `float16`.
        crop: whose centre crop a CLIP's images get, `transformers` or `openai`.

    Raises:
        ClipsteerError: there is no such model, its files are damaged, or the device is not there.
    """
    from clipsteer.backbones.load import load_backbone
    from clipsteer.backbones.weights import resolve

    folder, _ = resolve(str(source), revision, key="source")
    return load_backbone(folder, device=device, dtype=dtype, crop=crop)


def load_dictionary(
    source: str | Path,
    *,
    store: str | Path | None = None,
    layer: int | None = None,
    hook_point: str | None = None,
) -> Placed:
    """Load a dictionary from a folder or a store; that of a run is `open_run(...).dictionary(name, layer)`.

    Args:
        source: a folder with `dictionary.json` and `dictionary.safetensors`; with `store`, a digest.
        store: the root of the store that holds the digest.
        layer, hook_point: the place it belongs to, where its description names none or another is meant.

    Raises:
        ClipsteerError: there is no sound dictionary, or nobody says for which layer it is.
    """
    from clipsteer.front.placed import read_placed
    from clipsteer.front.runs import unfolded
    from clipsteer.store.objects import ObjectStore

    folder = Path(source) if store is None else unfolded(ObjectStore(store), str(source))
    return read_placed(folder, layer, hook_point)


def open_run(folder: str | Path = ".", *, store: str | Path | None = None) -> Run:
    """Open the results of a working copy, read-only.

    Args:
        folder: where its Snakefile lies.
        store: its store, where that is not the one that its runs have noted.

    Raises:
        ClipsteerError: nothing has run there.
    """
    from clipsteer.front.runs import Run

    return Run(Path(folder), None if store is None else Path(store))


def zero_shot_head(
    model: Backbone, class_names: Sequence[str], templates: Sequence[str] = ("a photo of a {}.",)
) -> Tensor:
    """Class names as a linear head: unit rows (classes, p), the mean of each name's prompts.

    Raises:
        ClipsteerError: no names, a template without `{}`, or a prompt of more tokens than the model takes.
    """
    from clipsteer.backbones.zero_shot import zero_shot_head
    from clipsteer.front.given import texts

    names = texts("class_names", class_names)
    return zero_shot_head(model, names, texts("templates", templates), key="templates")


def activations_of(
    model: Backbone, images: Images, layer: int, hook_point: str = "resid_post"
) -> Tensor:
    """Activations of images at a hook point: (images, tokens, d) float32.

    Args:
        model: from `load_model` or `Run.model`.
        images: PIL images in mode RGB, or files.
        layer: 0-based.
        hook_point: `resid_post` or `mlp_out`.

    Raises:
        ClipsteerError: the model has no such layer or hook point, or a file is no image.
    """
    from clipsteer.front.passes import activations_of

    return activations_of(model, images, layer, hook_point)


def features_of(model: Backbone, placed: Placed, images: Images) -> Tensor:
    """Codes f(x) of images at a dictionary's own place: (images, tokens, m) float32.

    0 on tokens that the dictionary is not for, where it was trained on CLS or spatial tokens alone.

    Raises:
        ClipsteerError: the dictionary is of another width than the model, or for a layer or tokens that it lacks.
    """
    from clipsteer.front.passes import features_of

    return features_of(model, placed, images)


def top_features(codes: Tensor, k: int = 10) -> pl.DataFrame:
    """Of each image the features of largest mean over its tokens, by falling mean.

    Args:
        codes: (images, tokens, m), from `features_of`.
        k: how many at most; what does not fire on an image is left out.

    Returns:
        Columns `image`, `feature`, `mean` and `max` over tokens, and `tokens`, on how many it fires.

    Raises:
        ClipsteerError: `k` is no whole number from 1, or `codes` are not (images, tokens, m).
    """
    from clipsteer.front.passes import top_features

    return top_features(codes, k)


def ablate(
    placed: Placed, features: Features | FeatureSet, *, error_term: ErrorTerm = "keep"
) -> Edit:
    """Set features to 0.

    Args:
        placed: a dictionary at its place.
        features: their numbers, each once, or a set of `Run.feature_set`.
        error_term: `keep` what the dictionary does not reconstruct, or `drop` it.

    Raises:
        ClipsteerError: the dictionary has no such features, or the set is of another place.
    """
    return set_to(placed, features, 0.0, error_term=error_term)


def set_to(
    placed: Placed,
    features: Features | FeatureSet,
    strength: float,
    *,
    error_term: ErrorTerm = "keep",
) -> Edit:
    """Set features to a strength, a finite number, on every token; else as `ablate`."""
    from clipsteer.front.given import finite
    from clipsteer.front.placed import Edit, checked_features

    number = finite("strength", strength)
    return Edit(placed, checked_features(placed, features), number, error_term=error_term)


def scale(
    placed: Placed, features: Features | FeatureSet, by: float, *, error_term: ErrorTerm = "keep"
) -> Edit:
    """Multiply features by a factor: 0 ablates, 1 leaves them, 2 doubles them; else as `ablate`."""
    from clipsteer.front.given import finite
    from clipsteer.front.placed import Edit, checked_features

    number = finite("by", by)
    return Edit(placed, checked_features(placed, features), None, number, error_term)


def classify(
    model: Backbone,
    images: Images,
    head: Tensor,
    edit: Edit | None = None,
    *,
    tokens: Tokens = "all",
) -> Tensor:
    """Zero-shot probabilities of images (images, classes), under an edit if there is one.

    Args:
        model: from `load_model` or `Run.model`.
        images: PIL images in mode RGB, or files.
        head: unit rows (classes, p), from `zero_shot_head` or `Run.head`.
        edit: from `ablate`, `set_to` or `scale`.
        tokens: those that are edited: `all`, `spatial` or `cls`.

    Returns:
        Softmax over the classes of a CLIP, a sigmoid for each class of a SigLIP, as each was trained.

    Raises:
        ClipsteerError: the head or the edit's dictionary is not one of this model's, or an embedding is not finite
            under it.
    """
    from clipsteer.front.passes import classify

    return classify(model, images, head, edit, tokens)


def make_vocabulary(
    model: Backbone, words: Sequence[str], template: str = "a photo of a {}."
) -> Vocabulary:
    """Words or phrases with their text embeddings; that of a run is `open_run(...).vocabulary()`.

    Raises:
        ClipsteerError: a template without `{}`, fewer than two words, words that are the same to the model, or one of
            more tokens than it takes.
    """
    from clipsteer.backbones.vocabulary import Entry, distinct
    from clipsteer.backbones.zero_shot import zero_shot_head
    from clipsteer.errors import ClipsteerError
    from clipsteer.front import given
    from clipsteer.front.placed import Vocabulary

    template = given.template("template", template)
    words = given.texts("words", words)
    if len(words) < 2:
        raise ClipsteerError(f"words: found {len(words)}, expected at least two.")
    found = distinct(model, [Entry(word) for word in words], template, len(words), key="words")
    if found.repeated:
        raise ClipsteerError(
            f"words: found {found.repeated} that the model cannot tell from others, expected different ones. Leave "
            "them out, as each would take a part of the other's probability."
        )
    rows = zero_shot_head(model, words, [template], key="template")
    return Vocabulary(words, rows)


def top_words(
    model: Backbone,
    images: Images,
    vocabulary: Vocabulary,
    edit: Edit | None = None,
    *,
    k: int = 5,
    tokens: Tokens = "all",
) -> pl.DataFrame:
    """Of each image the most probable words, under an edit if there is one (Section 6.1 of the paper).

    Args:
        model: from `load_model` or `Run.model`.
        images: PIL images in mode RGB, or files.
        vocabulary: from `make_vocabulary` or `Run.vocabulary`.
        edit: from `set_to`, which steers a feature, `ablate` or `scale`.
        k: how many words.
        tokens: those that are edited: `all`, `spatial` or `cls`.

    Returns:
        Columns `image`, `word` and `probability`, by falling probability: the softmax over all words.

    Raises:
        ClipsteerError: the vocabulary or the edit's dictionary is not one of this model's, `k` is below 1, or an
            embedding is not finite under the edit.
    """
    from clipsteer.front.passes import top_words

    return top_words(model, images, vocabulary, edit, k, tokens)
