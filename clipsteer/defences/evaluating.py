"""What the model says of test images under defences at one place: class and margin of each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from clipsteer.backbones.zero_shot import zero_shot_logits
from clipsteer.defences.projection import projected_logits
from clipsteer.defences.setting import Place, embeddings
from clipsteer.dictionaries.base import Dictionary
from clipsteer.steering.ablation import predict_edits
from clipsteer.steering.intervention import (
    Affine,
    AffineEdit,
    NoEdit,
    StreamEdit,
    TokenKind,
    ablation,
)
from clipsteer.steering.pairs import margins

NONE, PREFIX, SAE, NEURONS, RANDOM = "none", "defense_prefix", "sae", "neurons", "random"
BOTH = f"{PREFIX}+{SAE}"
PROJECTION, PATCHING = "output_projection", "paint_patching"
UNMODIFIED = (NONE, PREFIX, PROJECTION)
"""Defences that are read off the unmodified model's own pass."""
EVERYWHERE = (*UNMODIFIED, PATCHING)
"""Defences that need no place in the vision tower."""
Schema = dict[str, pl.DataType | type[pl.DataType]]
HeadPair = tuple[torch.Tensor, torch.Tensor]
SCHEMA: Schema = {
    "view": pl.String,
    "defence": pl.String,
    "draw": pl.Int64,
    "predictions": pl.List(pl.Int32),
    "margins": pl.List(pl.Float32),
}


class Tried(NamedTuple):
    """An edit by the name of its defence; `draw` numbers what is drawn at random. `prefixed`: also with the prefix."""

    defence: str
    draw: int | None
    edit: StreamEdit
    prefixed: bool = False


def edits_of(
    dictionary: Dictionary,
    chosen: Mapping[str, Any],
    maps: Mapping[str, Mapping[TokenKind, Affine]],
    architecture: str,
) -> list[Tried]:
    """What was chosen at a place, as edits: a feature set with random ones of its size, and directions.

    Where validation took nothing, there is no edit.
    """
    sets = [chosen["features"], *chosen["random"]]
    edits: list[StreamEdit] = [
        ablation(dictionary, np.asarray(features, np.int64)) for features in sets
    ]
    own = NEURONS if architecture == "neurons" else SAE
    drawn = f"{RANDOM}_{NEURONS}" if own == NEURONS else RANDOM
    tried = [Tried(own, None, edits[0], own == SAE)]
    tried += [Tried(drawn, draw, edit) for draw, edit in enumerate(edits[1:])]
    for method, kinds in maps.items():
        scale = chosen["scales"][method]
        tried.append(Tried(method, None, NoEdit() if scale is None else AffineEdit(kinds, scale)))
    return tried


def answers(
    place: Place,
    views: Sequence[str],
    tried: Sequence[Tried],
    heads: HeadPair,
    projection: torch.Tensor,
    targets: np.ndarray,
    *,
    progress: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """Columns as in SCHEMA: a row a view and defence, with class and margin of each image, (N,).

    `heads`: (K, p) without and with the prefix; `projection` (p, p). UNMODIFIED are read off the unmodified model's
    own pass.
    """
    rows: list[tuple[object, ...]] = []
    names = ("plain", "prefixed")
    reads = np.dtype([(name, np.float32, (len(heads[0]),)) for name in names])

    def read(found: torch.Tensor) -> np.ndarray:
        scores = np.empty(len(found), reads)
        for name, head in zip(names, heads, strict=True):
            scores[name] = zero_shot_logits(found, head).cpu().numpy()
        return scores

    def say(view: str, defence: str, draw: int | None, scores: np.ndarray) -> None:
        told = scores.argmax(axis=-1).astype(np.int32)
        rows.append((view, defence, draw, told.tolist(), margins(scores, targets).tolist()))

    for view in views:
        seen = embeddings(place.run, view).to(place.backbone.device)
        unmodified = read(seen)
        projected = projected_logits(seen, heads[0], projection).cpu().numpy()
        every = unmodified["plain"], unmodified["prefixed"], projected
        for defence, scores in zip(UNMODIFIED, every, strict=True):
            say(view, defence, None, scores)
        evaluator = place.evaluator(view, read, reads)
        edited = predict_edits(evaluator, [one.edit for one in tried], progress).edited
        for one, scores in zip(tried, edited, strict=True):
            say(view, one.defence, one.draw, scores["plain"])
            if one.prefixed:
                say(view, BOTH, one.draw, scores["prefixed"])
    return pl.DataFrame(rows, SCHEMA, orient="row")
