"""Shuffled batches: every token once an epoch, in an order that only the seed decides."""

from __future__ import annotations

import math
import re
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipsteer.activations.batches import (
    Shuffle,
    shuffle_report,
    token_batches,
    tokens_per_epoch,
)
from clipsteer.errors import ClipsteerError
from tests.activations.helpers import activations, filled, sharded


class Numbered:
    """A source whose tokens are their own numbers (float32 is exact that far)."""

    dtype = "float32"

    def __init__(self, start: int, stop: int, n_tokens: int, width: int = 1) -> None:
        self.start, self.stop, self.n_tokens, self.width = start, stop, n_tokens, width

    def read_stored(self, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        assert self.start <= start < stop <= self.stop
        ids = np.arange(start * self.n_tokens, stop * self.n_tokens, dtype=np.float32)
        values = np.repeat(ids[:, None], self.width, 1).reshape(-1, self.n_tokens, self.width)
        return values if out is None else filled(out, values)


@settings(max_examples=60)
@given(
    start=st.integers(0, 40),
    images=st.integers(1, 90),
    n_tokens=st.integers(1, 7),
    batch_size=st.integers(1, 50),
    extra=st.integers(0, 2000),
    chunk_images=st.integers(1, 9),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 2**40),
    drop_last=st.booleans(),
    tokens=st.sampled_from(["all", "spatial", "cls"]),
    skip=st.floats(0, 1),
)
def test_every_token_once_an_epoch(
    start: int,
    images: int,
    n_tokens: int,
    batch_size: int,
    extra: int,
    chunk_images: int,
    epochs: int,
    seed: int,
    drop_last: bool,
    tokens: str,
    skip: float,
) -> None:
    source = Numbered(start, start + images, n_tokens + 1)
    buffer_bytes = 8 * (batch_size + chunk_images * (n_tokens + 1) + extra)
    shuffle = Shuffle(batch_size, seed, buffer_bytes, tokens, chunk_images)  # type: ignore[arg-type]

    def batches(epochs: int, **options: Any) -> Iterator[NDArray[np.float32]]:
        return token_batches(source, shuffle, epochs=epochs, drop_last=drop_last, **options)

    got = [rows[:, 0].astype(int) for rows in batches(epochs)]
    steps = (math.floor if drop_last else math.ceil)(tokens_per_epoch(source, tokens) / batch_size)
    assert len(got) == steps * epochs
    ids = np.arange(start * (n_tokens + 1), (start + images) * (n_tokens + 1))
    place = ids % (n_tokens + 1)
    wanted = {"all": ids, "spatial": ids[place > 0], "cls": ids[place == 0]}[tokens]
    assert tokens_per_epoch(source, tokens) == len(wanted)
    for epoch in range(epochs):
        parts = got[epoch * steps : (epoch + 1) * steps]
        assert all(len(part) == batch_size for part in parts[:-1])
        flat = np.concatenate(parts) if parts else np.empty(0, int)
        assert len(flat) == len(wanted) - (len(wanted) % batch_size if drop_last else 0)
        assert len(np.unique(flat)) == len(flat)
        assert np.isin(flat, wanted).all()
    # Neither prefetching nor the number of epochs changes the order.
    for one, other in zip(batches(1, prefetch=False), got, strict=False):
        np.testing.assert_array_equal(one[:, 0].astype(int), other)
    # From any batch on they are the same.
    first = round(skip * len(got))
    later = [rows[:, 0] for rows in batches(epochs, start=first)]
    assert len(later) == len(got) - first
    for one, other in zip(later, got[first:], strict=True):
        np.testing.assert_array_equal(one.astype(int), other)


def stream(reader: Any, seed: int = 3, **changes: Any) -> NDArray[np.float32]:
    options: dict[str, Any] = {"batch_size": 32, "buffer_bytes": 12_000, "chunk_images": 9}
    how = {"epochs": 2} | {
        n: changes.pop(n) for n in ("epochs", "prefetch", "start") if n in changes
    }
    return np.stack(list(token_batches(reader, Shuffle(seed=seed, **options | changes), **how)))


