"""Reconstructions by the first features alone, of every prefix of a dictionary: for Matryoshka training.

The loss is the mean over prefixes p of the loss of x_hat_p = f[:, :p] W_dec[:p] + b_dec. A feature between two prefixes
takes part in all reconstructions from the second on; so its gradient goes by the sum of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.codes import Codes, decode
from clipsteer.dictionaries.numerics import total
from clipsteer.dictionaries.vanilla import Vanilla


class Part(NamedTuple):
    """The features from one prefix to the next."""

    dictionary: Dictionary
    """Views of their weights."""

    code: Tensor | Codes
    """Theirs alone, counted from the first of them."""


class Nested(NamedTuple):
    """What all reconstructions give together."""

    residual: Tensor
    """x - x_hat of all features, (n, d)."""

    mse: Tensor
    """Mean of the reconstruction losses."""

    by_output: list[Tensor]
    """Gradient of the loss by what each part adds to an output, (n, d) each; the first is that by b_dec too."""


def parts(dictionary: Dictionary, f: Tensor | Codes) -> list[Part]:
    """The parts of a dictionary and of a code, one for each of its `levels`."""
    return list(_parts(dictionary, f))


def _parts(dictionary: Dictionary, f: Tensor | Codes) -> Iterator[Part]:
    low = 0
    for high in dictionary.levels:
        some = slice(low, high)
        weights = Vanilla(
            dictionary.W_enc[:, some],
            dictionary.b_enc[some],
            dictionary.W_dec[some],
            dictionary.b_dec,
        )
        yield Part(weights, _between(f, low, high) if isinstance(f, Codes) else f[:, some])
        low = high


def _between(codes: Codes, low: int, high: int) -> Codes:
    """The entries of some features, which count from 0."""
    inside = (codes.feature >= low) & (codes.feature < high)
    before = torch.nn.functional.pad(inside.cumsum(0), (1, 0)).to(codes.start.dtype)
    return Codes(before[codes.start.long()], codes.feature[inside] - low, codes.value[inside])


def reconstruct(found: list[Part], x: Tensor, weights: Tensor) -> Nested:
    """All reconstructions of x (n, d), each part adding to the one before; `weights` (n, 1) of the loss."""
    output = found[0].dictionary.b_dec.expand_as(x)
    residual, mse = x, x.new_zeros((), dtype=torch.float64)
    own = []
    for part in found:
        W_dec, code = part.dictionary.W_dec, part.code
        output = output + (decode(code, W_dec) if isinstance(code, Codes) else code @ W_dec)
        residual = x - output
        mse = mse + total(torch.linalg.vecdot(residual, residual) * weights.squeeze(1))
        own.append(residual * (weights * (-2.0 / len(found))))
    for place in range(len(own) - 2, -1, -1):  # a part is in every output after it
        own[place] = own[place] + own[place + 1]
    return Nested(residual, mse / len(found), own)
