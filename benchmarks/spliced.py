"""What cross-entropy with reconstructions costs beside bare resumed passes.

    python -m benchmarks.spliced [--quick] [--images N] [--layers L ...] [--json FILE]

On a CLIP with the shape of ViT-B/32 and random weights, `mlp_out` of some layers, a head of 1,000 classes, in float32
and on one thread, CPU seconds. The dictionary is the neuron basis, whose reconstruction costs nothing: applying a real
one is what the evaluation before it does too, and depends on m. Pieces of work take turns within a round. The dearest
layer counts: behind layer 10, with half a layer left, what is done beside the passes weighs most. The monosemanticity
score, whose products grow with m, is timed beside, at m = 49,152.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# What the job sets too; torch reads it at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.lines import (
    CPU,
    Line,
    answer,
    new_file,
    positive,
    show,
    side_by_side,
    times_as_fast,
    write_json,
)
from benchmarks.sweep import pictures
from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import write_shaped
from clipsteer.dictionaries.monosemanticity import Monosemanticity
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.spliced import Batch, Network, splice
from clipsteer.steering.inputs import BATCH_IMAGES

LAYERS, CLASSES, FEATURES = (0, 5, 10), 1000, 49_152
QUICK = 40  # images


def measured(
    clip: Backbone, layers: Sequence[int], images: int, rounds: int
) -> dict[str, list[float]]:
    """CPU seconds: of each layer the columns and one bare resumed pass, and of one layer's score."""
    embeddings, taps = clip.run(pictures(images), ["resid_post", "mlp_out"])
    generator = torch.Generator().manual_seed(5)
    head = F.normalize(torch.randn(CLASSES, clip.projection_dim, generator=generator), dim=1)
    targets = np.arange(images) % CLASSES
    parts = [slice(low, low + BATCH_IMAGES) for low in range(0, images, BATCH_IMAGES)]
    work: dict[str, Callable[[], object]] = {}

    def batches(layer: int) -> Iterator[Batch]:
        for few in parts:
            x, stream = (taps[point][layer][few].numpy() for point in ("mlp_out", "resid_post"))
            yield Batch(x, stream, embeddings[few].numpy())

    def columns(layer: int) -> None:
        read = clip.tokens_read(layer)
        network = Network(partial(clip.resume, layer), read, head, clip.logit_scale, clip.cls)
        splice(NeuronBasis(clip.width), network, batches(layer), targets)

    def bare(layer: int) -> None:
        for few in parts:
            clip.resume(layer, taps["resid_post"][layer][few])

    for layer in layers:
        work |= {f"columns/{layer}": partial(columns, layer), f"bare/{layer}": partial(bare, layer)}
    codes = torch.rand(images, FEATURES, generator=generator)
    unit = F.normalize(embeddings.double(), dim=1)

    def score() -> None:
        found = Monosemanticity(FEATURES, clip.projection_dim, torch.device("cpu"))
        for few in parts:
            found.add(codes[few], unit[few])

    return side_by_side({**work, "score": score}, rounds, CPU)


def lines_of(layers: Sequence[int], seconds: dict[str, list[float]]) -> list[Line]:
    """The dearest layer, each in words, and the score beside the pass of the middle one."""
    found = {layer: times_as_fast(seconds, f"bare/{layer}", f"columns/{layer}") for layer in layers}
    words = ", ".join(f"layer {layer} {passes:.2f}" for layer, passes in found.items())
    middle = layers[len(layers) // 2]
    beside = statistics.median(seconds["score"]) / statistics.median(seconds[f"bare/{middle}"])
    pass_there = f"a resumed pass at layer {middle}"
    return [
        answer("spliced/passes", max(found.values()), f"bare resumed passes; {words}"),
        Line("the monosemanticity score, m = 49,152", beside, pass_there, None),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--images", type=positive, default=200, help="images (default: 200)")
    parser.add_argument(
        "--layers", type=int, nargs="+", choices=range(12), default=LAYERS, metavar="L",
        help="these layers (default: 0 5 10)",
    )  # fmt: skip
    parser.add_argument("--json", type=new_file, help="also write the numbers to this file")
    given = parser.parse_args(arguments)
    images, rounds = (QUICK, 2) if given.quick else (given.images, 3)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clip"
        write_shaped(folder)
        seconds: dict[str, Any] = measured(
            load_backbone(folder, device="cpu"), given.layers, images, rounds
        )
    lines = lines_of(given.layers, seconds)
    show(lines)
    write_json(given.json, lines, **seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
