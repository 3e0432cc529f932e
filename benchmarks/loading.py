"""Shuffled batches from a shard store, beside sequential np.memmap reads and two peers' ways.

    python -m benchmarks.loading [--images N] [--tokens T] [--width D] [--quick] [--json FILE]

All read the same float16 values, made up, from files in the page cache, and hand out float32 batches
of `--batch` tokens in one thread's work (ours: and one that fills ahead). Beside them:

- `memmap`: np.memmap of one plain file, batch by batch, `astype(np.float32)`. What the target names.
- `memmap, torch`: the same with torch's conversion, ten times as fast as numpy's, as ours uses.
- `memmap, copy`: the same bytes copied as they are, without a conversion.
- `zarr`: the same shards by Zarr's own reader, in order, chunk by chunk.
- SAELens-style: an Arrow file with a row for each image, rows permuted, tokens by way of a buffer of
  which half is kept and mixed with what comes next. Our own code after its documented behaviour,
  without the tables of `datasets` in between, to its advantage.
- saev-style: an np.memmap of float32, one random token after the other, stacked to batches; opened
  once, and with no other layers in the file, both to its advantage. Our own code likewise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import zarr
from numpy.typing import NDArray

from benchmarks.lines import (
    CPU,
    WALL,
    Line,
    answer,
    new_file,
    positive,
    show,
    side_by_side,
    times_as_fast,
    write_json,
)
from benchmarks.training import Training
from clipsteer.activations.batches import Shuffle, shuffle_report, token_batches
from clipsteer.activations.cast import to_float32
from clipsteer.activations.reader import ActivationReader
from clipsteer.activations.writer import ArrayLayout, write_shard
from clipsteer.store.trees import FolderTree

SHARD_IMAGES = 1000
STEP_IMAGES = 250
ARRAY = "resid_post/00"


class Data:
    """The same values as shards, as one plain file of float16, of float32, and as an Arrow file."""

    def __init__(self, folder: Path, images: int, tokens: int, width: int) -> None:
        self.folder, self.images, self.tokens, self.width = folder, images, tokens, width
        self.rows = images * tokens
        made = np.random.default_rng(0).standard_normal((STEP_IMAGES, tokens, width), np.float32)
        self._step: NDArray[np.float16] = made.astype(np.float16)
        shards = []
        for low in range(0, images, SHARD_IMAGES):
            high = min(images, low + SHARD_IMAGES)
            write_shard(
                folder / str(low),
                n_images=high - low,
                layouts={ARRAY: ArrayLayout((tokens, width), "float16")},
                batches=({ARRAY: part} for part in self._parts(low, high)),
                codec="none",
                attributes={},
            )
            shards.append((low, high, FolderTree(folder / str(low) / ARRAY)))
        self.reader = ActivationReader(shards)
        with (folder / "half").open("wb") as half, (folder / "wide").open("wb") as wide:
            for part in self._parts(0, images):
                part.tofile(half)
                part.astype(np.float32).tofile(wide)
        kind = pa.list_(pa.float16(), tokens * width)
        schema = pa.schema([("values", kind)])
        with pa.ipc.new_file(str(folder / "arrow"), schema) as file:
            for part in self._parts(0, images):
                column = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), type=kind)
                file.write(pa.record_batch([column], schema=schema))

    def _parts(self, low: int, high: int) -> Iterator[NDArray[np.float16]]:
        for start in range(low, high, STEP_IMAGES):
            part = self._step[: min(STEP_IMAGES, high - start)].copy()
            part[:, 0, 0] = np.arange(start, start + len(part)) % 2048  # which image it is
            yield part

    def plain(self, name: str) -> NDArray[np.generic]:
        """One of the plain files, (rows, width)."""
        dtype = np.float16 if name == "half" else np.float32
        return np.memmap(self.folder / name, dtype, "c", shape=(self.rows, self.width))


def memmap(data: Data, batch: int, convert: Callable[[NDArray[np.generic]], object]) -> None:
    """A sequential pass over the plain file."""
    values = data.plain("half")
    for low in range(0, data.rows, batch):
        convert(values[low : low + batch])


def by_zarr(data: Data) -> None:
    """A sequential pass over the shards by Zarr's own reader, as float32."""
    for low in range(0, data.images, SHARD_IMAGES):
        array = zarr.open_array(data.folder / str(low) / ARRAY, mode="r")
        step = array.chunks[0]
        for start in range(0, array.shape[0], step):
            to_float32(np.asarray(array[start : start + step]), "float16")


