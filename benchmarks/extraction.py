"""Extraction of a B/32-shaped CLIP beside the bare forward pass of `CLIPVisionModel`.

    python -m benchmarks.extraction [--images N] [--threads T] [--quick] [--json FILE]

The bare forward runs transformers' model, all hidden states kept, on tensors that were decoded
before. Extraction starts from JPEG files (500 x 375, made up) in a store: it reads and verifies
them, decodes, resizes, crops, normalises, runs the model, checks and casts every layer, writes the
shard, and puts it into the store, hashed and flushed. Weights are random. Memory: the highest
resident size after 1x, 2x and 4x the images, with two layers of the same width, one after the other.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipsteer.runner.warm import BEFORE_TORCH

os.environ |= BEFORE_TORCH  # as in every step; before torch is imported

import numpy as np
import torch
from PIL import Image

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
from clipsteer.activations.extract import Images, Kept, extract_shard
from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import write_shaped
from clipsteer.data.source import ImageSource
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import put_tree

SIZE = (500, 375)
MEMORY_IMAGES = 500  # more than a shard's buffers hold


def photographs(
    store: ObjectStore, count: int, size: tuple[int, int] = SIZE
) -> list[tuple[str, str, int]]:
    """JPEGs of made-up scenes in the store, as a list of images names them."""
    rng = np.random.default_rng(0)
    listed = []
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        image = np.asarray(small.resize(size, Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 13, image.shape, dtype=np.int16)
        stream = io.BytesIO()
        Image.fromarray(np.clip(image + grain, 0, 255).astype(np.uint8)).save(
            stream, "JPEG", quality=90
        )
        listed.append((store.put_bytes(stream.getvalue()), f"{number}.jpg", 0))
    return listed


class Work:
    """The two ways through the same images."""

    def __init__(self, folder: Path, images: int, batch: int) -> None:
        self.folder, self.images, self.batch = folder, images, batch
        self.store = ObjectStore(folder / "store")
        self.listed = photographs(self.store, min(images, 64))
        self.number = 0

    def source(self) -> Callable[[int], Image.Image]:
        """Loads an image; each file serves for every 64th."""
        load = ImageSource(self.store, None, self.listed, 0, seed=None).load
        return lambda index: load(index % len(self.listed))

    def extract(self, tower: Backbone, images: int) -> None:
        """All of extraction: from files to a tree in the store."""
        self.number += 1
        shard = self.folder / f"shard-{self.number}"
        nested = extract_shard(
            tower,
            Images(self.source(), 0, images),
            Kept(["resid_post"], range(tower.n_layers), "float16", "none"),
            shard,
            batch_size=self.batch,
            attributes={"number": self.number},
        )
        put_tree(self.store, shard, nested, move=True)
        for path in self.store.root.glob("objects/*/*"):  # the disk is not what is measured
            if path.stat().st_size > 1 << 20:
                path.unlink()


def bare_model(folder: Path) -> Any:
    """transformers' CLIPVisionModel."""
    import transformers

    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()  # of the text tower's weights, which are left out
    return transformers.CLIPVisionModel.from_pretrained(folder, attn_implementation="sdpa").eval()


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=positive, default=192, help="of a round (%(default)s)")
    parser.add_argument("--batch", type=positive, default=32, help="images (%(default)s)")
    parser.add_argument("--threads", type=positive, default=2, help="of torch (%(default)s)")
    parser.add_argument("--rounds", type=positive, default=5, help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="32 images, 2 rounds, no memory")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the numbers there too")
    given = parser.parse_args(arguments)
    if given.quick:
        given.images, given.rounds = 32, 2
    torch.set_num_threads(given.threads)
    memory: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = Work(folder, given.images, given.batch)
        if not given.quick:
            write_shaped(folder / "small", vision={"num_hidden_layers": 2})
            small = load_backbone(folder / "small", device="cpu")
            for factor in (1, 2, 4):
                work.extract(small, factor * MEMORY_IMAGES)
                memory[factor * MEMORY_IMAGES] = (
                    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                )
        write_shaped(folder / "model")
        tower, model = load_backbone(folder / "model", device="cpu"), bare_model(folder / "model")
        pixels = tower.pixels([work.source()(i) for i in range(given.batch)])

        def bare() -> None:
            with torch.inference_mode():
                for low in range(0, given.images, given.batch):
                    part = pixels[: min(given.batch, given.images - low)]
                    model(pixel_values=part, output_hidden_states=True)

        both: dict[str, Callable[[], object]] = {
            "bare": bare,
            "extraction": lambda: work.extract(tower, given.images),
        }
        wall = side_by_side(both, given.rounds, WALL)
        cpu = side_by_side(both, given.rounds, CPU)
    lines = [
        answer("extraction/bare", times_as_fast(wall, "extraction", "bare")),
        Line("extraction, processor time", times_as_fast(cpu, "extraction", "bare"), "bare", None),
    ]
    failures = {}
    if memory:
        lines.append(answer("extraction/memory", memory[max(memory)] / memory[min(memory)]))
    else:
        failures["extraction/memory"] = "left out of the quick run"
    print(f"\n{given.images} images in batches of {given.batch}, {given.threads} threads\n")
    print("| way | images/s | images per CPU second |\n|---|---|---|")
    for way in both:
        rates = given.images / min(wall[way]), given.images / min(cpu[way])
        print(f"| {way} | {rates[0]:.1f} | {rates[1]:.1f} |")
    print()
    show(lines)
    if memory:
        print("\npeak MiB by images: " + ", ".join(f"{n}: {m:.0f}" for n, m in memory.items()))
    write_json(given.json, lines, failures, wall=wall, cpu=cpu, peak_mib=memory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
