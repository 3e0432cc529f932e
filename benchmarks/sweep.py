"""A full threshold sweep, ours against the usual way: a forward hook and a whole forward pass per threshold.

    python -m benchmarks.sweep [--quick] [--images N] [--seeds S] [--every K] [--json FILE]

On a CLIP with the shape of ViT-B/32 and random weights, for each of its 12 layers: 25 thresholds of Eq. 9
(the paper's grid), each with the targeted features of a Top-K dictionary of expansion 64 (m = 49,152), S
random sets of the same size, the targeted neurons, and S random sets of neurons. Both ways are in float32,
on one thread, layer by layer in turn, in CPU seconds. Ours takes all passes, the two without an edit that
stand beside them included, and one forward pass that collects the activations. The usual way costs the same
at every threshold but for its few columns, so only every K-th of its passes is run; their predictions are
compared with ours, and their mean stands for the rest. The floor is the matrix products of the resumed
layers alone, at the rate measured for such a product.

What the random weights compute means nothing; what they cost is what a real model costs. The class
boundary is put through the middle of the images' embeddings, so that edits do change predictions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.lines import Line, answer, new_file, positive, show, write_json
from clipsteer.backbones.base import Backbone
from clipsteer.backbones.device import exact_inference
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import write_shaped
from clipsteer.backbones.zero_shot import zero_shot_logits
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.topk import TopK
from clipsteer.steering.ablation import predict_prefixes, predict_sets
from clipsteer.steering.controls import random_sets
from clipsteer.steering.evaluator import Evaluator
from clipsteer.steering.selection import nested_sets, threshold_grid
from clipsteer.steering.statistics import difference, feature_statistics

EXPANSION, K = 64, 64
QUICK_LAYERS = (0, 6, 11)  # on average as much above them as above all


@dataclass
class Sums:
    """CPU seconds and counts over all layers."""

    ours: float = 0.0
    plain: list[float] = field(default_factory=list)
    lean: list[float] = field(default_factory=list)
    passes: int = 0
    evaluations: int = 0
    flops: float = 0.0
    compared: int = 0
    differ: int = 0
    changed: int = 0


def pictures(count: int, size: int = 224) -> torch.Tensor:
    """Smooth random images with noise, as pixel values (n, 3, size, size)."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(count, 3, 7, 7, generator=generator)
    smooth = F.interpolate(coarse, size=(size, size), mode="bilinear")
    return smooth + 0.3 * torch.randn(smooth.shape, generator=generator)


def boundary(embeddings: torch.Tensor) -> torch.Tensor:
    """Unit head (2, p) whose classes split the images' embeddings (n, p) in the middle."""
    units = F.normalize(embeddings, dim=1)
    centre = F.normalize(units.mean(dim=0), dim=0)
    way = torch.linalg.svd(units - units.mean(dim=0)).Vh[0]
    way = way - (units @ way).median() / (units @ centre).median() * centre
    return F.normalize(torch.stack([centre - 0.1 * way, centre + 0.1 * way]), dim=1)


def directions(m: int, d: int) -> torch.Tensor:
    """m random unit rows (m, d)."""
    return F.normalize(torch.randn(m, d, generator=torch.Generator().manual_seed(2)), dim=1)


def full_pass(clip: Backbone, pixels: torch.Tensor, layer: int, edit: Callable[..., Any]) -> Any:
    """The usual way: image embeddings with `edit` as a forward hook on one layer's output."""
    handle = clip.model.vision_model.encoder.layers[layer].register_forward_hook(
        lambda _module, _inputs, output: edit(output)
    )
    try:
        with exact_inference():
            return clip.model.get_image_features(pixel_values=pixels).pooler_output
    finally:
        handle.remove()