def saelens_style(data: Data, batch: int, buffer_rows: int) -> int:
    """Random rows (images) of an Arrow file, and a mixing buffer of tokens; tokens handed out."""
    file = pa.ipc.open_file(pa.memory_map(str(data.folder / "arrow")))
    flat = [
        file.get_batch(i).column(0).flatten().to_numpy().reshape(-1, data.tokens, data.width)
        for i in range(file.num_record_batches)
    ]
    order = np.random.default_rng(0).permutation(data.images).tolist()
    take = max(1, batch // data.tokens)
    held: torch.Tensor | None = None
    out = 0
    for low in range(0, len(order), take):
        rows = [flat[i // STEP_IMAGES][i % STEP_IMAGES] for i in order[low : low + take]]
        new = torch.from_numpy(np.concatenate(rows)).float()
        held = new if held is None else torch.cat([held, new])
        if len(held) >= buffer_rows:
            held = held[torch.randperm(len(held))]
            whole = len(held) // 2 // batch
            for place in range(whole):
                held[place * batch : (place + 1) * batch].clone()
            out += whole * batch
            held = held[whole * batch :]
    return out


def saev_style(data: Data, batch: int, some: int) -> int:
    """Random tokens, one by one, from a memory map of float32; tokens handed out."""
    values = data.plain("wide")
    order = np.random.default_rng(0).permutation(data.rows)[:some].tolist()
    for low in range(0, len(order), batch):
        torch.stack([torch.from_numpy(values[i].copy()) for i in order[low : low + batch]])
    return len(order)


def peak(data: Data, images: int, batch: int, buffer_bytes: int) -> float:
    """MiB that an epoch over the first images holds at most, as numpy counts them."""
    part = ActivationReader(
        [
            (low, low + SHARD_IMAGES, FolderTree(data.folder / str(low) / ARRAY))
            for low in range(0, images, SHARD_IMAGES)
        ]
    )
    tracemalloc.start()
    for _ in token_batches(part, Shuffle(batch, 0, buffer_bytes), epochs=1):
        pass
    most = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return most


def waiting(data: Data, batch: int, buffer_bytes: int, prefetch: bool) -> float:
    """Share of an epoch that a consumer waits for batches; it computes in one thread in between."""
    weight = torch.randn(data.width, data.width)
    waited, begin = 0.0, WALL()
    shuffle = Shuffle(batch, 0, buffer_bytes)
    batches = token_batches(data.reader, shuffle, epochs=1, prefetch=prefetch)
    while True:
        asked = WALL()
        values = next(batches, None)
        waited += WALL() - asked
        if values is None:
            return waited / (WALL() - begin)
        torch.from_numpy(values) @ weight


def step_seconds(batch: int, width: int) -> float:
    """Processor time of a Top-K training step that such a batch is for."""
    made = np.random.default_rng(0).standard_normal((2, batch, width), np.float32)
    training = Training("topk", 8 * width, torch.from_numpy(made))
    training.step()
    begin = CPU()
    training.step()
    return CPU() - begin


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=positive, default=8000, help="(%(default)s)")
    parser.add_argument("--tokens", type=positive, default=50, help="of an image (%(default)s)")
    parser.add_argument("--width", type=positive, default=768, help="of a token (%(default)s)")
    parser.add_argument("--batch", type=positive, default=4096, help="tokens (%(default)s)")
    parser.add_argument(
        "--buffer-mb", type=positive, default=64, help="of the shuffle (%(default)s)"
    )
    parser.add_argument("--rounds", type=positive, default=5, help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="2,000 images, 3 rounds")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    if given.quick:
        given.images, given.rounds = 2000, 3
    if given.images % SHARD_IMAGES:
        parser.error(f"--images: found {given.images}, expected a multiple of {SHARD_IMAGES}")
    torch.set_num_threads(1)
    batch, buffer_bytes = given.batch, given.buffer_mb << 20
    with tempfile.TemporaryDirectory() as name:
        data = Data(Path(name), given.images, given.tokens, given.width)
        megabytes = data.rows * data.width * 2 / 1e6

        def ours() -> None:
            for _ in token_batches(data.reader, Shuffle(batch, 0, buffer_bytes), epochs=1):
                pass

        def in_order() -> None:
            for low in range(0, data.images, 64):
                to_float32(data.reader.read_stored(low, min(data.images, low + 64)), "float16")

        some = min(data.rows, 20 * batch)
        work: dict[str, Callable[[], object]] = {
            "ours": ours,
            "ours in order": in_order,
            "memmap": lambda: memmap(data, batch, lambda part: part.astype(np.float32)),
            "memmap, torch": lambda: memmap(data, batch, lambda p: to_float32(p, "float16")),
            "memmap, copy": lambda: memmap(data, batch, np.array),
            "zarr": lambda: by_zarr(data),
            "SAELens-style": lambda: saelens_style(data, batch, buffer_bytes // (4 * data.width)),
            "saev-style": lambda: saev_style(data, batch, some),
        }
        wall = side_by_side(work, given.rounds, WALL)
        cpu = side_by_side(work, 2, CPU)
        for seconds in (wall, cpu):  # as long as all tokens would have taken
            seconds["saev-style"] = [s * data.rows / some for s in seconds["saev-style"]]
        lines = [
            *(
                answer(f"loading/{key}", times_as_fast(wall, "ours", other))
                for key, other in (
                    ("memmap", "memmap"),
                    ("memmap-torch", "memmap, torch"),
                    ("saelens", "SAELens-style"),
                    ("saev", "saev-style"),
                )
            ),
            *(
                Line(what, times_as_fast(wall, name, other), other, None)
                for what, name, other in (
                    ("shuffled batches", "ours", "memmap, copy"),
                    ("shuffled batches", "ours", "zarr"),
                    ("shards in order", "ours in order", "memmap"),
                    ("shards in order", "ours in order", "zarr"),
                )
            ),
        ]
        print(f"\n{data.images} images of {data.tokens} tokens of {data.width}, {megabytes:.0f} MB")
        print("\n| way | MB/s | MB per CPU second |\n|---|---|---|")
        for way in work:
            print(f"| {way} | {megabytes / min(wall[way]):.0f} | {megabytes / min(cpu[way]):.0f} |")
        report = shuffle_report(data.reader, Shuffle(batch, 0, buffer_bytes))
        print(
            f"\nshuffle: {report.images_per_batch:.0f} images in a batch (a full permutation: "
            f"{report.ideal_images_per_batch:.0f}), one image's share {report.image_share:.2%} "
            f"({report.ideal_image_share:.2%}), coverage {report.coverage:.4%}, repeated "
            f"{report.repeated}"
        )
        sizes = [SHARD_IMAGES * 2**k for k in range(4) if SHARD_IMAGES * 2**k <= given.images]
        memory = {n: peak(data, n, batch, buffer_bytes) for n in sizes}
        print("peak MiB by images: " + ", ".join(f"{n}: {m:.0f}" for n, m in memory.items()))
        waits = {
            prefetch: min(waiting(data, batch, buffer_bytes, prefetch) for _ in range(given.rounds))
            for prefetch in (False, True)
        }
        print(
            f"a consumer with one product of d x d a batch waits {waits[True]:.0%} of its time, "
            f"without filling ahead {waits[False]:.0%}\n"
        )
        a_batch = min(cpu["ours"]) / (data.rows // batch)
        lines += [
            answer("loading/memory", memory[max(memory)] / memory[min(memory)]),
            answer("loading/waiting", 100 * waits[True]),
            answer("loading/repeated", 100 * report.repeated / data.rows),
            answer("one-pass/reading", a_batch / step_seconds(batch, data.width)),
        ]
        show(lines)
    write_json(
        given.json, lines, {}, wall=wall, cpu=cpu, megabytes=megabytes, shuffle=asdict(report),
        peak_mib=memory, waits={str(k): v for k, v in waits.items()},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
