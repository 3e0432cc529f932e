"""Predictions under ablation, by resuming the forward pass at the edited layer.

The layers below the edit never run again: activations come from the store, are encoded once per
batch, edited once per feature set, and only images whose activations an edit really changed are
evaluated anew (a sparse code leaves many untouched). Evaluation batches have one fixed size and are
filled from whichever sets and images are next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from clipsteer.activations.tokens import Tokens, token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.errors import ClipsteerError
from clipsteer.steering.intervention import (
    SUM_BLOCK,
    ErrorTerm,
    add_block,
    feature_index,
    origin_and_code,
)

# (start, activations at the hook point (n, T, d), resid_post of the same layer or None).
Batch = tuple[int, np.ndarray, np.ndarray | None]
Embed = Callable[[torch.Tensor], torch.Tensor]
Classify = Callable[[torch.Tensor], np.ndarray]

# A whole code (images, tokens, m) in float32, which Top-K needs, stays below this.
_CHUNK_BYTES = 256 * 2**20
# Predictions of so many images are kept in one array: small ones that stay, between large ones that
# come and go, would leave gaps in the process's memory that grow with the number of images.
_BLOCK_IMAGES = 65536


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
    """Predictions with each feature set zero-ablated, int16 (len(sets), N).

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

    found = _predict(
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
    """Predictions of the resumed pass without any edit, int16 (N,), and of each set, (len(sets), N).

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
    """Predictions with `order[:size]` zero-ablated, for ascending sizes, int16 (len(sizes), N).

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

    return _predict(
        dictionary, batches, embed, classify, columns, changes, len(sizes),
        nested=True, tokens=tokens, error_term=error_term, device=target, progress=progress,
    )  # fmt: skip


def _predict(
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
    evaluator: _FullBatches | None = None
    owners, results = _Columns(n_sets, np.int32), _Columns(1 + n_sets, np.int16)
    expected: int | None = None
    for start, hook, base in batches:
        if start != (start if expected is None else expected):
            raise ValueError(f"a batch starts at image {start}, expected {expected}")
        expected = start + len(hook)
        if evaluator is None:
            evaluator = _FullBatches(embed, classify, len(hook))
        images = max(1, min(len(hook), _CHUNK_BYTES // (hook.shape[1] * dictionary.m * 4)))
        for first in range(0, len(hook), images):
            chunk = slice(first, first + images)
            with torch.inference_mode():
                x = _tensor(hook[chunk], device)
                origin = x if base is None else _tensor(base[chunk], device)
                span = token_span(tokens, x.shape[1])
                origin, code = _prepare(x, origin, span, dictionary, columns, error_term)
                _evaluate(
                    origin, span, changes(code, back), nested, evaluator,
                    owner=owners.take(len(x)), result=results.take(len(x)),
                )  # fmt: skip
        if progress is not None:
            progress(len(hook))
    if evaluator is None:
        return np.zeros((n_sets, 0), dtype=np.int16)
    with torch.inference_mode():
        evaluator.flush()
    return np.take_along_axis(results.all(), owners.all(), axis=0)


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


def _evaluate(
    origin: torch.Tensor,
    span: slice,
    changes: Iterator[torch.Tensor | None],
    nested: bool,
    evaluator: _FullBatches,
    *,
    owner: np.ndarray,
    result: np.ndarray,
) -> None:
    """Queues what must be evaluated for one chunk of images.

    Fills `owner` (n_sets, n): the row of `result` (1 + n_sets, n) that holds each prediction once
    the evaluator is flushed. Row 0 of `result` is the unedited origin, row 1 + i set i.
    """
    n, _, d = origin.shape
    before = origin
    inherited = np.zeros(n, dtype=owner.dtype)
    for row, change in enumerate(changes):
        edited = origin
        if change is not None and len(change):
            edited = origin.clone()
            edited[:, span] += change.reshape(n, -1, d)
        changed = (edited != before).flatten(1).any(dim=1)
        fresh = changed.cpu().numpy()
        owner[row] = np.where(fresh, 1 + row, inherited)
        evaluator.add(edited[changed], result[1 + row], np.flatnonzero(fresh))
        if nested:
            before, inherited = edited, owner[row]
    untouched = (owner == 0).any(axis=0)
    index = torch.from_numpy(np.flatnonzero(untouched)).to(origin.device)
    evaluator.add(origin[index], result[0], np.flatnonzero(untouched))


class _Columns:
    """An array (rows, images) that grows by images; what was taken of it stays where it is."""

    def __init__(self, rows: int, dtype: type[np.integer]) -> None:
        self.rows, self.dtype = rows, dtype
        self.blocks: list[np.ndarray] = []
        self.used = 0

    def take(self, images: int) -> np.ndarray:
        """The next columns (rows, images), not set."""
        if not self.blocks or self.used + images > self.blocks[-1].shape[1]:
            if self.blocks:
                self.blocks[-1] = self.blocks[-1][:, : self.used]
            size = max(images, _BLOCK_IMAGES)
            self.blocks.append(np.empty((self.rows, size), self.dtype))
            self.used = 0
        self.used += images
        return self.blocks[-1][:, self.used - images : self.used]

    def all(self) -> np.ndarray:
        """All that was taken, (rows, images)."""
        return np.concatenate([*self.blocks[:-1], self.blocks[-1][:, : self.used]], axis=1)


class _FullBatches:
    """Collects activations into batches of one fixed size and writes their predictions back.

    A fixed shape keeps a row's embedding the same whatever stands beside it; the last batch is
    filled up by repeating its last row.
    """

    def __init__(self, embed: Embed, classify: Classify, size: int) -> None:
        self.embed, self.classify, self.size = embed, classify, size
        self.held = 0
        self.rows: list[torch.Tensor] = []
        self.places: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, rows: torch.Tensor, into: np.ndarray, images: np.ndarray) -> None:
        """rows (k, T, d); their predictions will stand in into[images], images (k,)."""
        while len(images):
            room = self.size - self.held
            self.rows.append(rows[:room])
            self.places.append((into, images[:room]))
            self.held += len(images[:room])
            rows, images = rows[room:], images[room:]
            if self.held == self.size:
                self.flush()

    def flush(self) -> None:
        if not self.held:
            return
        batch = torch.cat(self.rows)
        if self.held < self.size:
            batch = torch.cat([batch, batch[-1:].expand(self.size - self.held, -1, -1)])
        embeddings = self.embed(batch)[: self.held]
        if not bool(torch.isfinite(embeddings).all()):
            raise ClipsteerError(
                "ablation: an image embedding is NaN or infinite after the edit; expected finite "
                "numbers. Check the activations' dtype and the dictionary for NaN."
            )
        classes = np.asarray(self.classify(embeddings))
        done = 0
        for into, images in self.places:
            into[images] = classes[done : done + len(images)]
            done += len(images)
        self.rows, self.places, self.held = [], [], 0


def _tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32)).to(device)
