"""Interventions: what is done to a model so that it heeds an attribute less. One type for method and baselines.

- `NoEdit`: nothing.
- Edits of the residual stream, `apply(x, tokens) -> x'`: `FeatureEdit` (SAE features and neurons, ablation
  and steering) and `AffineEdit` (directions and subspaces).
- Edits behind the model, `scores(embeddings, head)`: `ClassBias` and `LinearHead`.

The code of each is its formula. That of features:

    x' = origin(x) + sum_{j in F} (s_j - f_j(x)) n_j

`error_term="keep"`: origin(x) = x, so the dictionary's error stays in. `"drop"`: origin(x) =
decode(f(x)), which makes x' = decode(f') with f'_j = s_j on F, since decoding is affine and the n_j
are its rows. Ablation is s = 0. The code is taken once, from x: Top-K is not re-applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from clipsteer.backbones.tokens import Tokens, token_span
from clipsteer.backbones.zero_shot import zero_shot_logits
from clipsteer.dictionaries.base import Dictionary

ErrorTerm = Literal["keep", "drop"]
Features = np.ndarray | torch.Tensor | Sequence[int]

# Kinds of tokens that have an affine map of their own: CLS is no patch, and lies elsewhere.
TokenKind = Literal["cls", "spatial"]
TOKEN_KINDS: tuple[TokenKind, TokenKind] = ("cls", "spatial")

# Features are summed in blocks of this many, in the order given. The order and the cut are part of
# the result's bits: a set and a prefix of a sweep with the same features get the same sum.
SUM_BLOCK = 512


@dataclass(frozen=True)
class NoEdit:
    """The model as it is."""

    def apply(self, x: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """x itself."""
        return x


@dataclass(frozen=True, eq=False)
class FeatureEdit:
    """Features of a dictionary set to a strength: 0 is ablation."""

    dictionary: Dictionary
    features: np.ndarray
    strength: float = 0.0
    error_term: ErrorTerm = "keep"

    def apply(self, x: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """x (n, T, d) -> x' (n, T, d), see `edit`."""
        return edit(
            x,
            self.dictionary,
            self.features,
            strength=self.strength,
            tokens=tokens,
            error_term=self.error_term,
        )


def ablation(
    dictionary: Dictionary, features: np.ndarray, error_term: ErrorTerm = "keep"
) -> FeatureEdit | NoEdit:
    """Features (|F|,) set to 0; an empty set is no intervention."""
    return FeatureEdit(dictionary, features, error_term=error_term) if len(features) else NoEdit()


class Affine(NamedTuple):
    """x' = x - scale * ((x - mu) A) B^T, with `mu` (d,), `a` and `b` (d, r)."""

    mu: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor

    def moved(self, rows: torch.Tensor, scale: float) -> torch.Tensor:
        """x' of rows x (n, d), in their own precision."""
        mu, a, b = (part.to(rows) for part in self)
        return rows - scale * ((rows - mu) @ a) @ b.T


