"""One peer's training step, run on request; in the peers' own environment, never in ours.

    python training_peers.py NAME DATA.npy FEATURES K THREADS CLOCK DEVICE    # from benchmarks/peers.py

Reads a number of steps from each line of its input and answers with the seconds that they took by CLOCK (cpu or wall).
Each peer's step is what its own trainer does: forward, backward, Adam, and clipping, projection and
renormalisation where it has them. DATA.npy holds batches (count, tokens, width), float32.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor

LR = 4e-4
Step = Callable[[int, Tensor], object]


def sparsify_topk(d: int, m: int, k: int) -> Step:
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(d, SparseCoderConfig(num_latents=m, k=k))
    adam = torch.optim.Adam(coder.parameters(), lr=LR)

    def step(number: int, x: Tensor) -> None:
        coder.set_decoder_norm_to_unit_norm()
        coder(x).fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        adam.step()
        adam.zero_grad()

    return step


def saelens(sae: torch.nn.Module) -> Step:
    from sae_lens.saes.sae import TrainStepInput

    adam = torch.optim.Adam(sae.parameters(), lr=LR)

    def step(number: int, x: Tensor) -> None:
        given = TrainStepInput(
            sae_in=x,
            coefficients={"l1": 1e-3},
            dead_neuron_mask=None,
            n_training_steps=number,
            is_logging_step=False,
        )
        sae.training_forward_pass(given).loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()
        adam.zero_grad()

    return step


def saelens_topk(d: int, m: int, k: int) -> Step:
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

    return saelens(TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=m, k=k)))


def saelens_batchtopk(d: int, m: int, k: int) -> Step:
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

    return saelens(BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=d, d_sae=m, k=k)))


def saelens_matryoshka(d: int, m: int, k: int) -> Step:
    from sae_lens import MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig

    widths = [m // 16, m // 8, m // 4, m // 2, m]
    config = MatryoshkaBatchTopKTrainingSAEConfig(d_in=d, d_sae=m, k=k, matryoshka_widths=widths)
    return saelens(MatryoshkaBatchTopKTrainingSAE(config))


def saelens_vanilla(d: int, m: int, k: int) -> Step:
    from sae_lens import StandardTrainingSAE, StandardTrainingSAEConfig

    return saelens(StandardTrainingSAE(StandardTrainingSAEConfig(d_in=d, d_sae=m)))


def overcomplete(model: torch.nn.Module, criterion: Callable[..., Tensor]) -> Step:
    from overcomplete.sae import train_sae

    adam = torch.optim.Adam(model.parameters(), lr=LR)

    def step(number: int, x: Tensor) -> None:
        train_sae(model, [x], criterion, adam, nb_epochs=1, clip_grad=1.0, monitoring=0)

    return step


def overcomplete_topk(d: int, m: int, k: int) -> Step:
    from overcomplete.sae import TopKSAE

    def squares(x: Tensor, x_hat: Tensor, *others: object) -> Tensor:
        return (x - x_hat).square().mean()

    return overcomplete(TopKSAE(d, m, top_k=k), squares)


def overcomplete_vanilla(d: int, m: int, k: int) -> Step:
    from overcomplete.sae import SAE, mse_l1

    return overcomplete(SAE(d, m), mse_l1)


def dictionary_learning_topk(d: int, m: int, k: int) -> Step:
    from dictionary_learning.trainers.top_k import TopKTrainer

    return TopKTrainer(
        10**6, d, m, k, layer=0, lm_name="", lr=LR, device=torch.get_default_device().type
    ).update


def dictionary_learning_vanilla(d: int, m: int, k: int) -> Step:
    from dictionary_learning.trainers.standard import StandardTrainer

    return StandardTrainer(
        10**6, d, m, layer=0, lm_name="", lr=LR, device=torch.get_default_device().type
    ).update


def main() -> None:
    name, data, features, k, threads, kind, device = sys.argv[1:]
    clock = time.process_time if kind == "cpu" else time.perf_counter
    torch.set_num_threads(int(threads))
    # Libraries print what they like; answers go where the parent listens.
    answers, sys.stdout = sys.stdout, sys.stderr
    # Overcomplete's parts that no training touches, which ask for torchvision and an older matplotlib.
    for part in ("models", "visualization"):
        sys.modules[f"overcomplete.{part}"] = MagicMock()
    torch.set_default_device(device)
    batches = torch.from_numpy(np.load(data)).to(device)
    step: Step = globals()[name](batches.shape[2], int(features), int(k))
    number = 0
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        begin = clock()
        for _ in range(int(line)):
            step(number, batches[number % len(batches)])
            number += 1
        if device == "cuda":
            torch.cuda.synchronize()
        print(clock() - begin, file=answers, flush=True)


if __name__ == "__main__":
    main()
