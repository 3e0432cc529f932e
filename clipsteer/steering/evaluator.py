"""Predictions under many edits of one layer's activations, by resuming the forward pass there.

The layers below the edit never run again: activations come from the store, and only images whose activations an
edit really changed are evaluated anew. Evaluation batches have one fixed size and are filled from whichever
edits and images are next. `clipsteer.steering.ablation` has what edits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from clipsteer.backbones.base import RUN_TOKENS
from clipsteer.backbones.tokens import Tokens
from clipsteer.dictionaries.base import Dictionary
from clipsteer.errors import ClipsteerError
from clipsteer.steering.intervention import ErrorTerm

# (start, activations at the hook point (n, T, d), resid_post of the same layer or None).
Batch = tuple[int, np.ndarray, np.ndarray | None]
Embed = Callable[[torch.Tensor], torch.Tensor]
Classify = Callable[[torch.Tensor], np.ndarray]
# (activations at the hook point (n, T, d), resid_post (n, T, d)) -> where the edits start from (n, T, d), and the
# edited resid_post of each edit, in order; both are the same tensor where the hook point is resid_post.
Streams = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, Iterator[torch.Tensor]]]
Progress = Callable[[int], None]

_CLASS: np.dtype[Any] = np.dtype(np.int32)

# Predictions of so many images are kept in one array: small ones that stay, between large ones that
# come and go, would leave gaps in the process's memory that grow with the number of images.
_BLOCK_IMAGES = 65536


@dataclass(frozen=True, eq=False)
class Evaluator:
    """The images of one split, the network from one layer on, and the dictionary whose features are ablated there.

    - `batches`, called once for each pass: (start, hook, base), in order and without gaps from any first start.
      `hook` (n, T, d), of any float type, is what edits read and change. `base` is None where the hook
      point is `resid_post`; for `mlp_out` it is the layer's resid_post, to which the change of `hook` is
      added. Batches may be cut to the tokens that the embedding depends on
      (`Backbone.tokens_read`): of a CLIP's last layer CLS alone, (n, 1, d).
    - `embed`: edited resid_post (n, T, d) -> image embeddings (n, p), e.g. the rest of the network.
    - `classify`: embeddings (n, p) -> class indices (n,), or codes of several heads; or what else is read off an
      embedding, of the type `reads`.
    - `tokens` and `error_term`: of every edit.
    """

    dictionary: Dictionary
    batches: Callable[[], Iterable[Batch]]
    embed: Embed
    classify: Classify
    tokens: Tokens = "all"
    error_term: ErrorTerm = "keep"
    device: torch.device | str = "cpu"
    reads: np.dtype[Any] = _CLASS

    @property
    def passes(self) -> int:
        """How often ablation goes over the batches: without the error term the resumed pass is one of its own."""
        return 1 if self.error_term == "keep" else 2

    def _images(self, images: int, tokens: int) -> int:
        """Images of an evaluation batch, of the first batch's n and T: on a CPU it fills a run through the layers.

        With fewer, reading the layers' weights would take as long as using them.
        """
        on_cpu = torch.device(self.device).type == "cpu"
        return max(images, -(-RUN_TOKENS // tokens)) if on_cpu and tokens > 1 else images

    def predict(
        self,
        streams: Streams,
        n_edits: int,
        *,
        nested: bool = False,
        images_at_once: Callable[[int], int] = lambda tokens: 2**31,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Predictions of each edited stream that `streams` yields, of type `reads`, (n_edits, N).

        `nested`: an image is compared with what the edit before made of it, not with the unedited one.
        `images_at_once`: tokens of an image -> images that `streams` is given at most. `progress` is called
        with the number of images done since its last call. Raises ClipsteerError for embeddings that are
        not finite.
        """
        device = torch.device(self.device)
        queue: _FullBatches | None = None
        owners, results = _Columns(n_edits, _CLASS), _Columns(1 + n_edits, self.reads)
        expected: int | None = None
        for start, hook, base in self.batches():
            if start != (start if expected is None else expected):
                raise ValueError(f"a batch starts at image {start}, expected {expected}")
            expected = start + len(hook)
            if queue is None:
                queue = _FullBatches(self.embed, self.classify, self._images(*hook.shape[:2]))
            images = max(1, min(len(hook), images_at_once(hook.shape[1])))
            for first in range(0, len(hook), images):
                chunk = slice(first, first + images)
                with torch.inference_mode():
                    x = _tensor(hook[chunk], device)
                    origin, edited = streams(x, x if base is None else _tensor(base[chunk], device))
                    _evaluate(
                        origin, edited, nested, queue,
                        owner=owners.take(len(x)), result=results.take(len(x)),
                    )  # fmt: skip
            if progress is not None:
                progress(len(hook))
        if queue is None:
            return np.zeros((n_edits, 0), dtype=self.reads)
        with torch.inference_mode():
            queue.flush()
        return np.take_along_axis(results.all(), owners.all(), axis=0)


def _evaluate(
    origin: torch.Tensor,
    streams: Iterator[torch.Tensor],
    nested: bool,
    queue: _FullBatches,
    *,
    owner: np.ndarray,
    result: np.ndarray,
) -> None:
    """Queues what must be evaluated for one chunk of images.

    Fills `owner` (n_edits, n): the row of `result` (1 + n_edits, n) that holds each prediction once
    the queue is flushed. Row 0 of `result` is the unedited origin, row 1 + i edit i.
    """
    before = origin
    inherited = np.zeros(len(origin), dtype=owner.dtype)
    for row, edited in enumerate(streams):
        changed = (edited != before).flatten(1).any(dim=1)
        fresh = changed.cpu().numpy()
        owner[row] = np.where(fresh, 1 + row, inherited)
        queue.add(edited[changed], result[1 + row], np.flatnonzero(fresh))
        if nested:
            before, inherited = edited, owner[row]
    untouched = (owner == 0).any(axis=0)
    index = torch.from_numpy(np.flatnonzero(untouched)).to(origin.device)
    queue.add(origin[index], result[0], np.flatnonzero(untouched))


class _Columns:
    """An array (rows, images) that grows by images; what was taken of it stays where it is."""

    def __init__(self, rows: int, dtype: np.dtype[Any]) -> None:
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
                "evaluation: an image embedding is NaN or infinite after the edit; expected finite "
                "numbers. Check the activations' dtype and the dictionary for NaN; where edits along a "
                "direction are evaluated, lower the largest of steering.baselines.scales."
            )
        classes = np.asarray(self.classify(embeddings))
        done = 0
        for into, images in self.places:
            into[images] = classes[done : done + len(images)]
            done += len(images)
        self.rows, self.places, self.held = [], [], 0


def _tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32)).to(device)
