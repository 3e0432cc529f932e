"""Time and memory as images, tokens, features and layers grow: measured, fitted, drawn.

    python -m benchmarks.growth [--quick] [--repeats N] [--figure FILE] [--json FILE]

Six series, each at 1, 2, 4 and 8 times its smallest size: extraction by images (shards of 500, as an action
has them), training by tokens at m = 1,536 and by m at 60 steps, statistics by images, ablation by images, and
extraction by the model's layers. d = 96, 17 tokens an image, one thread. Each point runs in a process of its own,
forked from one that has its imports done: processor time, and the highest resident size above what it held
before the work began. An exponent e is the slope of a line through the logarithms (work ~ size ** e): linear is
1, flat is 0. Time passes up to 1.1; memory up to 0.1, or up to 1.1 where the result itself grows (m, layers). The
least of two repeats counts: what the allocator keeps differs from run to run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.extraction import photographs
from benchmarks.lines import CPU, Line, answer, new_file, positive, show, write_json
from clipsteer.activations.batches import Shuffle, token_batches
from clipsteer.activations.extract import Images, Kept, extract_shard
from clipsteer.activations.reader import ActivationReader
from clipsteer.activations.writer import ArrayLayout, write_shard
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import write_shaped
from clipsteer.data.source import ImageSource
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.train import Data, train
from clipsteer.steering.ablation import predict_sets
from clipsteer.steering.controls import random_sets
from clipsteer.steering.evaluator import Evaluator
from clipsteer.steering.statistics import feature_statistics
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import FolderTree, put_tree

WIDTH, TOKENS, FEATURES, K, LAYERS = 96, 17, 1536, 16, 6
SHARD, BATCH, TOKEN_BATCH, STEPS = 500, 100, 1024, 60
FACTORS = (1, 2, 4, 8)
ARRAY = "resid_post/00"
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 4 * WIDTH,
    "num_attention_heads": 4,
    "patch_size": 16,
    "image_size": 64,
}


def clip_of(folder: Path, layers: int) -> None:
    """A random CLIP, and 32 JPEGs of made-up scenes in a store."""
    write_shaped(folder / "clip", vision={**VISION, "num_hidden_layers": layers})
    listed = photographs(ObjectStore(folder / "store"), 32, size=(96, 72))
    (folder / "images.json").write_text(json.dumps(listed), encoding="utf-8")


def extraction(folder: Path, images: int, layers: int) -> None:
    """Shards of activations in a store, from JPEG files in it."""
    store, listed = ObjectStore(folder / "store"), json.loads((folder / "images.json").read_text())
    tower = load_backbone(folder / "clip", device="cpu")
    load = ImageSource(store, None, [tuple(row) for row in listed], 0, seed=None).load
    for start in range(0, images, SHARD):
        shard = folder / f"shard-{start}"
        nested = extract_shard(
            tower,
            Images(lambda index: load(index % len(listed)), start, min(images, start + SHARD)),
            Kept(["resid_post"], range(layers), "float16", "none"),
            shard,
            batch_size=BATCH,
            attributes={"start": start},
        )
        put_tree(store, shard, nested, move=True)


def shards(images: int) -> Iterator[tuple[int, int]]:
    """Where each shard begins and ends."""
    return ((low, min(images, low + SHARD)) for low in range(0, images, SHARD))


def store_values(folder: Path, images: int, tokens: int = TOKENS, width: int = WIDTH) -> None:
    """Made-up activations of one layer in shards."""
    rng = np.random.default_rng(0)

    def parts(count: int) -> Iterator[Mapping[str, np.ndarray]]:
        for low in range(0, count, BATCH):
            shape = (min(BATCH, count - low), tokens, width)
            yield {ARRAY: rng.standard_normal(shape, np.float32).astype(np.float16)}

    for low, high in shards(images):
        layouts = {ARRAY: ArrayLayout((tokens, width), "float16")}
        write_shard(
            folder / str(low), n_images=high - low, layouts=layouts, batches=parts(high - low),
            codec="none", attributes={},
        )  # fmt: skip


def reader_of(folder: Path, images: int) -> ActivationReader:
    """What `store_values` has stored."""
    return ActivationReader(
        [(low, high, FolderTree(folder / str(low) / ARRAY)) for low, high in shards(images)]
    )


def images_for(steps: int) -> int:
    """Images whose tokens are enough for so many training steps."""
    return -(-steps * TOKEN_BATCH // TOKENS)


def training(folder: Path, steps: int, features: int) -> None:
    """A Top-K dictionary trained on one epoch of so many batches."""
    reader = reader_of(folder, images_for(steps))
    shuffle = Shuffle(TOKEN_BATCH, seed=0, buffer_bytes=4 << 20)
    train(
        Data(
            lambda start: token_batches(reader, shuffle, epochs=1, start=start),
            sample=lambda: reader.read(0, 64).reshape(-1, WIDTH),
        ),
        {
            "architecture": "topk",
            "expansion": features // WIDTH,
            "k": K,
            "lr": 1e-3,
            "warmup_steps": 1,
        },
        steps=steps,
        seed=0,
    )


def dictionary() -> TopK:
    """Random unit rows."""
    made = torch.randn(FEATURES, WIDTH, generator=torch.Generator().manual_seed(0))
    rows = torch.nn.functional.normalize(made, dim=1)
    zeros = torch.zeros(FEATURES), torch.zeros(WIDTH)
    return TopK(rows.t().contiguous(), zeros[0], rows, zeros[1], k=K)


def statistics(folder: Path, images: int) -> None:
    """Eq. 9's sums over a split."""
    groups = np.arange(images) % 4
    feature_statistics(dictionary(), reader_of(folder, images).batches(BATCH), groups)


