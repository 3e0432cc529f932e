"""Predictions under ablation of many feature sets of one dictionary (see `evaluator` for the forward pass).

Activations are encoded once per batch and edited once per feature set; a sparse code leaves many images
untouched, which are not evaluated again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from clipsteer.activations.tokens import Tokens, token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.steering.evaluator import Batch, Classify, Embed, predict_streams
from clipsteer.steering.intervention import (
    SUM_BLOCK,
    ErrorTerm,
    add_block,
    feature_index,
    origin_and_code,
)

# A whole code (images, tokens, m) in float32, which Top-K needs, stays below this.
_CHUNK_BYTES = 256 * 2**20


def predict_sets(
    dictionary: Dictionary,
    batches: Iterable[Batch],
    embed: Embed,
    classify: Classify,
    sets: Sequence[np.ndarray],
    *,
    tokens: Tokens = "all",
    error_term: ErrorTerm = "keep",
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Predictions with each feature set zero-ablated, int32 (len(sets), N).

    - `batches`: (start, hook, base), in order and without gaps from any first start. `hook`
      (n, T, d), of any float type, is what the dictionary reads and edits. `base` is None where
      the hook point is `resid_post`; for `mlp_out` it is the layer's resid_post, to which the
      change of `hook` is added.
    - `embed`: edited resid_post (n, T, d) -> image embeddings (n, p), e.g. the rest of the network.
    - `classify`: embeddings (n, p) -> class indices (n,).
    - An empty set gives the resumed forward pass (with `error_term="drop"`: of the
      reconstruction). Equal sets are evaluated once.
    - On the last layer only CLS reaches the embedding, so batches may be cut to (n, 1, d).
    - `progress` is called with the number of images done since its last call.

    Features are summed in the order given, in float32, block by block
    (`clipsteer.steering.intervention`). Raises ClipsteerError for embeddings that are not finite.
    """
    target = torch.device(device)
    checked = [feature_index(features, dictionary.m, torch.device("cpu")) for features in sets]
    names = [np.sort(features.numpy()).tobytes() for features in checked]
    first = {name: row for row, name in reversed(list(enumerate(names)))}
    rows = sorted(first.values())
    columns = torch.unique(torch.cat([checked[row] for row in rows] or [torch.zeros(0)])).long()
    # Where each set's features stand among the columns that are encoded.
    places = [torch.searchsorted(columns, checked[row]).to(target) for row in rows]

    def changes(code: torch.Tensor, back: torch.Tensor) -> Iterator[torch.Tensor | None]:
        for place in places:
            total: torch.Tensor | None = None
            for start in range(0, len(place), SUM_BLOCK):
                part = place[start : start + SUM_BLOCK]
                total = add_block(total, code.index_select(1, part), back[part])
            yield total

    found = _ablated(
        dictionary, batches, embed, classify, columns.to(target), changes, len(rows),
        nested=False, tokens=tokens, error_term=error_term, device=target, progress=progress,
    )  # fmt: skip
    return found[[rows.index(first[name]) for name in names]]


def passes(sets: Sequence[np.ndarray], error_term: ErrorTerm) -> int:
    """How often `predict_selected` goes over the batches: 1 or 2."""
    return 1 + (error_term == "drop" and any(len(features) for features in sets))


