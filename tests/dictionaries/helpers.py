"""Small dictionaries, and formulas written again in numpy float64, one token at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.vanilla import Vanilla


def drawn(m: int, d: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random float64 weights without any symmetry between encoder and decoder; W_dec's rows are unit."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    decoder = draw(m, d)
    return {
        "W_enc": draw(d, m) * 0.4,
        "b_enc": draw(m) * 0.2,
        "W_dec": decoder / decoder.norm(dim=1, keepdim=True),
        "b_dec": draw(d) * 0.5,
    }


def make(
    kind: str,
    d: int = 7,
    m: int = 20,
    k: int = 4,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Dictionary:
    """A dictionary of `drawn` weights."""
    tensors = {name: tensor.to(dtype) for name, tensor in drawn(m, d, seed).items()}
    return Vanilla(**tensors) if kind == "vanilla" else TopK(**tensors, k=k)


def tokens(n: int, d: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Random activations (n, d) off the origin."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, d, generator=generator, dtype=torch.float64) * 1.5 + 0.3).to(dtype)


def encode(dictionary: Dictionary, x: torch.Tensor) -> np.ndarray:
    """Codes by loops: (n, d) -> (n, m)."""
    encoder, bias = dictionary.W_enc.double().numpy(), dictionary.b_enc.double().numpy()
    offset = dictionary.b_dec.double().numpy()
    codes = np.zeros((len(x), dictionary.m))
    for i, token in enumerate(x.double().numpy()):
        pre = [
            sum((token[c] - offset[c]) * encoder[c, j] for c in range(dictionary.d)) + bias[j]
            for j in range(dictionary.m)
        ]
        k = dictionary.options().get("k", dictionary.m)
        kept = sorted(range(dictionary.m), key=lambda j: (-pre[j], j))[:k]
        for j in kept:
            codes[i, j] = max(pre[j], 0.0)
    return codes


def decode(dictionary: Dictionary, codes: np.ndarray) -> np.ndarray:
    """Reconstructions by loops: (n, m) -> (n, d)."""
    decoder, offset = dictionary.W_dec.double().numpy(), dictionary.b_dec.double().numpy()
    out = np.zeros((len(codes), dictionary.d))
    for i, code in enumerate(codes):
        out[i] = offset
        for j, value in enumerate(code):
            out[i] += value * decoder[j]
    return out


def planted(
    atoms: np.ndarray, *, batch: int, active: int, seed: int, noise: float = 0.01
) -> Iterator[np.ndarray]:
    """Endless batches of sparse non-negative mixtures of `atoms` (a, d), float32 (batch, d)."""
    rng = np.random.default_rng(seed)
    count = len(atoms)
    while True:
        chosen = rng.random((batch, count)).argpartition(active, axis=1)[:, :active]
        codes = np.zeros((batch, count))
        np.put_along_axis(codes, chosen, rng.uniform(0.5, 1.5, (batch, active)), axis=1)
        mixed = codes @ atoms + noise * rng.standard_normal((batch, atoms.shape[1])) + 0.2
        yield mixed.astype(np.float32)


def unit_rows(rows: int, d: int, seed: int) -> np.ndarray:
    """Random unit rows (rows, d)."""
    drawn = np.random.default_rng(seed).standard_normal((rows, d))
    unit: np.ndarray = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit
