"""Shuffled token batches at bounded memory, in an order that depends on the seed alone.

Chunks of a few images (in data-set coordinates, so that shards do not matter) are permuted for each
epoch; a buffer takes as many of them as fit; its tokens are permuted; what does not fill a batch
goes over to the next buffer. While one buffer is drained, a thread fills the next. A data set that
fits the buffer whole is read once, whatever the number of epochs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipsteer.activations.cast import to_float32
from clipsteer.activations.chunks import FLOAT32_BYTES, buffer_fault, shuffled_images
from clipsteer.backbones.tokens import Tokens, token_span
from clipsteer.errors import ClipsteerError

# Rows gathered at a time: together with their float32 they stay in a core's cache.
BLOCK_ROWS = 512
# Images read at a time when the whole data set goes into the buffer.
WHOLE_STEP = 256


class TokenSource(Protocol):
    """What the shuffling reads: an `ActivationReader`, or the counter of `shuffle_report`."""

    start: int
    stop: int
    n_tokens: int
    width: int
    dtype: str

    def read_stored(self, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Images [start, stop), (n, tokens, d), as stored; into `out` where it is given."""
        ...


def tokens_per_epoch(source: TokenSource, tokens: Tokens = "all") -> int:
    """How many tokens the selection `tokens` has over all images of `source`."""
    chosen = range(source.n_tokens)[token_span(tokens, source.n_tokens)]
    return (source.stop - source.start) * len(chosen)


@dataclass(frozen=True)
class Shuffle:
    """What an order of tokens follows from, beside the number of images, tokens and d.

    `tokens`: which of an image's. `buffer_bytes` bounds the tokens held, both buffers together and
    counted as float32 (stored as float16 they take half of it); a run of images being read and one
    batch come on top. `chunk_images` is by default what an inner chunk holds in 16-bit formats.
    """

    batch_size: int
    seed: int
    buffer_bytes: int
    tokens: Tokens = "all"
    chunk_images: int | None = None


def token_batches(
    source: TokenSource,
    shuffle: Shuffle,
    *,
    epochs: int,
    drop_last: bool = True,
    prefetch: bool = True,
    start: int = 0,
) -> Generator[NDArray[np.float32], None, None]:
    """Batches (batch_size, d) float32 of shuffled tokens, `epochs` times over all images.

    Each epoch gives every token exactly once, except the last `total % batch_size` of its order
    if `drop_last` (else they make a shorter batch). The order depends on `shuffle` and the sizes
    alone, not on shards, threads, stored format or `prefetch`; the order of one epoch does not depend
    on the number of epochs. `start` leaves out the first batches; of the buffers before, at most what
    they left over is read.

    ClipsteerError: a buffer too small for a batch and a chunk, an unknown selection `tokens`.
    """
    plan = _Plan(source, shuffle)
    block: NDArray[Any] | None = None

    def gather(rows: NDArray[Any], order: NDArray[np.int64]) -> NDArray[np.float32]:
        # By way of a block: a temporary of the whole batch would be new memory each time, which
        # costs more than the copy.
        nonlocal block
        if block is None:
            block = np.empty((min(BLOCK_ROWS, shuffle.batch_size), *rows.shape[1:]), rows.dtype)
        out = np.empty((len(order), source.width), np.float32)
        for low in range(0, len(order), len(block)):
            places = order[low : low + len(block)]
            # "clip", for "raise" has numpy buffer the output; all places are inside.
            part = rows.take(places, axis=0, out=block[: len(places)], mode="clip")
            to_float32(part, source.dtype, out[low : low + len(places)])
        return out

    yield from _drain(plan, gather, epochs, drop_last, prefetch, start)