@dataclass(frozen=True, eq=False)
class AffineEdit:
    """An affine map of each token, one for CLS and one for spatial tokens; of a model without CLS, only these."""

    maps: Mapping[TokenKind, Affine]
    scale: float = 1.0

    def apply(self, x: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """x (n, T, d), CLS, if any, first -> x' (n, T, d); tokens other than `tokens` pass unchanged."""
        result = x.clone()
        for kind, affine in self.maps.items():
            span = token_span(kind if "cls" in self.maps else "all", x.shape[1])
            if tokens in ("all", kind) and span.start < span.stop:
                rows = x[:, span].reshape(-1, x.shape[2])
                moved = affine.moved(rows, self.scale)
                result[:, span] = moved.reshape(len(x), -1, x.shape[2])
        return result


def projection(basis: torch.Tensor) -> AffineEdit:
    """The orthogonal projection of every token off the span of `basis` (d, r), orthonormal columns."""
    off = Affine(basis.new_zeros(len(basis)), basis, basis)
    return AffineEdit({"cls": off, "spatial": off})


@dataclass(frozen=True, eq=False)
class ClassBias:
    """Zero-shot scores (cosines) plus a bias for each class (K,)."""

    bias: torch.Tensor

    def scores(self, embeddings: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """Embeddings (n, p), head (K, p) -> scores (n, K) in float64."""
        return zero_shot_logits(embeddings, head).double() + self.bias.to(head.device)


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A head of its own on unit embeddings: weights (p, K) and bias (K,) in place of class names."""

    weights: torch.Tensor
    bias: torch.Tensor

    def scores(self, embeddings: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """Embeddings (n, p) -> scores (n, K) in float64; the zero-shot head is not asked."""
        units = torch.nn.functional.normalize(embeddings.double(), dim=-1)
        return units @ self.weights.to(units) + self.bias.to(units)


StreamEdit = NoEdit | FeatureEdit | AffineEdit
ReadoutEdit = ClassBias | LinearHead
Intervention = StreamEdit | ReadoutEdit


def predict_readout(edit: ReadoutEdit, embeddings: torch.Tensor, head: torch.Tensor) -> np.ndarray:
    """Classes (N,) int16 of embeddings (N, p) under an edit behind the model."""
    with torch.inference_mode():
        return edit.scores(embeddings, head).argmax(dim=-1).cpu().numpy().astype(np.int16)


def edit(
    x: torch.Tensor,
    dictionary: Dictionary,
    features: Features,
    *,
    strength: float | torch.Tensor = 0.0,
    tokens: Tokens = "all",
    error_term: ErrorTerm = "keep",
) -> torch.Tensor:
    """x (n, T, d), CLS first where there is one -> x' (n, T, d), with the features F set to `strength` on `tokens`.

    `features` (|F|,): distinct indices below m. `strength`: a number, or a tensor (|F|,). Other
    tokens pass unchanged. With F empty and the error term kept, x itself comes back.
    Raises ValueError for indices that are repeated or out of range.
    """
    columns = feature_index(features, dictionary.m, x.device)
    span = token_span(tokens, x.shape[1])
    if span.start == span.stop or (len(columns) == 0 and error_term == "keep"):
        return x
    origin, code = origin_and_code(x[:, span].flatten(0, 1), dictionary, columns, error_term)
    return replaced(x, span, origin, weighted_sum(strength - code, dictionary.directions(columns)))


def replaced(
    x: torch.Tensor, span: slice, origin: torch.Tensor, change: torch.Tensor | None
) -> torch.Tensor:
    """x (n, T, d) with origin + change (rows, d), of all images' tokens in `span`, in their place; no change: None."""
    result = x.clone()
    moved = origin if change is None else origin + change
    result[:, span] = moved.reshape(len(x), -1, x.shape[2])
    return result


def in_stream(edited: torch.Tensor, x: torch.Tensor, stream: torch.Tensor) -> torch.Tensor:
    """resid_post once x at the hook point has become `edited`, all (..., d), with `stream` what it was.

    x itself is the stream where the hook point is `resid_post`; else its change is added.
    """
    return edited if stream is x else stream + (edited - x)


def origin_and_code(
    rows: torch.Tensor, dictionary: Dictionary, columns: torch.Tensor, error_term: ErrorTerm
) -> tuple[torch.Tensor, torch.Tensor]:
    """rows (r, d) -> where the edit starts from (r, d), and the code's columns (r, |columns|)."""
    if error_term == "keep":
        return rows, dictionary.encode_columns(rows, columns)
    if error_term == "drop":
        code = dictionary.encode(rows)
        return dictionary.decode(code), code.index_select(1, columns)
    raise ValueError(f"error_term must be 'keep' or 'drop', not {error_term!r}")


def weighted_sum(
    weights: torch.Tensor, directions: torch.Tensor, taken: torch.Tensor | None = None
) -> torch.Tensor | None:
    """weights (r, k), directions (k, d) -> their product (r, d), block by block; None for k = 0.

    Of those features alone that are `taken` (int64), where that is given, and in its order.
    """
    total: torch.Tensor | None = None
    for start in range(0, weights.shape[1] if taken is None else len(taken), SUM_BLOCK):
        part = slice(start, start + SUM_BLOCK)
        if taken is None:
            block = weights[:, part], directions[part]
        else:
            block = weights.index_select(1, taken[part]), directions[taken[part]]
        total = add_block(total, *block)
    return total


def add_block(
    total: torch.Tensor | None, weights: torch.Tensor, directions: torch.Tensor
) -> torch.Tensor:
    """total (r, d) + weights (r, k) @ directions (k, d), as a new tensor."""
    # Contiguous, so that the product's bits do not depend on where the block was cut from.
    product = weights.contiguous() @ directions.contiguous()
    return product if total is None else total + product


def feature_index(features: Features, m: int, device: torch.device) -> torch.Tensor:
    """Feature numbers as a LongTensor (|F|,) on `device`.

    Raises ValueError for numbers that are no integers, repeated, or not in 0..m-1.
    """
    if isinstance(features, torch.Tensor):
        features = features.cpu().numpy()
    index = np.asarray(features).reshape(-1)
    if index.size == 0:
        return torch.zeros(0, dtype=torch.long, device=device)
    if not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"feature indices must be integers, not {index.dtype}")
    if index.min() < 0 or index.max() >= m:
        raise ValueError(f"feature indices must be in 0..{m - 1}")
    if len(np.unique(index)) != len(index):
        raise ValueError("a feature set holds each feature once")
    return torch.from_numpy(index.astype(np.int64)).to(device)
