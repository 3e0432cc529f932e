"""Top-K training steps on CUDA: ours, sparsify's Triton path, and the encode product in bfloat16.

    python -m benchmarks.training_cuda [--quick] [--features M] [--peers FOLDER | --no-peers] [--json FILE]

d = 768, m = 49,152, k = 64, 4,096 tokens a batch, float32 parameters, Adam. Batches lie on the device. Steps are
issued one after the other and waited for once a round, as in training; the peak is the rate of the same run's
product. Without a CUDA device both lines say so, and the exit status is 0. `--device cpu` goes
through the same code, to try it; what it measures answers nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from benchmarks.lines import (
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
from benchmarks.peers import PEER_FOLDER, PeerError, environment, peer
from benchmarks.training import WIDTH, K, Training, made_batches, product

SPARSIFY = "sparsify_topk"


def in_rounds(step: Callable[[], object], steps: int, device: torch.device) -> Callable[[], None]:
    """So many steps, waited for at the end."""

    def run() -> None:
        for _ in range(steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def measure(
    given: argparse.Namespace, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of a step of each, in each round; why a peer is not among them."""
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data = Path(folder) / "batches.npy"
        np.save(data, made_batches(given.tokens, 4, given.width))
        batches = torch.from_numpy(np.load(data)).to(device)
        ours = Training("topk", given.features, batches, k=given.k)
        encode = product(batches[0], given.features, torch.bfloat16)
        work = {
            "ours": in_rounds(ours.step, given.steps, device),
            "product": in_rounds(encode, given.steps, device),
        }
        try:
            if given.no_peers:
                raise PeerError("--no-peers")
            python = environment(given.peers)
            work["sparsify"] = stack.enter_context(
                peer(
                    SPARSIFY, data, given.features, python,
                    k=given.k, device=device.type, steps=given.steps,
                )
            )  # fmt: skip
        except PeerError as error:
            failures["cuda/sparsify"] = str(error)
        seconds = side_by_side(work, given.rounds, WALL)
    return {name: [s / given.steps for s in all_] for name, all_ in seconds.items()}, failures


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--quick", action="store_true", help="10 steps a round, 2 rounds")
    words.add_argument("--device", default="cuda", help="(%(default)s)")
    words.add_argument("--features", type=positive, default=49_152, help="(%(default)s)")
    words.add_argument("--tokens", type=positive, default=4096, help="a batch (%(default)s)")
    words.add_argument("--width", type=positive, default=WIDTH, help="d (%(default)s)")
    words.add_argument("--k", type=positive, default=K, help="(%(default)s)")
    words.add_argument("--steps", type=positive, default=50, help="of a round (%(default)s)")
    words.add_argument("--rounds", type=positive, default=5, help="that count (%(default)s)")
    words.add_argument("--peers", type=Path, default=PEER_FOLDER)
    words.add_argument("--no-peers", action="store_true")
    words.add_argument("--json", type=new_file, metavar="FILE", help="write the numbers there too")
    given = words.parse_args(argv)
    if given.quick:
        given.steps, given.rounds = 10, 2
    device = torch.device(given.device)
    keys = ("cuda/sparsify", "cuda/product")
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: not measured")
        write_json(given.json, [], dict.fromkeys(keys, "no CUDA device"))
        return 0
    seconds, failures = measure(given, device)
    step, floor = (float(np.median(seconds[name])) for name in ("ours", "product"))
    peak = 2 * given.tokens * given.width * given.features / floor / 1e12
    beside = f"encode product, bfloat16, at {peak:.3g} TFLOP/s"
    ratios = {"cuda/product": (1 / times_as_fast(seconds, "ours", "product"), beside)}
    if "sparsify" in seconds:
        ratios["cuda/sparsify"] = (times_as_fast(seconds, "ours", "sparsify"), "sparsify")
    if device.type == "cuda":
        lines = [answer(key, ratio, beside) for key, (ratio, beside) in ratios.items()]
        print(torch.cuda.get_device_name(device))
    else:
        lines = [Line(key, ratio, beside, None) for key, (ratio, beside) in ratios.items()]
        failures = dict.fromkeys(keys, f"tried on {device.type} only")
    print(f"m = {given.features:,}, {given.tokens:,} tokens: {given.tokens / step:,.0f} tokens/s\n")
    show(lines)
    tokens = {name: given.tokens / float(np.median(found)) for name, found in seconds.items()}
    write_json(given.json, lines, failures, tokens_per_second=tokens, product_tflops=peak)
    return 0


if __name__ == "__main__":
    sys.exit(main())
