"""Training steps of SAEs of every architecture: ours, the dense way, the peers and the floor, side by side.

    python -m benchmarks.training [--quick] [--peers FOLDER | --no-peers] [--features M ...] [--kinds KIND ...]
        [--speed-only] [--targets-only] [--threads N] [--cpu-time] [--rounds N] [--device D] [--json FILE]

d = 768, 4,096 tokens a batch, k = 64, Adam, float32 parameters, made-up activations. All take one
step in turn, so that other users of the machine fall on all alike; ratios are medians over rounds.
On a crowded machine `--threads 1 --cpu-time` counts what each step computes, not how long it waits.
The peers come from PyPI into an environment of their own, made where it is missing, but for torch,
which is ours; they run under the same environment variables. The floor is the encode product alone, in the precision
that screens, written to memory that is there already. The second table follows the loss of the same
batches in the sparse and the dense way.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

# What a training job sets too; torch reads it at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import torch
from torch import Tensor

from benchmarks.lines import (
    CPU,
    WALL,
    Line,
    answer,
    device,
    new_file,
    positive,
    show,
    side_by_side,
    times_as_fast,
    write_json,
)
from benchmarks.peers import PEER_FOLDER, PeerError, environment, peer
from benchmarks.targets import TARGETS
from clipsteer.dictionaries import topk
from clipsteer.dictionaries.gradients import forward_backward
from clipsteer.dictionaries.registry import architecture
from clipsteer.dictionaries.screen import screening_dtype
from clipsteer.dictionaries.settings import Settings
from clipsteer.dictionaries.state import TrainState
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.train import update

PEERS = {
    "topk": ("sparsify_topk", "saelens_topk", "overcomplete_topk", "dictionary_learning_topk"),
    "vanilla": ("saelens_vanilla", "overcomplete_vanilla", "dictionary_learning_vanilla"),
    "batchtopk": ("saelens_batchtopk",),
    "matryoshka": ("saelens_matryoshka",),
}
#: Of Matryoshka, shares of the features; the peer has the same.
PREFIXES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
#: In every full run so far; the only vanilla peer of a quick one.
FASTEST_VANILLA = "overcomplete_vanilla"
WIDTH, K, BATCHES = 768, 64, 4
SETTINGS = Settings(k=K, mse="normalised", lr=4e-4, warmup_steps=0, ghost_grads=False)


class Training:
    """Steps of ours on batches that stay on the device."""

    def __init__(
        self, kind: str, features: int, batches: Tensor, dense: bool = False, k: int = K
    ) -> None:
        state = TrainState.initial(features, batches[0, :512].cpu().numpy(), seed=0)
        self.state, self.batches, self.dense = state.to(batches.device), batches, dense
        options = {} if kind == "vanilla" else {"k": k}
        options |= {"prefixes": PREFIXES} if kind == "matryoshka" else {}
        self.dictionary = architecture(kind).build(
            batches.shape[2], features, self.state.parameters, options
        )
        self.losses: list[float] = []

    def step(self, statistics: bool = False) -> None:
        x = self.batches[self.state.step % len(self.batches)]
        l1 = 0.0 if isinstance(self.dictionary, TopK) else 1e-3
        done = forward_backward(
            self.dictionary, x, mse="normalised", l1=l1, statistics=statistics, dense=self.dense
        )
        self.losses.append(done.loss)
        update(self.state, done, lr=SETTINGS.lr, clip_norm=SETTINGS.clip_norm)

    def fire(self, share: float) -> None:
        """Lower the bias until so large a share of the codes is positive."""
        x = self.batches[0, :256]
        pre = self.dictionary.pre_activations(x).flatten()
        some = pre[torch.randperm(len(pre), device=pre.device)[:100_000]]
        self.state.parameters["b_enc"] -= torch.quantile(some, 1.0 - share)


class FullPrecision(Training):
    """Steps of ours as on a processor without bfloat16."""

    def step(self, statistics: bool = False) -> None:
        before = topk.screening_dtype
        topk.screening_dtype = lambda x, weights: x.dtype
        try:
            super().step(statistics)
        finally:
            topk.screening_dtype = before


def product(x: Tensor, features: int, dtype: torch.dtype) -> Callable[[], None]:
    """The encode product alone."""
    left = x.to(dtype)
    right = torch.randn(features, x.shape[1], device=x.device).to(dtype)
    out = left.new_empty(len(x), features)

    def run() -> None:
        torch.mm(left, right.t(), out=out)

    return run


def waited_for(step: Callable[[], object]) -> Callable[[], None]:
    """A step, and waiting until the device has done it."""

    def run() -> None:
        step()
        torch.cuda.synchronize()

    return run


def made_batches(tokens: int, count: int, width: int = WIDTH) -> np.ndarray:
    """Sparse mixtures of random directions, with noise: (count, tokens, width) float32."""
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((2048, width)).astype(np.float32) / width**0.5
    made = np.empty((count, tokens, width), np.float32)
    for batch in made:
        weights = rng.random((tokens, 2048), dtype=np.float32)
        weights *= weights > 0.98
        batch[:] = weights @ atoms + 0.02 * rng.standard_normal((tokens, width)).astype(np.float32)
    return made


def key_of(prefix: str, name: str) -> str:
    """Of the target for ours beside a peer or the dense way."""
    kind = prefix.partition("-")[0]
    return f"{prefix}/{name.removesuffix(f'_{kind}')}"


def is_measured(kind: str, features: int, targets_only: bool) -> bool:
    """Whether an architecture is, where none is asked for by name."""
    answers = any(key.startswith(f"{kind}-{features}/") for key in TARGETS)
    return answers or not targets_only or kind in ("topk", "vanilla")


def speeds(
    kind: str, features: int, batches: Tensor, data: Path, arguments: argparse.Namespace
) -> tuple[list[Line], dict[str, float], dict[str, str]]:
    """Lines and tokens/s of one architecture and size, and what could not be measured."""
    work: dict[str, Callable[[], object]] = {}
    away: list[float] = []  # seconds of work in other processes

    def counted(step: Callable[[], float]) -> Callable[[], None]:
        return lambda: away.append(step())

    def clock() -> float:
        return CPU() + sum(away) if arguments.cpu_time else WALL()

    x = batches[0]
    low = screening_dtype(x, features * WIDTH)
    work["ours"] = Training(kind, features, batches).step
    if kind in ("topk", "vanilla") or not arguments.targets_only:
        work["dense"] = Training(kind, features, batches, dense=True).step
    if kind == "topk":
        work["floor"] = product(x, features, low)
        if low != x.dtype:
            work["ours, float32"] = FullPrecision(kind, features, batches).step
            work["floor, float32"] = product(x, features, x.dtype)
    elif kind == "vanilla":
        few = Training(kind, features, batches)
        few.fire(0.03)
        work["ours, 3 % firing"] = few.step
    prefix, missing = f"{kind}-{features}", {}
    names = [
        name
        for name in PEERS[kind]
        if not arguments.targets_only
        or name == FASTEST_VANILLA
        or (kind == "vanilla" and not arguments.quick)
        or key_of(prefix, name) in TARGETS
    ]
    with ExitStack() as stack:
        for name in names:
            try:
                if isinstance(arguments.python, PeerError):
                    raise arguments.python
                step = peer(
                    name, data, features, arguments.python, k=K, device=arguments.device,
                    threads=arguments.threads, cpu_time=arguments.cpu_time,
                )  # fmt: skip
                work[name] = counted(stack.enter_context(step))
            except PeerError as error:
                missing[name] = str(error)
        if x.device.type == "cuda":
            work = {name: waited_for(step) for name, step in work.items()}
        seconds = side_by_side(work, arguments.rounds, clock)
    rates = {name: len(x) / float(np.median(times)) for name, times in seconds.items()}
    lines, failures = [], {}

    def measured(key: str, name: str, beside: str) -> None:
        """The line of a key, if there is one for this size."""
        ratio = times_as_fast(seconds, name, beside)
        if key not in TARGETS:
            lines.append(Line(f"{prefix}: {name}", ratio, beside, None))
        elif TARGETS[key].most:
            lines.append(answer(key, 1 / ratio))
        else:
            lines.append(answer(key, ratio))

    if kind != "vanilla":
        for name in (*(["dense"] if "dense" in seconds else []), *names):
            key = key_of(prefix, name)
            if name in missing:
                failures[key] = missing[name]
            else:
                measured(key, "ours", name)
    if kind == "topk":
        measured(f"{prefix}/floor", "ours", "floor")
        if "floor, float32" in seconds:
            measured(f"{prefix}/floor-float32", "ours, float32", "floor, float32")
        elif low == x.dtype:
            failures[f"{prefix}/floor-float32"] = "no bfloat16 here: the line above is in float32"
    elif kind == "vanilla":
        there = [name for name in names if name not in missing]
        fastest = max(there, key=rates.__getitem__) if there else "dense"
        for name, key in (("ours", "first"), ("ours, 3 % firing", "few")):
            if there and f"{prefix}/{key}" in TARGETS:
                ratio = times_as_fast(seconds, name, fastest)
                lines.append(answer(f"{prefix}/{key}", ratio, fastest.removesuffix("_vanilla")))
            else:
                measured("", name, fastest)
                failures[f"{prefix}/{key}"] = "; ".join(dict.fromkeys(missing.values()))
    return lines, rates, failures


def default_shape(rounds: int) -> list[Line]:
    """One thread of the embedded default (d = 96, m = 1,536, k = 16), beside the dense way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batches = torch.from_numpy(made_batches(1024, 8, 96))
    lines = []
    for kind, share, key in (
        ("topk", None, "default/topk"),
        ("vanilla", 0.08, None),
        ("vanilla", 0.03, "default/vanilla-few"),
    ):
        ours, dense = (Training(kind, 1536, batches, slow, k=16) for slow in (False, True))
        if share:
            ours.fire(share)
        work = {"ours": ours.step, "dense": dense.step}
        seconds = side_by_side(work, 10 * rounds, CPU)
        ratio = times_as_fast(seconds, "ours", "dense")
        title = f"{kind}, {share:.0%} firing, the default's shape" if share else ""
        lines.append(answer(key, ratio) if key else Line(title, ratio, "dense", None))
    torch.set_num_threads(threads)
    return lines


