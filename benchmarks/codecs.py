"""Measure the storage of activations: number format x byte codec, in one run, beside the floor.

    python -m benchmarks.codecs [--shard DIR [--array resid_post/03]] [--images N] [--json FILE]

`--shard` takes the values from a shard that the workflow wrote (in float32 by preference, so that
every format starts from the model's own numbers). Without it, values are made to resemble a
residual stream, fitted to no model: a few dimensions far larger than the rest, a shared offset,
tokens of one image alike, heavy tails. Rates are MB of float32 activations per CPU
second (all threads, files in the page cache): rows of different formats compare, and other users of
the machine do not show. `docs/activations.md` explains the choice.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from benchmarks.lines import Line, answer, existing_folder, new_file, positive, show, write_json
from clipsteer.activations.batches import Shuffle, token_batches
from clipsteer.activations.cast import to_float32, to_stored
from clipsteer.activations.chunks import MAX_CHUNK_IMAGES
from clipsteer.activations.reader import ActivationReader
from clipsteer.activations.writer import CODECS, DEFAULT_CODEC, ArrayLayout, write_shard
from clipsteer.number_formats import DEFAULT_DTYPE, DTYPES
from clipsteer.store.trees import FolderTree

BATCH = 64
TOKEN_BATCH = 512


def made_activations(images: int, tokens: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """(images, tokens, width), made to resemble a residual stream."""
    rng = np.random.default_rng(seed)
    scale = 0.3 * np.exp(0.4 * rng.standard_normal(width))
    scale[rng.choice(width, max(2, width // 200), replace=False)] *= 25
    offset = rng.standard_normal(width) * scale
    shared = rng.standard_normal((images, 1, 32)) + 0.7 * rng.standard_normal((images, tokens, 32))
    mixed = shared @ rng.standard_normal((32, width)) / 32**0.5
    values = offset + scale * (0.7 * mixed + 0.5 * rng.standard_t(5, mixed.shape))
    return np.asarray(values, np.float32)


def from_shard(folder: Path, array: str, images: int) -> NDArray[np.float32]:
    """The first images of one array of a shard that the workflow wrote."""
    stored = zarr.open_array(folder / array, mode="r")
    return to_float32(np.asarray(stored[:images]), str(stored.attrs["clipsteer_dtype"]))


def timed(work: Callable[[], object], repeats: int) -> float:
    """Least CPU seconds (all threads) of `repeats` runs after one that warms up."""
    work()
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return min(seconds)


def measure(
    values: NDArray[np.float32], dtype: str, codec: str, folder: Path, repeats: int
) -> dict[str, Any]:
    """Size and rates of one combination; rates in MB of float32 per CPU second."""
    stored = to_stored(torch.from_numpy(values), dtype)
    count = [0]

    def write() -> Path:
        count[0] += 1
        target = folder / f"{dtype}-{codec}-{count[0]}"

        def batches() -> Iterator[Mapping[str, NDArray[Any]]]:
            for low in range(0, len(stored), BATCH):
                yield {"resid_post/00": stored[low : low + BATCH]}

        write_shard(
            target,
            n_images=len(stored),
            layouts={"resid_post/00": ArrayLayout(values.shape[1:], dtype)},
            batches=batches(),
            codec=codec,
            attributes={},
        )
        return target / "resid_post/00"

    write_seconds = timed(write, repeats)
    array = write()
    size = sum(f.stat().st_size for f in array.rglob("*") if f.is_file())
    reader = ActivationReader([(0, len(values), FolderTree(array))])

    def read() -> None:
        for _ in reader.batches(4 * BATCH):
            pass

    # Half the data: a buffer that holds all of it would be filled without shuffled reads.
    buffer_bytes = values.nbytes // 2

    def shuffled() -> None:
        for _ in token_batches(reader, Shuffle(TOKEN_BATCH, 0, buffer_bytes), epochs=1):
            pass

    error = to_float32(stored, dtype) - values
    spread = values - values.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    unexplained = float(np.sum(error**2, dtype=np.float64) / np.sum(spread**2, dtype=np.float64))
    mb = values.nbytes / 1e6
    return {
        "dtype": dtype,
        "codec": codec,
        "bytes_per_value": size / values.size,
        "of_raw": size / stored.nbytes,
        "write_mb_s": mb / write_seconds,
        "read_mb_s": mb / timed(read, repeats),
        "shuffled_mb_s": mb / timed(shuffled, repeats),
        "unexplained": unexplained,
    }


def floor(values: NDArray[np.float32], folder: Path, repeats: int) -> dict[str, float]:
    """What a plain file of float16 does here: one write, one np.memmap read, in the same MB."""
    half = values.astype(np.float16)
    file = folder / "plain.bin"
    mb = values.nbytes / 1e6

    def read() -> None:
        mapped = np.memmap(file, np.float16, "r", shape=half.shape)
        for low in range(0, len(half), 4 * BATCH):
            np.array(mapped[low : low + 4 * BATCH])

    write_seconds = timed(lambda: half.tofile(file), repeats)
    return {"write_mb_s": mb / write_seconds, "read_mb_s": mb / timed(read, repeats)}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shard", type=existing_folder, metavar="DIR", help="a shard's Zarr group")
    parser.add_argument("--array", default="resid_post/03", help="array in it (%(default)s)")
    parser.add_argument(
        "--images", type=positive, default=512, help="at most so many (%(default)s)"
    )
    parser.add_argument("--tokens", type=positive, default=50, help="of made values (%(default)s)")
    parser.add_argument("--width", type=positive, default=768, help="of made values (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="best of (%(default)s)")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--quick", action="store_true", help="300 images, best of one")
    given = parser.parse_args(arguments)
    if given.quick:
        given.images, given.repeats = 300, 1
    if given.shard:
        try:
            values = from_shard(given.shard, given.array, given.images)
        except (OSError, KeyError, ValueError) as error:
            parser.error(f"--shard: found no array {given.array} in {given.shard} ({error})")
    else:
        values = made_activations(given.images, given.tokens, given.width)
    # Fewer, and half of the data does not hold the least that shuffling needs.
    if len(values) < (needed := 4 * (-(-TOKEN_BATCH // values.shape[1]) + MAX_CHUNK_IMAGES)):
        parser.error(f"found {len(values)} images, expected at least {needed}; see --images")
    torch.set_num_threads(1)
    origin = f"{given.array} of a shard" if given.shard else "made values"
    print(f"{origin}, {values.shape}; MB of float32 per CPU second\n")
    print("| dtype | codec | bytes/value | of raw | write | read | shuffled | 1 - EV |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dtype in DTYPES:
            for codec in CODECS:
                row = measure(values, dtype, codec, folder, given.repeats)
                rows.append(row)
                mark = " *" if (dtype, codec) == (DEFAULT_DTYPE, DEFAULT_CODEC) else ""
                print(
                    f"| {dtype} | {codec}{mark} | {row['bytes_per_value']:.2f} | "
                    f"{row['of_raw']:.2f} | {row['write_mb_s']:.0f} | {row['read_mb_s']:.0f} | "
                    f"{row['shuffled_mb_s']:.0f} | {row['unexplained']:.1e} |",
                    flush=True,
                )
        plain = floor(values, folder, given.repeats)
    print(
        f"| float16 | (plain file, np.memmap) | 2.00 | 1.00 | {plain['write_mb_s']:.0f} | "
        f"{plain['read_mb_s']:.0f} | | |\n\n* the default"
    )
    size = {(row["dtype"], row["codec"]): row["bytes_per_value"] for row in rows}
    half = size["float16", "none"]
    lines = [
        answer("bytes/int8", size["int8", "zstd"] / half, f"float16, {origin}"),
        Line("bytes of activations, int8 with none", size["int8", "none"] / half, "float16", None),
    ]
    print()
    show(lines)
    write_json(given.json, lines, origin=origin, shape=values.shape, rows=rows, floor=plain)
    return 0


if __name__ == "__main__":
    sys.exit(main())