class _Plan:
    """Which chunks go into which buffer, and in which order its rows come out."""

    def __init__(self, source: TokenSource, shuffle: Shuffle) -> None:
        self.source, self.batch_size, self.seed = source, shuffle.batch_size, shuffle.seed
        batch_size, buffer_bytes = shuffle.batch_size, shuffle.buffer_bytes
        chunk_images = shuffle.chunk_images
        if chunk_images is None:
            chunk_images = shuffled_images(source.n_tokens, source.width)
        self.chunk_images = chunk_images
        self.select = token_span(shuffle.tokens, source.n_tokens)
        self.kept = len(range(source.n_tokens)[self.select])
        row_bytes = FLOAT32_BYTES * source.width
        chunk_tokens = chunk_images * self.kept
        # Two buffers; each holds what the one before left over (less than a batch) and its chunks.
        room = buffer_bytes // (2 * row_bytes) - batch_size
        self.chunks_per_buffer = room // chunk_tokens if chunk_tokens else 0
        total = self.kept * (source.stop - source.start)
        self.whole = total * row_bytes <= buffer_bytes
        fault = buffer_fault(
            "dictionaries.<name>.training.buffer_mb",
            buffer_bytes,
            batch_size=batch_size,
            images=chunk_images,
            n_tokens=self.kept,
            width=source.width,
            n_images=source.stop - source.start,
        )
        if fault:
            raise ClipsteerError(fault)
        self.first_chunk = source.start // chunk_images
        self.n_chunks = -(-source.stop // chunk_images) - self.first_chunk
        self.n_buffers = 1 if self.whole else -(-self.n_chunks // self.chunks_per_buffer)
        self.abandoned = False

    def _random(self, *place: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, *place])))

    def _spans(self, epoch: int, number: int) -> list[tuple[int, int]]:
        """The runs of images that make up a buffer."""
        start, stop = self.source.start, self.source.stop
        if self.whole:
            return [(low, min(low + WHOLE_STEP, stop)) for low in range(start, stop, WHOLE_STEP)]
        order = self._random(epoch).permutation(self.n_chunks) + self.first_chunk
        first = number * self.chunks_per_buffer
        return [
            (max(start, low), min(stop, low + self.chunk_images))
            for low in (order[first : first + self.chunks_per_buffer] * self.chunk_images).tolist()
        ]

    def fill(self, epoch: int, number: int) -> NDArray[Any]:
        """Buffer `number` of `epoch`, as stored: a batch's worth of free rows, then its tokens."""
        spans = self._spans(epoch, number)
        size = self.batch_size + self.kept * sum(high - low for low, high in spans)
        buffer: NDArray[Any] | None = None
        filled = self.batch_size
        for low, high in spans:
            if self.abandoned:  # nobody waits for this buffer
                break
            count = (high - low) * self.kept
            if buffer is not None and self.kept == self.source.n_tokens:
                into = buffer[filled : filled + count].reshape(high - low, self.kept, -1)
                self.source.read_stored(low, high, into)
            else:
                values = self.source.read_stored(low, high)[:, self.select]
                if buffer is None:
                    buffer = np.empty((size, values.shape[-1]), values.dtype)
                into = buffer[filled : filled + count].reshape(high - low, self.kept, -1)
                into[:] = values
            filled += count
        assert buffer is not None  # there is at least one chunk in each buffer
        return buffer

    def order(self, epoch: int, number: int, size: int) -> NDArray[np.int64]:
        """The order in which the `size` rows of a buffer come out."""
        return self._random(epoch, number + 1).permutation(size)

    def shuffle(
        self, epoch: int, number: int, buffer: NDArray[Any], carry: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[np.int64], int]:
        """A buffer's rows with those left over before it, their order, how many fill whole batches."""
        held = 0 if carry is None else len(carry)
        rows = buffer[self.batch_size - held :]
        if carry is not None:
            rows[:held] = carry
        return rows, self.order(epoch, number, len(rows)), len(rows) - len(rows) % self.batch_size

    def skip(self, epoch: int, batches: int) -> tuple[int, int, NDArray[Any] | None]:
        """Where an epoch goes on after so many batches: buffer, batches of it, rows left over.

        The buffers before are shuffled as numbers; only the rows that they left over are read.
        """
        numbers = copy.copy(self)
        numbers.source = _Counter(self.source)
        carry: NDArray[Any] | None = None
        number = 0
        while number < self.n_buffers - 1:
            rows, order, whole = numbers.shuffle(epoch, number, numbers.fill(epoch, number), carry)
            if batches < whole // self.batch_size:
                break
            batches -= whole // self.batch_size
            carry = rows.take(order[whole:], axis=0)
            number += 1
        return number, batches, None if carry is None else self._read(carry[:, 0])

    def _read(self, numbers: NDArray[np.int64]) -> NDArray[Any] | None:
        """Rows by the numbers that `_Counter` gives them, chunk by chunk; None for no rows."""
        images, places = np.divmod(numbers, self.source.n_tokens)
        chunks = images // self.chunk_images
        read: NDArray[Any] | None = None
        for chunk in np.unique(chunks):
            here = np.flatnonzero(chunks == chunk)
            low = int(images[here].min())
            values = self.source.read_stored(low, int(images[here].max()) + 1)
            if read is None:
                read = np.empty((len(numbers), values.shape[-1]), values.dtype)
            read[here] = values[images[here] - low, places[here]]
        return read


