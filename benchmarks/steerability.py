"""Steerability, ours against the usual way: a forward hook and a whole pass for each feature.

    python -m benchmarks.steerability [--quick] [--images N] [--json FILE]

On a CLIP with the shape of ViT-B/32 and random weights, a vanilla dictionary of expansion 64 (m = 49,152) and 5,000
words, in float32 and on one thread. At the last layer ours is the closed form, for 64 features and N images with all
that it prepares; the usual way is run for one feature and a few images, in three forms: the hook as it is defined
(encode, keep the error, set, decode), one that encodes once and moves along one direction, and one that computes one
column of the code. At layers 5 and 10 ours is beside the bare resumed passes of as many images. Pieces of work take
turns within a round. Memory is that of processes of their own, with a model of two such layers.

What random weights compute means nothing; what it costs is what a real model costs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
from benchmarks.sweep import directions, full_pass, pictures
from clipsteer.backbones.base import Backbone
from clipsteer.backbones.device import exact_inference
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import write_shaped
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.vanilla import Vanilla
from clipsteer.steering.measured import Journal, Wanted, measure
from clipsteer.steering.steerability import distances, probabilities
from clipsteer.steering.steered import BATCH, Activations, Passes, SteeredPlace, passes

EXPANSION, ENTRIES, STRENGTH = 64, 5000, 20.0
FEATURES = 64
# Images of a pass with a hook.
USUAL = 8
MIDDLE = {5: "resumed/layer-5", 10: "resumed/layer-10"}


def words_of(p: int) -> torch.Tensor:
    """Unit rows (V, p) in place of text embeddings."""
    return F.normalize(torch.randn(ENTRIES, p, generator=torch.Generator().manual_seed(3)), dim=1)


def vanilla(rows: torch.Tensor) -> Vanilla:
    """A dictionary that fires on a few per cent of its features, as a trained one does."""
    m, d = rows.shape
    return Vanilla(rows.T.contiguous(), torch.full((m,), -2.0), rows, torch.zeros(d))


def hooks(dictionary: Dictionary, feature: int) -> dict[str, Callable[[torch.Tensor], Any]]:
    """What people write: the edit as it is defined, along one direction, and with one column."""
    column = torch.tensor([feature])
    direction = dictionary.W_dec[feature]

    def rows(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1, x.shape[-1])

    def quoted(x: torch.Tensor) -> torch.Tensor:
        code = dictionary.encode(rows(x))
        error = rows(x) - dictionary.decode(code)
        code[:, feature] = STRENGTH
        return (dictionary.decode(code) + error).view_as(x)

    def dense(x: torch.Tensor) -> torch.Tensor:
        code = dictionary.encode(rows(x))[:, feature]
        return x + ((STRENGTH - code)[:, None] * direction).view_as(x)

    def single(x: torch.Tensor) -> torch.Tensor:
        code = dictionary.encode_columns(rows(x), column)
        return x + ((STRENGTH - code) * direction).view_as(x)

    return {"quoted": quoted, "dense": dense, "column": single}


def sums_of(found: Passes, n_features: int) -> None:
    """All that is measured at one strength."""
    distance, _ = distances(found.place.vocabulary)
    every = np.arange(n_features)
    wanted = Wanted(every, every[:0], n_features, [STRENGTH], None)
    measure(found, wanted, distance, Journal())


def measured(folder: Path, images: int, rounds: int) -> dict[str, Any]:
    """CPU seconds of all pieces, a pair of feature and image each."""
    clip = load_backbone(folder, device="cpu")
    pixels = pictures(images)
    taps = clip.run(pixels, ["resid_post"])[1]["resid_post"]
    words = words_of(clip.projection_dim)
    dictionary = vanilla(directions(EXPANSION * clip.width, clip.width))
    every = slice(0, clip.n_tokens)
    numbers = np.arange(FEATURES)
    with tempfile.TemporaryDirectory() as scratch:
        count = iter(range(10**6))

        def prepared(layer: int, features: int, n: int) -> Passes:
            batches: Iterator[Activations] = (
                (taps[layer][low : low + BATCH].numpy(), None) for low in range(0, n, BATCH)
            )
            place = SteeredPlace(clip, layer, dictionary, every, words)
            return passes(place, numbers[:features], batches, Path(scratch) / str(next(count)))

        last = clip.n_layers - 1
        few = pixels[:USUAL]

        def usual(hook: Callable[[torch.Tensor], Any]) -> Callable[[], object]:
            return lambda: probabilities(full_pass(clip, few, last, hook), words, clip.logit_scale)

        # the sample's features, and three more whose curves are drawn
        pairs = {"ours": images * (FEATURES + 3)}
        work: dict[str, Callable[[], object]] = {
            "ours": lambda: sums_of(prepared(last, FEATURES, images), FEATURES)
        }
        for name, hook in hooks(dictionary, 7).items():
            work[name], pairs[name] = usual(hook), USUAL
        seconds = side_by_side(work, rounds, CPU)
        found: dict[str, Any] = {
            name: [second / pairs[name] for second in each] for name, each in seconds.items()
        }
        for layer, name in MIDDLE.items():
            # one full batch: four features of a quarter of its images
            quarter = min(images, BATCH // 4)
            steered = prepared(layer, 4, quarter)
            stream = torch.cat([taps[layer][:quarter]] * (BATCH // quarter))

            def ours(steered: Passes = steered, n: int = quarter) -> None:
                with exact_inference():
                    for part in steered.stretches(np.arange(4), 0, n, STRENGTH):
                        part.after.sum(dim=0)

            def bare(clip: Backbone = clip, layer: int = layer, x: torch.Tensor = stream) -> None:
                clip.resume(layer, x)

            both = side_by_side({"ours": ours, "bare": bare}, rounds + 1, CPU)
            found[name] = 100 * times_as_fast(both, "ours", "bare")
    return found


def peak(images: int, features: int, layer: int, answer_to: Any) -> None:
    """Peak memory in MB of a process that measures so much, with two layers of ViT-B/32's."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clip"
        write_shaped(folder, vision={"num_hidden_layers": 2}, text={"num_hidden_layers": 1})
        clip = load_backbone(folder, device="cpu")
        rng = np.random.default_rng(0)
        shape = (BATCH, clip.n_tokens, clip.width)
        block = rng.standard_normal(shape, np.float32)
        batches = ((block, None) for _ in range(images // BATCH))
        rows = directions(8 * clip.width, clip.width)
        place = SteeredPlace(
            clip, layer, vanilla(rows), slice(0, clip.n_tokens), words_of(clip.projection_dim)
        )
        found = passes(place, np.arange(features), batches, Path(scratch) / "files")
        sums_of(found, features)
    answer_to.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peaks(cases: Sequence[tuple[int, int, int]]) -> list[float]:
    """The same in a process for each (images, features, layer)."""
    context = multiprocessing.get_context("spawn")
    found = []
    for case in cases:
        queue = context.SimpleQueue()
        process = context.Process(target=peak, args=(*case, queue))
        process.start()
        found.append(queue.get())
        process.join()
    return found


def memory(quick: bool) -> dict[str, float]:
    """How many times as much memory four times the images, or features, take."""
    few, some = BATCH, 32 if quick else 128
    grown = {}
    for name, layer, features in (("last", 1, some), ("middle", 0, 8)):
        base, images, more = peaks(
            [(few, features, layer), (4 * few, features, layer), (few, 4 * features, layer)]
        )
        grown[name] = max(images, more) / base
    return grown


def lines_of(found: dict[str, Any]) -> list[Line]:
    """One line a claim."""
    ours = statistics.median(found["ours"])
    rate = f"{1 / ours:,.0f} pairs of feature and image a CPU second"
    lines = [
        answer("steer/last", times_as_fast(found, "ours", "quoted"), f"a hook and a pass; {rate}"),
        Line(
            "the same", times_as_fast(found, "ours", "dense"), "a hook, along one direction", None
        ),
        Line("the same", times_as_fast(found, "ours", "column"), "a hook, one column", None),
    ]
    lines += [answer(f"steer/{name}", found[name]) for name in MIDDLE.values()]
    return lines + [
        answer(f"steer/memory-{name}", grown) for name, grown in found["memory"].items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--images", type=positive, default=192, help="images (default: 192)")
    parser.add_argument("--json", type=new_file, help="also write the numbers to this file")
    given = parser.parse_args(arguments)
    images, rounds = (BATCH, 1) if given.quick else (given.images, 3)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clip"
        write_shaped(folder)
        found = measured(folder, images, rounds)
    found["memory"] = memory(given.quick)
    lines = lines_of(found)
    show(lines)
    write_json(given.json, lines, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