def values_and_clip(folder: Path, images: int) -> None:
    """What ablation reads."""
    store_values(folder, images)
    clip_of(folder, LAYERS)


def ablation(folder: Path, images: int) -> None:
    """Five sets of 20 features, resumed from the third of six layers."""
    embed = partial(load_backbone(folder / "clip", device="cpu").resume, 2)
    batches = ((start, x, None) for start, x in reader_of(folder, images).batches(BATCH))
    sets = random_sets(FEATURES, 20, range(5))
    evaluator = Evaluator(dictionary(), lambda: batches, embed, lambda e: e.argmax(dim=1).numpy())
    predict_sets(evaluator, sets)


@dataclass(frozen=True)
class Series:
    """One curve: what grows and from where, what is made beforehand, and the work at one size."""

    title: str
    unit: str
    smallest: int
    prepare: Callable[[Path, int], None]
    work: Callable[[Path, int], None]


SERIES = {
    "extraction": Series(
        "extraction", "images", 1000,
        lambda at, _: clip_of(at, LAYERS), lambda at, n: extraction(at, n, LAYERS),
    ),
    "tokens": Series(
        "training", "tokens", STEPS * TOKEN_BATCH,
        lambda at, n: store_values(at, images_for(n // TOKEN_BATCH)),
        lambda at, n: training(at, n // TOKEN_BATCH, FEATURES),
    ),
    "features": Series(
        "training", "features m", 1536,
        lambda at, _: store_values(at, images_for(STEPS)), lambda at, n: training(at, STEPS, n),
    ),
    "statistics": Series("statistics", "images", 1000, store_values, statistics),
    "ablation": Series("ablation", "images", 500, values_and_clip, ablation),
    "layers": Series(
        "extraction", "layers", 1, clip_of, lambda at, n: extraction(at, SHARD, n)
    ),
}  # fmt: skip


def prepare(name: str, folder: Path, size: int) -> None:
    """In a process of its own, so that what it leaves in memory is not the work's."""
    torch.set_num_threads(1)
    SERIES[name].prepare(folder, size)


def point(name: str, folder: Path, size: int) -> tuple[float, float]:
    """Processor seconds and MiB of one size, in this process."""
    return spent(lambda: SERIES[name].work(folder, size))


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """Processor seconds of some work on one thread, and the MiB that it takes above what this process has."""
    torch.set_num_threads(1)
    before, begin = psutil.Process().memory_info().rss, CPU()
    work()
    seconds = CPU() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return seconds, (peak - before) / 2**20


def measured(pool: Pool, name: str, size: int) -> tuple[float, float]:
    """`point` after `prepare`, each in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        pool.apply(prepare, (name, Path(folder), size))
        return pool.apply(point, (name, Path(folder), size))


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Slope of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def draw(path: Path, found: Mapping[str, dict[str, list[float]]]) -> None:
    """Small multiples: a column for each series, time above memory, with the slope of linear growth."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    kinds = (
        ("seconds", "processor time, s", "#0072B2", "o"),
        ("mib", "memory, MiB", "#D55E00", "s"),
    )
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
        )
        figure = Figure(figsize=(9.0, 9.6), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(4, 3)
        for number, (name, series) in enumerate(SERIES.items()):
            sizes = found[name]["sizes"]
            for row, (kind, label, colour, marker) in enumerate(kinds):
                axes, values = grid[2 * (number // 3) + row][number % 3], found[name][kind]
                linear = [values[0] * size / sizes[0] for size in sizes]
                axes.loglog(sizes, linear, color="#999999", linestyle=(0, (4, 3)), linewidth=1)
                axes.loglog(sizes, values, color=colour, marker=marker, markersize=5)
                axes.set_ylim(min(values) / 1.6, max(linear) * 1.6)
                axes.set_title(f"{series.title} by {series.unit}" if row == 0 else "")
                axes.text(
                    0.04,
                    0.93,
                    f"exponent {exponent(sizes, values):.2f}",
                    transform=axes.transAxes,
                    va="top",
                )
                axes.set_ylabel(label if number % 3 == 0 else "")
                axes.xaxis.set_major_locator(FixedLocator(sizes))
                axes.xaxis.set_minor_locator(NullLocator())
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
        figure.suptitle(
            "Time and peak memory at 1, 2, 4 and 8 times the size; dashed: linear growth (exponent 1)"
        )
        figure.align_ylabels(grid[:, 0])
        figure.savefig(path, dpi=130, metadata={"Software": None})


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--quick", action="store_true", help="1 and 4 times the size, once")
    words.add_argument("--repeats", type=positive, default=2, help="the least counts (%(default)s)")
    words.add_argument("--figure", type=new_file, metavar="FILE", help="draw a PNG there")
    words.add_argument("--json", type=new_file, metavar="FILE", help="write the numbers there too")
    given = words.parse_args(argv)
    factors, repeats = ((1, 4), 1) if given.quick else (FACTORS, given.repeats)
    found: dict[str, dict[str, list[float]]] = {}
    lines: list[Line] = []
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for name, series in SERIES.items():
            sizes = [series.smallest * factor for factor in factors]
            points = [[measured(pool, name, size) for size in sizes] for _ in range(repeats)]
            seconds = [min(column)[0] for column in zip(*points, strict=True)]
            mib = [min(memory for _, memory in column) for column in zip(*points, strict=True)]
            found[name] = {"sizes": sizes, "seconds": seconds, "mib": mib}
            shown = ", ".join(
                f"{size:,}: {s:.2f} s, {m:.0f} MiB"
                for size, s, m in zip(sizes, seconds, mib, strict=True)
            )
            print(f"{series.title} by {series.unit}: {shown}", file=sys.stderr, flush=True)
            for key, values in (("time", seconds), ("memory", mib)):
                ends = f"{values[0]:.3g} to {values[-1]:.3g} {'s' if key == 'time' else 'MiB'}"
                lines.append(answer(f"growth/{name}-{key}", exponent(sizes, values), ends))
    show(lines)
    if given.figure:
        draw(given.figure, found)
    write_json(given.json, lines, points=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
