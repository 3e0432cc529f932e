"""Predictions under ablation of many feature sets, and under any other edits, of one layer (see `evaluator`).

Activations are encoded once per batch and edited once per feature set; a sparse code leaves many images
untouched, which are not evaluated again.

An **empty set is no intervention at all**: its row is the resumed pass, also with `error_term="drop"`. A
selection that found nothing to ablate leaves the model alone; it must not be charged with the dictionary's
reconstruction error, and its row equals the baseline up to what resuming from stored activations changes.
What is chosen is compared with that pass, which reads the same stored activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeGuard

import numpy as np
import torch

from clipsteer.backbones.tokens import token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.steering.evaluator import Evaluator, Progress
from clipsteer.steering.intervention import (
    SUM_BLOCK,
    ErrorTerm,
    FeatureEdit,
    NoEdit,
    StreamEdit,
    add_block,
    feature_index,
    in_stream,
    origin_and_code,
    weighted_sum,
)

# A whole code (images, tokens, m) in float32, which Top-K needs, stays below this.
_CHUNK_BYTES = 256 * 2**20

# The code of the columns (rows, |columns|) and what one unit of each takes away, -n_j -> what is added to the
# edited tokens (rows, d), set by set; None for 0.
_Changes = Callable[[torch.Tensor, torch.Tensor], Iterator[torch.Tensor | None]]


class Predicted(NamedTuple):
    """Predictions of the resumed pass without any edit, (N,), and of each edit, (R, N); both int32."""

    resumed: np.ndarray
    edited: np.ndarray

    def rows(self, places: Sequence[int]) -> Predicted:
        """The same of some of the edits."""
        return Predicted(self.resumed, self.edited[list(places)])


def predict_sets(
    evaluator: Evaluator, sets: Sequence[np.ndarray], progress: Progress | None = None
) -> Predicted:
    """Predictions with each feature set zero-ablated. Equal sets are evaluated once.

    Features are summed in the order given, in float32, block by block
    (`clipsteer.steering.intervention`). `progress` is called with the number of images done, in each of
    the evaluator's `passes`.
    """
    device = torch.device(evaluator.device)
    m = evaluator.dictionary.m
    checked = [feature_index(features, m, torch.device("cpu")) for features in sets]
    names = [np.sort(features.numpy()).tobytes() for features in checked]
    first = {name: row for row, name in reversed(list(enumerate(names))) if name}
    rows = sorted(first.values())
    columns = torch.unique(torch.cat([checked[row] for row in rows] or [torch.zeros(0)])).long()
    # Where each set's features stand among the columns that are encoded.
    places = [torch.searchsorted(columns, checked[row]).to(device) for row in rows]

    def changes(code: torch.Tensor, back: torch.Tensor) -> Iterator[torch.Tensor | None]:
        for place in places:
            yield weighted_sum(code, back, place)

    found = _ablated(evaluator, columns.to(device), changes, len(rows), False, progress)
    of = {name: found.edited[rows.index(row)] for name, row in first.items()}
    edited = [of[name] if name else found.resumed for name in names]
    return Predicted(found.resumed, _stacked(edited, found.resumed))


def predict_prefixes(
    evaluator: Evaluator,
    order: np.ndarray,
    sizes: Sequence[int] | np.ndarray,
    progress: Progress | None = None,
) -> Predicted:
    """Predictions with `order[:size]` of `order` (k,) zero-ablated, for ascending sizes within 0..k: a row a size.

    The same as `predict_sets` with those prefixes as sets, to the bit of each edited activation,
    but whole blocks of a prefix's sum are handed on to the next, and an image is evaluated again
    only where a longer prefix changes it. Raises ValueError for other sizes, and for features that are
    not there or named twice.
    """
    sizes = [int(size) for size in sizes]
    if sizes != sorted(sizes) or (sizes and not 0 <= sizes[0] <= sizes[-1] <= len(order)):
        raise ValueError(f"sizes must ascend within 0..{len(order)}")
    m, device = evaluator.dictionary.m, torch.device(evaluator.device)
    longest = feature_index(np.asarray(order)[: max(sizes, default=0)], m, device)
    # Encoded in index order, as predict_sets does: a product's bits may depend on its columns.
    columns = longest.sort().values
    place = torch.searchsorted(columns, longest)
    filled = [size for size in sizes if size]

    def changes(code: torch.Tensor, back: torch.Tensor) -> Iterator[torch.Tensor | None]:
        code, back = code.index_select(1, place), back[place]
        whole: torch.Tensor | None = None
        done = 0
        for size in filled:
            while size - done >= SUM_BLOCK:
                stop = done + SUM_BLOCK
                whole = add_block(whole, code[:, done:stop], back[done:stop])
                done = stop
            if size == done:
                yield whole
            else:
                yield add_block(whole, code[:, done:size], back[done:size])

    found = _ablated(evaluator, columns, changes, len(filled), True, progress)
    empty = [found.resumed] * (len(sizes) - len(filled))
    return Predicted(found.resumed, _stacked([*empty, *found.edited], found.resumed))


def predict_edits(
    evaluator: Evaluator, edits: Sequence[StreamEdit], progress: Progress | None = None
) -> Predicted:
    """Predictions under each edit, as its `apply` has it.

    Ablations of the evaluator's own dictionary are predicted together, with its code taken once. Others go
    over the batches together, in a pass of their own.
    """
    own = {n: edit.features for n, edit in enumerate(edits) if _is_own(edit, evaluator)}
    others = {
        n: edit for n, edit in enumerate(edits) if n not in own and not isinstance(edit, NoEdit)
    }
    rows: dict[int, np.ndarray] = {}
    resumed: np.ndarray | None = None
    if own:
        resumed, found = predict_sets(evaluator, list(own.values()), progress)
        rows |= dict(zip(own, found, strict=True))
    if others or resumed is None:
        applied = [*([NoEdit()] if resumed is None else []), *others.values()]

        def streams(
            x: torch.Tensor, base: torch.Tensor
        ) -> tuple[torch.Tensor, Iterator[torch.Tensor]]:
            edited = (edit.apply(x, evaluator.tokens) for edit in applied)
            return base, (in_stream(y, x, base) for y in edited)

        found = evaluator.predict(streams, len(applied), progress=progress)
        if resumed is None:
            resumed, found = found[0], found[1:]
        rows |= dict(zip(others, found, strict=True))
    every = [rows.get(n, resumed) for n in range(len(edits))]
    return Predicted(resumed, _stacked(every, resumed))


def _is_own(edit: StreamEdit, evaluator: Evaluator) -> TypeGuard[FeatureEdit]:
    if not isinstance(edit, FeatureEdit):
        return False
    same = edit.dictionary is evaluator.dictionary and edit.error_term == evaluator.error_term
    return same and edit.strength == 0


def _stacked(rows: Sequence[np.ndarray], resumed: np.ndarray) -> np.ndarray:
    return np.stack(rows) if rows else np.zeros((0, len(resumed)), dtype=resumed.dtype)


def _ablated(
    evaluator: Evaluator,
    columns: torch.Tensor,
    changes: _Changes,
    n_sets: int,
    nested: bool,
    progress: Progress | None,
) -> Predicted:
    """Predictions of the resumed pass and of `n_sets` sets, none of them empty."""
    keeps = evaluator.error_term == "keep"
    dictionary = evaluator.dictionary.to(evaluator.device)
    back = -dictionary.directions(columns)

    def resumed(x: torch.Tensor, base: torch.Tensor) -> tuple[torch.Tensor, Iterator[torch.Tensor]]:
        return base, iter((base,))

    def streams(x: torch.Tensor, base: torch.Tensor) -> tuple[torch.Tensor, Iterator[torch.Tensor]]:
        span = token_span(evaluator.tokens, x.shape[1])
        origin, code = _prepare(x, base, span, dictionary, columns, evaluator.error_term)
        edited = _edited(origin, span, changes(code, back))
        return origin, chain((origin,), edited) if keeps else edited

    if not n_sets:
        (plain,) = evaluator.predict(resumed, 1, progress=progress)
        return Predicted(plain, np.zeros((0, len(plain)), dtype=plain.dtype))
    # where the error stays in, the first edit of the pass is none
    plain = None if keeps else evaluator.predict(resumed, 1, progress=progress)[0]
    found = evaluator.predict(
        streams, n_sets + keeps, nested=nested, progress=progress,
        images_at_once=lambda n_tokens: _CHUNK_BYTES // (n_tokens * dictionary.m * 4),
    )  # fmt: skip
    return Predicted(found[0], found[1:]) if plain is None else Predicted(plain, found)


def _edited(
    origin: torch.Tensor, span: slice, changes: Iterator[torch.Tensor | None]
) -> Iterator[torch.Tensor]:
    n, _, d = origin.shape
    for change in changes:
        edited = origin
        if change is not None and len(change):
            edited = origin.clone()
            edited[:, span] += change.reshape(n, -1, d)
        yield edited


def _prepare(
    x: torch.Tensor,
    base: torch.Tensor,
    span: slice,
    dictionary: Dictionary,
    columns: torch.Tensor,
    error_term: ErrorTerm,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Unedited activations (n, T, d) and the code of the edited tokens (rows, |columns|)."""
    part = x[:, span]
    if not part.numel():
        return base, x.new_zeros(0, len(columns))
    rebuilt, code = origin_and_code(part.flatten(0, 1), dictionary, columns, error_term)
    if error_term == "drop":
        moved = in_stream(rebuilt.reshape(part.shape), part, part if base is x else base[:, span])
        base = base.clone()
        base[:, span] = moved
    return base, code