def _drain(
    plan: _Plan,
    gather: Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]],
    epochs: int,
    drop_last: bool,
    prefetch: bool,
    start: int = 0,
) -> Generator[NDArray[Any], None, None]:
    """`gather` of the rows of each batch (a buffer, places); at most two buffers exist at a time."""
    size = plan.batch_size
    total = plan.kept * (plan.source.stop - plan.source.start)
    first, skipped = divmod(start, max(1, total // size if drop_last else -(-total // size)))
    if plan.whole:
        rows = plan.fill(0, 0)[size:]
        for epoch in range(first, epochs):
            order = plan.order(epoch, 0, len(rows))
            end = len(rows) - len(rows) % size if drop_last else len(rows)
            for low in range(skipped * size, end, size):
                yield gather(rows, order[low : min(low + size, end)])
            skipped = 0
        return
    jobs = [(epoch, number) for epoch in range(first, epochs) for number in range(plan.n_buffers)]
    carry: NDArray[Any] | None = None
    if jobs and skipped:
        done, skipped, carry = plan.skip(first, skipped)
        jobs = jobs[done:]
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokens") as pool:
        try:
            ahead = pool.submit(plan.fill, *jobs[0]) if jobs else None
            for place, (epoch, number) in enumerate(jobs):
                assert ahead is not None
                buffer = ahead.result()
                following = jobs[place + 1] if place + 1 < len(jobs) else None
                ahead = pool.submit(plan.fill, *following) if prefetch and following else None
                rows, order, whole = plan.shuffle(epoch, number, buffer, carry)
                for low in range(skipped * size, whole, size):
                    yield gather(rows, order[low : low + size])
                skipped = 0
                carry = rows.take(order[whole:], axis=0)
                # Let go before the next but one is filled.
                del buffer, rows
                if number == plan.n_buffers - 1:
                    if len(carry) and not drop_last:
                        yield gather(carry, np.arange(len(carry)))
                    carry = None
                if ahead is None and following:
                    ahead = pool.submit(plan.fill, *following)
        finally:
            plan.abandoned = True


@dataclass(frozen=True)
class ShuffleReport:
    """How well one epoch is shuffled, beside a permutation of all tokens at once.

    `coverage`: share of the tokens that came exactly once (below 1 only by `dropped`); `repeated`:
    tokens that came more than once. `image_share`: largest share of a batch that stems from one
    image, mean and maximum over batches; `images_per_batch`: distinct images in a batch, mean.
    `ideal_*`: the same under a permutation of all tokens.
    """

    tokens: int
    batches: int
    dropped: int
    coverage: float
    repeated: int
    image_share: float
    image_share_max: float
    images_per_batch: float
    ideal_image_share: float
    ideal_images_per_batch: float


class _Counter:
    """A source whose tokens are their own numbers, so that the real order can be looked at."""

    def __init__(self, source: TokenSource) -> None:
        self.start, self.stop = source.start, source.stop
        self.n_tokens, self.width, self.dtype = source.n_tokens, source.width, source.dtype

    def read_stored(self, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        flat = np.arange(start * self.n_tokens, stop * self.n_tokens, dtype=np.int64)
        numbers = flat.reshape(stop - start, self.n_tokens, 1)
        if out is None:
            return numbers
        out[:] = numbers
        return out


def shuffle_report(
    source: TokenSource, shuffle: Shuffle, *, drop_last: bool = True
) -> ShuffleReport:
    """Walk the first epoch's order of `token_batches` without reading an activation.

    Memory: 16 bytes a token. ClipsteerError as `token_batches`.
    """
    plan = _Plan(_Counter(source), shuffle)
    seen = np.zeros((source.stop - source.start) * source.n_tokens, np.int64)
    shares: list[float] = []
    distinct: list[int] = []
    for rows in _drain(plan, lambda rows, order: rows[order], 1, drop_last, prefetch=False):
        numbers = rows[:, 0] - source.start * source.n_tokens
        np.add.at(seen, numbers, 1)
        _look(numbers // source.n_tokens, shares, distinct)
    total, batch_size = tokens_per_epoch(source, shuffle.tokens), shuffle.batch_size
    ideal_shares: list[float] = []
    ideal_distinct: list[int] = []
    order = np.random.Generator(np.random.Philox(shuffle.seed)).permutation(total)
    for low in range(0, total - batch_size + 1, batch_size):
        _look(order[low : low + batch_size] // plan.kept, ideal_shares, ideal_distinct)
    return ShuffleReport(
        tokens=total,
        batches=len(shares),
        dropped=total - int(seen.sum()),
        coverage=int((seen == 1).sum()) / total,
        repeated=int((seen > 1).sum()),
        image_share=float(np.mean(shares)) if shares else 0.0,
        image_share_max=max(shares, default=0.0),
        images_per_batch=float(np.mean(distinct)) if distinct else 0.0,
        ideal_image_share=float(np.mean(ideal_shares)) if ideal_shares else 0.0,
        ideal_images_per_batch=float(np.mean(ideal_distinct)) if ideal_distinct else 0.0,
    )


def _look(images: NDArray[np.int64], shares: list[float], distinct: list[int]) -> None:
    _, counts = np.unique(images, return_counts=True)
    shares.append(int(counts.max()) / len(images))
    distinct.append(len(counts))