def test_shards_and_formats_do_not_change_the_order(tmp_path: Path) -> None:
    values = activations(100).astype(np.float16).astype(np.float32)
    whole = stream(sharded(tmp_path, values, 100))
    assert whole.dtype == np.float32
    assert whole.shape == (2 * (500 // 32), 32, 8)
    for size in (3, 10):
        np.testing.assert_array_equal(stream(sharded(tmp_path, values, size)), whole)
    wide = stream(sharded(tmp_path / "wide", values, 40, dtype="float32", codec="zstd"))
    np.testing.assert_array_equal(wide, whole)
    brain = stream(sharded(tmp_path / "brain", values, 40, dtype="bfloat16"))
    np.testing.assert_allclose(brain, whole, rtol=2**-8)


def test_seed_decides(tmp_path: Path) -> None:
    source = Numbered(0, 100, 5)
    first = stream(source, buffer_bytes=8 * 200)
    np.testing.assert_array_equal(first, stream(source, buffer_bytes=8 * 200))
    assert not np.array_equal(first, stream(source, seed=4, buffer_bytes=8 * 200))
    half = len(first) // 2
    assert not np.array_equal(first[:half], first[half:])


def test_a_small_buffer_still_reaches_across_the_data_set() -> None:
    # 12 % of the tokens in a buffer: its chunks must come from everywhere, and batches must mix.
    source = Numbered(0, 2000, 5)
    order = stream(source, batch_size=100, epochs=1, buffer_bytes=8 * 1200, chunk_images=16)
    order = order[:, :, 0]
    for batch in order:
        assert batch.min() < 2500
        assert batch.max() > 7500
    assert abs(np.corrcoef(np.arange(order.size), order.ravel())[0, 1]) < 0.3


def test_what_fits_is_read_once(tmp_path: Path) -> None:
    reads: list[tuple[int, int]] = []

    class Counted(Numbered):
        def read_stored(
            self, start: int, stop: int, out: NDArray[Any] | None = None
        ) -> NDArray[Any]:
            reads.append((start, stop))
            return super().read_stored(start, stop, out)

    source = Counted(3, 603, 5)
    got = stream(source, buffer_bytes=600 * 5 * 4, epochs=4, batch_size=100)[:, :, 0]
    assert reads == [(3, 259), (259, 515), (515, 603)]
    epochs = got.reshape(4, -1)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(15, 3015))
    assert len(np.unique(epochs, axis=0)) == 4
    reads.clear()
    stream(source, buffer_bytes=600 * 5 * 4 - 1, epochs=4, batch_size=100)
    assert len(reads) == 4 * 67


@pytest.mark.parametrize("start", [1, 30, 55, 56, 57, 100, 120, 150, 155, 156, 299, 311])
def test_a_later_start_reads_only_what_was_left_over(tmp_path: Path, start: int) -> None:
    values = activations(1000).astype(np.float16).astype(np.float32)
    reader = sharded(tmp_path, values, 300)
    read: list[int] = []

    class Counted:
        start, stop, dtype = reader.start, reader.stop, reader.dtype
        n_tokens, width = reader.n_tokens, reader.width

        def read_stored(self, low: int, high: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
            read.append(high - low)
            return reader.read_stored(low, high, out)

    # Two epochs of 156 batches, from 5 buffers of 25 chunks each.
    options: dict[str, Any] = {"buffer_bytes": 2 * 4 * 8 * (32 + 25 * 9 * 5), "epochs": 2}
    whole = stream(reader, **options)
    assert len(whole) == 312
    got = stream(Counted(), start=start, prefetch=False, **options)
    np.testing.assert_array_equal(got, whole[start:])
    buffers_left = -(-(312 - start) // 35) + 1
    assert sum(read) <= buffers_left * 225 + 32 * 9


def test_default_chunk_does_not_depend_on_the_format(tmp_path: Path) -> None:
    values = activations(150).astype(np.float16).astype(np.float32)
    options: dict[str, Any] = {"chunk_images": None, "buffer_bytes": 23_000}
    half = stream(sharded(tmp_path / "half", values, 70), **options)
    single = stream(sharded(tmp_path / "single", values, 70, dtype="float32"), **options)
    np.testing.assert_array_equal(half, single)


def test_memory_is_bounded() -> None:
    class Big(Numbered):
        def read_stored(
            self, start: int, stop: int, out: NDArray[Any] | None = None
        ) -> NDArray[Any]:
            values = np.zeros((stop - start, self.n_tokens, self.width), np.float32)
            return values if out is None else filled(out, values)

    # 41 MB of tokens. Two buffers may hold 2 MiB; a chunk, a batch and the orders come on top.
    source = Big(0, 16_000, 10, width=64)
    tracemalloc.start()
    for _ in token_batches(source, Shuffle(256, 0, buffer_bytes=2 << 20), epochs=1):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (2 << 20) * 1.35


def test_stopping_early_ends_the_thread() -> None:
    batches = token_batches(Numbered(0, 1000, 5), Shuffle(16, 0, buffer_bytes=8 * 400), epochs=5)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("tokens")]


def test_stopping_does_not_wait_for_a_whole_buffer() -> None:
    reads: list[int] = []
    filling = threading.Event()

    class Slow(Numbered):
        def read_stored(
            self, start: int, stop: int, out: NDArray[Any] | None = None
        ) -> NDArray[Any]:
            reads.append(start)
            if len(reads) == 52:  # the second buffer has begun
                filling.set()
                time.sleep(0.2)
            return super().read_stored(start, stop, out)

    shuffle = Shuffle(5, 0, buffer_bytes=8 * 255, chunk_images=1)
    batches = token_batches(Slow(0, 200, 5), shuffle, epochs=1)
    next(batches)
    assert filling.wait(10)
    batches.close()
    assert len(reads) == 52


def test_faults_of_the_source_come_through(tmp_path: Path) -> None:
    reader = sharded(tmp_path, activations(100), 30)
    file = tmp_path / "30-60/resid_post/00/c/0/0/0"
    file.write_bytes(b"\x01" + file.read_bytes()[1:])
    with pytest.raises(ClipsteerError, match=r"30-60/resid_post/00/c/0/0/0: found damage"):
        stream(reader)


def test_bad_requests() -> None:
    source = Numbered(0, 100, 5, width=8)
    with pytest.raises(
        ClipsteerError,
        match=r"training\.buffer_mb: found .*\(1000 bytes\), expected at least 1 \(4928 bytes\)",
    ):
        stream(source, buffer_bytes=1000)
    with pytest.raises(ClipsteerError, match=r"training\.buffer_mb: found .*\(4927 bytes\)"):
        stream(source, buffer_bytes=4927)
    assert len(stream(source, buffer_bytes=4928))
    with pytest.raises(ClipsteerError, match="tokens: found 'patches'"):
        stream(source, tokens="patches")


@pytest.mark.parametrize("tokens", ["all", "spatial", "cls"])
@pytest.mark.parametrize("images", [3, 100])
def test_the_smallest_buffer_is_named(images: int, tokens: str) -> None:
    """What the message names works, and a byte less does not, whether a split fits or not."""
    source = Numbered(0, images, 5, width=8)
    with pytest.raises(ClipsteerError) as caught:
        stream(source, buffer_bytes=1, tokens=tokens, batch_size=2)
    found = re.search(r"expected at least 1 \((\d+) bytes\)", str(caught.value))
    assert found
    assert ("whole split" in str(caught.value)) == (images == 3)
    with pytest.raises(ClipsteerError):
        stream(source, buffer_bytes=int(found[1]) - 1, tokens=tokens, batch_size=2)
    stream(source, buffer_bytes=int(found[1]), tokens=tokens, batch_size=2)


def test_shuffle_report_is_of_the_real_order() -> None:
    source = Numbered(50, 350, 10)
    shuffle = Shuffle(batch_size=128, seed=1, buffer_bytes=1 << 20, chunk_images=8)
    report = shuffle_report(source, shuffle)
    assert (report.tokens, report.batches, report.dropped) == (3000, 23, 3000 - 23 * 128)
    assert report.repeated == 0
    assert report.coverage == pytest.approx(23 * 128 / 3000)
    got = [rows[:, 0].astype(int) // 10 for rows in token_batches(source, shuffle, epochs=1)]
    assert report.images_per_batch == np.mean([len(np.unique(batch)) for batch in got])
    assert report.image_share == np.mean([np.bincount(batch).max() / 128 for batch in got])
    # All tokens in one buffer: as good as one permutation. A small buffer: fewer images a batch.
    assert report.images_per_batch == pytest.approx(report.ideal_images_per_batch, rel=0.05)
    small = shuffle_report(source, replace(shuffle, buffer_bytes=8 * (128 + 160)))
    assert small.images_per_batch < 0.5 * small.ideal_images_per_batch
    assert small.image_share > small.ideal_image_share
    whole = shuffle_report(source, shuffle, drop_last=False)
    assert (whole.coverage, whole.dropped) == (1.0, 0)
