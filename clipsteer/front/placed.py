"""A dictionary with the place in a model that it belongs to, and edits of its features there."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch

from clipsteer.backbones.tokens import Tokens, token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.files import DESCRIPTION, describe, load
from clipsteer.dictionaries.tokens import edited
from clipsteer.errors import ClipsteerError
from clipsteer.front import given
from clipsteer.steering.feature_set import FeatureSet
from clipsteer.steering.intervention import ErrorTerm, Features, edit, feature_index


class Vocabulary(NamedTuple):
    """Words or phrases, and their unit embeddings (words, p) in the space shared with images."""

    words: list[str]
    embeddings: torch.Tensor


@dataclass(frozen=True)
class Placed:
    """A dictionary at a place: `dictionary`, the 0-based `layer` and the `hook_point`."""

    dictionary: Dictionary
    layer: int
    hook_point: str = "resid_post"


@dataclass(frozen=True, eq=False)
class Edit:
    """Features of a placed dictionary, set to `strength` or, where that is None, to `by` times what they are.

    x' = x + sum over j in F of (s_j - f_j(x)) n_j; the code is taken once, from x. Raises ClipsteerError for a
    number that is not finite, and for another error term than `keep` or `drop`.
    """

    placed: Placed
    features: np.ndarray
    strength: float | None = 0.0
    by: float = 1.0
    error_term: ErrorTerm = "keep"

    def __post_init__(self) -> None:
        given.finite("by", self.by)
        if self.strength is not None:
            given.finite("strength", self.strength)
        given.error_term_word(self.error_term)

    def apply(self, x: torch.Tensor, tokens: Tokens = "all") -> torch.Tensor:
        """Activations x (n, T, d) at the hook point -> x' (n, T, d); other tokens pass unchanged.

        Those that the dictionary is not for, too. Raises ClipsteerError where that leaves none.
        """
        dictionary = self.placed.dictionary.to(x.device)
        tokens = edited(tokens, dictionary, "tokens")
        strength: float | torch.Tensor = self.strength if self.strength is not None else 0.0
        if self.strength is None:
            columns = feature_index(self.features, dictionary.m, x.device)
            rows = x[:, token_span(tokens, x.shape[1])].reshape(-1, x.shape[2])
            strength = self.by * dictionary.encode_columns(rows, columns)
        return edit(
            x,
            dictionary,
            self.features,
            strength=strength,
            tokens=tokens,
            error_term=self.error_term,
        )


def checked_features(placed: Placed, features: Features | FeatureSet) -> np.ndarray:
    """Feature numbers (|F|,) int64, of a set too; ClipsteerError where the dictionary or the place has no such ones."""
    given.of_type(
        "placed", placed, Placed, "a dictionary at its place, of load_dictionary or a run"
    )
    if isinstance(features, FeatureSet):
        of, at = (features.hook_point, features.layer), (placed.hook_point, placed.layer)
        if None not in of and of != at:
            raise ClipsteerError(
                f"features: found a set of hook point and layer {of}, expected one of {at}, where the dictionary is. "
                "Take the set of this place."
            )
        features = features.features
    try:
        return feature_index(features, placed.dictionary.m, torch.device("cpu")).numpy()
    except (ValueError, TypeError) as error:
        raise ClipsteerError(
            f"features: {error}; found {reprlib.repr(_plain(features))}, expected distinct numbers from 0 to "
            f"{placed.dictionary.m - 1}, as the dictionary has them."
        ) from error


def _plain(features: Any) -> Any:
    return features.tolist() if isinstance(features, np.ndarray | torch.Tensor) else features


def read_placed(folder: Path, layer: int | None, hook_point: str | None) -> Placed:
    """A dictionary's folder; place and hook point are as its training wrote them, unless said.

    ClipsteerError where neither says the layer, or the folder holds no dictionary.
    """
    about: dict[str, Any] = describe(folder)["metadata"]
    if about.get("tokens") is not None:
        given.word(f"{folder / DESCRIPTION}: metadata.tokens", about["tokens"], get_args(Tokens))
    layer = about.get("layer") if layer is None else layer
    hook_point = hook_point or about.get("hook_point") or "resid_post"
    if layer is None:
        raise ClipsteerError(
            f"{folder}: its description names no layer; say for which it is: layer=6."
        )
    try:
        place = given.whole("layer", layer, 0), given.hook_point_word(hook_point)
    except ClipsteerError as error:
        raise ClipsteerError(f"{folder}: {error}") from None
    return Placed(load(folder), *place)