def predict_selected(
    dictionary: Dictionary,
    batches: Callable[[], Iterable[Batch]],
    embed: Embed,
    classify: Classify,
    sets: Sequence[np.ndarray],
    *,
    tokens: Tokens = "all",
    error_term: ErrorTerm = "keep",
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of the resumed pass without any edit, int32 (N,), and of each set, (len(sets), N).

    As `predict_sets`, but an **empty set is no intervention at all**: its row is the resumed pass,
    also with `error_term="drop"`. A selection that found nothing to ablate leaves the model alone;
    it must not be charged with the dictionary's reconstruction error, and its row equals the
    baseline up to what resuming from stored activations changes (the resumed row says how much).

    `batches` is called once for each pass: once with `keep`, where the resumed pass comes out of
    the same one, and with `drop` once more if some set is not empty (see `passes`). `progress` is
    called with the number of images done, in each pass.
    """
    nothing = np.zeros(0, dtype=np.int64)
    filled = [row for row, features in enumerate(sets) if len(features)]
    work = [sets[row] for row in filled]
    first = [nothing] if error_term == "drop" else [nothing, *work]
    found = predict_sets(
        dictionary, batches(), embed, classify, first,
        tokens=tokens, error_term="keep", device=device, progress=progress,
    )  # fmt: skip
    resumed, edited = found[0], found[1:]
    if error_term == "drop" and work:
        edited = predict_sets(
            dictionary, batches(), embed, classify, work,
            tokens=tokens, error_term="drop", device=device, progress=progress,
        )  # fmt: skip
    predictions = np.tile(resumed, (len(sets), 1))
    if filled:
        predictions[filled] = edited
    return resumed, predictions


def predict_prefixes(
    dictionary: Dictionary,
    batches: Iterable[Batch],
    embed: Embed,
    classify: Classify,
    order: np.ndarray,
    sizes: Sequence[int] | np.ndarray,
    *,
    tokens: Tokens = "all",
    error_term: ErrorTerm = "keep",
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Predictions with `order[:size]` zero-ablated, for ascending sizes, int32 (len(sizes), N).

    The same as `predict_sets` with those prefixes as sets, to the bit of each edited activation,
    but whole blocks of a prefix's sum are handed on to the next, and an image is evaluated again
    only where a longer prefix changes it. Arguments and errors as there.
    """
    target = torch.device(device)
    sizes = [int(size) for size in sizes]
    if sizes != sorted(sizes) or (sizes and not 0 <= sizes[0] <= sizes[-1] <= len(order)):
        raise ValueError(f"sizes must ascend within 0..{len(order)}")
    longest = feature_index(np.asarray(order)[: max(sizes, default=0)], dictionary.m, target)
    # Encoded in index order, as predict_sets does: a product's bits may depend on its columns.
    columns = longest.sort().values
    place = torch.searchsorted(columns, longest)

    def changes(code: torch.Tensor, back: torch.Tensor) -> Iterator[torch.Tensor | None]:
        code, back = code.index_select(1, place), back[place]
        whole: torch.Tensor | None = None
        done = 0
        for size in sizes:
            while size - done >= SUM_BLOCK:
                stop = done + SUM_BLOCK
                whole = add_block(whole, code[:, done:stop], back[done:stop])
                done = stop
            if size == done:
                yield whole
            else:
                yield add_block(whole, code[:, done:size], back[done:size])

    return _ablated(
        dictionary, batches, embed, classify, columns, changes, len(sizes),
        nested=True, tokens=tokens, error_term=error_term, device=target, progress=progress,
    )  # fmt: skip


def _ablated(
    dictionary: Dictionary,
    batches: Iterable[Batch],
    embed: Embed,
    classify: Classify,
    columns: torch.Tensor,
    changes: Callable[[torch.Tensor, torch.Tensor], Iterator[torch.Tensor | None]],
    n_sets: int,
    *,
    nested: bool,
    tokens: Tokens,
    error_term: ErrorTerm,
    device: torch.device,
    progress: Callable[[int], None] | None,
) -> np.ndarray:
    """`changes` yields, set by set, what is added to the edited tokens (rows, d), None for 0.

    It is given the code of the columns (rows, |columns|) and what one unit of each takes away, -n_j.
    """
    dictionary = dictionary.to(device)
    back = -dictionary.directions(columns)

    def streams(x: torch.Tensor, base: torch.Tensor) -> tuple[torch.Tensor, Iterator[torch.Tensor]]:
        span = token_span(tokens, x.shape[1])
        origin, code = _prepare(x, base, span, dictionary, columns, error_term)
        return origin, _edited(origin, span, changes(code, back))

    return predict_streams(
        batches, embed, classify, streams, n_sets,
        nested=nested, device=device, progress=progress,
        images_at_once=lambda n_tokens: _CHUNK_BYTES // (n_tokens * dictionary.m * 4),
    )  # fmt: skip


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
    n, _, d = x.shape
    rows = x[:, span].reshape(-1, d)
    if len(rows) == 0 or (len(columns) == 0 and error_term == "keep"):
        return base, x.new_zeros(len(rows), len(columns))
    rebuilt, code = origin_and_code(rows, dictionary, columns, error_term)
    if error_term == "drop":
        moved = rebuilt.reshape(n, -1, d)
        origin = base.clone()
        origin[:, span] = moved if base is x else base[:, span] + (moved - x[:, span])
        base = origin
    return base, code