def plain_hook(dictionary: Dictionary, features: np.ndarray) -> Callable[[torch.Tensor], Any]:
    """The edit as it is defined: encode, keep the error, set the features to 0, decode, add the error."""
    index = torch.from_numpy(features)

    def edit(x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        code = dictionary.encode(rows)
        error = rows - dictionary.decode(code)
        code[:, index] = 0.0
        return (dictionary.decode(code) + error).view_as(x)

    return edit


def lean_hook(dictionary: Dictionary, features: np.ndarray) -> Callable[[torch.Tensor], Any]:
    """The same with one encoding and only the columns of F: x - sum_{j in F} f_j n_j."""
    index = torch.from_numpy(features)

    def edit(x: torch.Tensor) -> torch.Tensor:
        code = dictionary.encode(x.reshape(-1, x.shape[-1])).index_select(1, index)
        return x - (code @ dictionary.W_dec[index]).view_as(x)

    return edit


def neuron_hook(_: Dictionary, features: np.ndarray) -> Callable[[torch.Tensor], Any]:
    """Coordinates set to 0."""
    index = torch.from_numpy(features)

    def edit(x: torch.Tensor) -> torch.Tensor:
        x[..., index] = 0.0
        return x

    return edit


def product_rate(rows: int, d: int) -> float:
    """Floating-point operations per CPU second of the MLP's product, the best of ten."""
    x, weights, best = torch.randn(rows, d), torch.randn(4 * d, d), float("inf")
    for _ in range(10):
        begin = time.process_time()
        F.linear(x, weights)
        best = min(best, time.process_time() - begin)
    return 2 * rows * d * 4 * d / best


def flops_above(clip: Backbone, layer: int) -> float:
    """Floating-point operations of the matrix products that one image needs above the layer."""
    d, tokens = clip.width, clip.n_tokens
    if layer == clip.n_layers - 1:
        return 0.0
    whole = clip.n_layers - 2 - layer
    return 2.0 * d * d * (whole * 12 * tokens + 2 * tokens + 10)  # the last: keys, values, CLS


def sweep_layer(
    clip: Backbone,
    layer: int,
    stream: np.ndarray,
    pixels: torch.Tensor,
    dictionary: Dictionary,
    classify: Callable[[torch.Tensor], np.ndarray],
    plain: np.ndarray,
    seeds: Sequence[int],
    every: int,
    sums: Sums,
) -> tuple[int, int]:
    """Both ways for one layer and dictionary; returns distinct prefixes and evaluated images.

    `plain` (n,) are the predictions without any edit.
    """
    groups = np.arange(len(stream)) % 4
    table = feature_statistics(dictionary, [(0, stream)], groups).table
    sweep = nested_sets(difference(table), threshold_grid(1e-6, 1.0, 25))
    evaluated = 0

    def embed(x: torch.Tensor) -> torch.Tensor:
        nonlocal evaluated
        evaluated += len(x)
        return clip.resume(layer, x)

    def batches() -> Iterator[tuple[int, np.ndarray, None]]:
        yield 0, stream[:, clip.tokens_read(layer)], None

    begin = time.process_time()
    sets = [
        features
        for size in sweep.distinct.tolist()
        for features in random_sets(dictionary.m, size, seeds)
    ]
    evaluator = Evaluator(dictionary, batches, embed, classify)
    targeted = predict_prefixes(evaluator, sweep.order, sweep.distinct).edited
    controls = predict_sets(evaluator, sets).edited
    sums.ours += time.process_time() - begin
    sums.evaluations += evaluated
    sums.flops += evaluated * flops_above(clip, layer)

    neurons = isinstance(dictionary, NeuronBasis)
    hooks = (neuron_hook, neuron_hook) if neurons else (plain_hook, lean_hook)
    at = {size: row for row, size in enumerate(sweep.distinct.tolist())}
    for size in sweep.sizes.tolist():  # the usual way looks at every threshold
        row = at[size]
        ways = [(sweep.order[:size], targeted[row])]
        ways += [
            (sets[row * len(seeds) + i], controls[row * len(seeds) + i]) for i in range(len(seeds))
        ]
        for features, found in ways:
            sums.passes += 1
            if sums.passes % every:
                continue
            for hook, seconds in ((hooks[0], sums.plain), (hooks[1], sums.lean)):
                begin = time.process_time()
                edited = full_pass(clip, pixels, layer, hook(dictionary, features))
                expected = classify(edited)
                seconds.append(time.process_time() - begin)
                sums.compared += len(expected)
                sums.differ += int((expected != found).sum())
    sums.changed += int((np.concatenate([targeted, controls]) != plain).sum())
    return len(sweep.distinct), evaluated


def measure(folder: Path, images: int, seeds: int, every: int, quick: bool) -> dict[str, Any]:
    """All layers; prints a line for each."""
    clip = load_backbone(folder, device="cpu")
    pixels = pictures(images)
    begin = time.process_time()
    embeddings, taps = clip.run(pixels, ["resid_post"])
    sums = Sums(ours=time.process_time() - begin)
    head = boundary(embeddings)

    def classify(found: torch.Tensor) -> np.ndarray:
        return zero_shot_logits(found, head).argmax(dim=-1).numpy()

    plain, rows = classify(embeddings), directions(EXPANSION * clip.width, clip.width)
    print("| layer | sets, SAE + neurons | images evaluated | ours, s | usual, s a pass |")
    print("|--:|--:|--:|--:|--:|", flush=True)
    for layer in QUICK_LAYERS if quick else range(clip.n_layers):
        stream = taps["resid_post"][layer].numpy()
        middle = taps["resid_post"][layer].flatten(0, 1).mean(dim=0)
        sae = TopK(rows.T.contiguous(), torch.zeros(len(rows)), rows, middle, k=K)
        before, passes = sums.ours, len(sums.plain)
        counts = [
            sweep_layer(
                clip, layer, stream, pixels, dictionary, classify, plain, range(seeds), every, sums
            )
            for dictionary in (sae, NeuronBasis(clip.width))
        ]
        sets = " + ".join(str(distinct * (1 + seeds)) for distinct, _ in counts)
        one = np.mean(sums.plain[passes:])
        evaluated = sum(number for _, number in counts)
        print(
            f"| {layer} | {sets} | {evaluated} | {sums.ours - before:.1f} | {one:.2f} |", flush=True
        )
    usual, lean = (float(np.mean(found)) * sums.passes for found in (sums.plain, sums.lean))
    floor = sums.flops / product_rate(images * stream.shape[1], clip.width)
    return {
        "images": images,
        "seeds": seeds,
        "passes": sums.passes,
        "passes_run": len(sums.plain),
        "image_evaluations": sums.evaluations,
        "image_evaluations_usual": sums.passes * images,
        "ours_s": sums.ours,
        "usual_s": usual,
        "lean_s": lean,
        "floor_s": floor,
        "compared": sums.compared,
        "differ": sums.differ,
        "changed_by_edits": sums.changed,
    }


def lines_of(found: dict[str, Any]) -> list[Line]:
    """One line a claim."""
    usual, ours, compared = found["usual_s"], found["ours_s"], found["compared"]
    lean, floor = found["lean_s"], found["floor_s"]
    return [
        answer("sweep/usual", usual / ours, f"a hook and a pass a threshold: {usual:.0f} s"),
        Line("the same", lean / ours, "a hook that encodes once, subtracts F's columns", None),
        answer("sweep/differ", found["differ"], f"the full pass with a hook, {compared} of them"),
        Line("time of the sweep", ours / floor, "products of the resumed layers", None),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three layers, two images, one seed")
    parser.add_argument(
        "--images", type=positive, default=2, help="images of the sweep (default: 2)"
    )
    parser.add_argument(
        "--seeds", type=positive, default=2, help="random sets of each size (default: 2)"
    )
    parser.add_argument(
        "--every", type=positive, default=29, help="run one in K of the usual passes (default: 29)"
    )
    parser.add_argument("--json", type=new_file, help="also write the numbers to this file")
    given = parser.parse_args(arguments)
    images, seeds = (2, 1) if given.quick else (given.images, given.seeds)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clip"
        write_shaped(folder)
        found = measure(folder, images, seeds, given.every, given.quick)
    print()
    lines = lines_of(found)
    show(lines)
    write_json(given.json, lines, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