def quality(batches: Tensor, features: int, steps: int) -> tuple[Line, dict[str, float]]:
    """Loss after equal steps of the sparse and the dense way: the dense one's share of ours."""
    losses = {}
    for name, dense in (("sparse", False), ("dense", True)):
        training = Training("topk", features, batches, dense)
        for _ in range(steps):
            training.step(statistics=True)
        losses[name] = training.losses[-1]
    share = losses["dense"] / losses["sparse"]
    return answer("topk/quality", share, f"the dense way, {steps} steps"), losses


def main(argv: list[str] | None = None) -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument(
        "--quick", action="store_true", help="m = 6,144, 3 rounds, 15 steps, few peers"
    )
    words.add_argument("--peers", type=Path, default=PEER_FOLDER)
    words.add_argument("--no-peers", action="store_true")
    words.add_argument("--features", type=positive, nargs="*", help="default: 6144 24576")
    words.add_argument("--kinds", nargs="+", choices=list(PEERS), help="these architectures")
    words.add_argument("--threads", type=positive, default=torch.get_num_threads())
    words.add_argument("--cpu-time", action="store_true", help="CPU seconds, not wall seconds")
    words.add_argument(
        "--rounds", type=positive, help="steps of each that count; default 5, quick 3"
    )
    words.add_argument("--device", type=device, default="cpu")
    words.add_argument(
        "--speed-only", action="store_true", help="nothing of quality and of the default's shape"
    )
    words.add_argument(
        "--targets-only", action="store_true", help="no Top-K peers but those that a target names"
    )
    words.add_argument("--json", type=new_file)
    arguments = words.parse_args(argv)
    arguments.targets_only |= arguments.quick
    torch.set_num_threads(arguments.threads)
    features = arguments.features or ([6144] if arguments.quick else [6144, 24576])
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 5)
    try:
        arguments.python = PeerError("--no-peers")
        if not arguments.no_peers:
            arguments.python = environment(arguments.peers)
    except PeerError as error:
        arguments.python = error
    lines: list[Line] = []
    failures: dict[str, str] = {}
    rates: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "batches.npy"
        np.save(data, made_batches(4096, BATCHES))
        batches = torch.from_numpy(np.load(data)).to(arguments.device)
        for m in features:
            for kind in arguments.kinds or [
                kind for kind in PEERS if is_measured(kind, m, arguments.targets_only)
            ]:
                found, rates[f"{kind} {m}"], missing = speeds(kind, m, batches, data, arguments)
                lines += found
                failures |= missing
                print(f"{kind} {m}", rates[f"{kind} {m}"], file=sys.stderr, flush=True)
        losses: dict[str, float] = {}
        if not arguments.speed_only:
            lines += default_shape(arguments.rounds)
            small = torch.from_numpy(made_batches(1024, 50)).to(arguments.device)
            line, losses = quality(small, 6144, 15 if arguments.quick else 200)
            lines.append(line)
    show(lines)
    names = sorted({name for row in rates.values() for name in row})
    print(f"\n| tokens/s | {' | '.join(rates)} |\n|---|{'---|' * len(rates)}")
    for name in names:
        cells = (f"{row[name]:,.0f}" if name in row else "" for row in rates.values())
        print(f"| {name} | {' | '.join(cells)} |")
    write_json(arguments.json, lines, failures, tokens_per_second=rates, losses=losses)
    return 0


if __name__ == "__main__":
    sys.exit(main())
