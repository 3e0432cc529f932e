"""What every dictionary can do: encode an activation, decode a code, give unit directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from clipsteer.backbones.tokens import Tokens
from clipsteer.dictionaries.codes import Codes
from clipsteer.errors import ClipsteerError


class Dictionary:
    """Unit directions n_j and an encoder that says how much of each is in an activation.

    The notation is that of the paper: x is one token's activation (d,), f(x) its code (m,).

        pre = (x - b_dec) W_enc + b_enc      f = activate(pre)      x_hat = f W_dec + b_dec

    Attributes:
        W_enc: encoder weights (d, m), float32.
        b_enc: encoder bias (m,), float32.
        W_dec: decoder weights (m, d), float32; row j is the direction n_j, of unit norm.
        b_dec: decoder bias (d,), float32.
    """

    architecture: ClassVar[str]
    trainable: ClassVar[bool] = True
    #: Of all tensors; beside these four each is one number per feature, (m,).
    NAMES: ClassVar[tuple[str, ...]] = ("W_enc", "b_enc", "W_dec", "b_dec")

    #: What it was trained on; it has nothing to say about other tokens.
    tokens: Tokens = "all"

    def __init__(self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor) -> None:
        self.W_enc = W_enc
        self.b_enc = b_enc
        self.W_dec = W_dec
        self.b_dec = b_dec
        check_shapes(self.d, self.m, self.tensors(), "the dictionary", self.NAMES)

    @classmethod
    def build(
        cls, d: int, m: int, tensors: Mapping[str, Tensor], options: Mapping[str, Any]
    ) -> Self:
        """Make a dictionary from named tensors and its architecture's own `options()`."""
        check_shapes(d, m, tensors, "the dictionary", cls.NAMES)
        return cls(**tensors, **options)

    @property
    def d(self) -> int:
        """Width of the activations."""
        return int(self.W_dec.shape[1])

    @property
    def m(self) -> int:
        """Number of features."""
        return int(self.W_dec.shape[0])

    def tensors(self) -> dict[str, Tensor]:
        """The named tensors that make this dictionary; the live ones, not copies."""
        return {name: getattr(self, name) for name in self.NAMES}

    @property
    def levels(self) -> tuple[int, ...]:
        """How many of the first features describe an activation by themselves, in training: one level has all."""
        return (self.m,)

    def followed(self, threshold: float | None, weight: float) -> float | None:
        """A running mean over training's last batches, of which the last counts by `weight`: of nothing here."""
        return threshold

    def finished(self, threshold: float | None) -> Dictionary:
        """What is used once it is trained: itself, but where training chooses among the tokens of a batch."""
        return self

    def options(self) -> dict[str, Any]:
        """What the architecture needs beside its tensors, as JSON values."""
        return {}

    def activate(self, pre: Tensor) -> Tensor:
        """Codes (n, m) from pre-activations (n, m). May overwrite `pre` and return it."""
        raise NotImplementedError

    def pre_activations(self, x: Tensor) -> Tensor:
        """(x - b_dec) W_enc + b_enc: (n, d) -> (n, m)."""
        return torch.addmm(self.b_enc, x - self.b_dec, self.W_enc)

    def dense_code(self, centred: Tensor) -> Tensor:
        """The code of x - b_dec, every feature of it: (n, d) -> (n, m)."""
        return self.activate(torch.addmm(self.b_enc, centred, self.W_enc))

    def code(self, centred: Tensor) -> Tensor | Codes:
        """The code of x - b_dec in training, for which only what fired counts.

        A list of that where it is faster, else (n, m).
        """
        return self.dense_code(centred)

    def encode(self, x: Tensor) -> Tensor:
        """Codes of activations: (n, d) -> (n, m), non-negative for every SAE."""
        return self.activate(self.pre_activations(x))

    def encode_columns(self, x: Tensor, features: Tensor) -> Tensor:
        """The codes of some features only: (n, d), int64 (c,) -> (n, c).

        The same numbers as `encode(x)[:, features]`: bit-equal where the architecture computes all
        columns anyway, else up to the rounding of a matrix product over fewer columns.
        """
        return self.encode(x).index_select(1, features)

    def decode(self, f: Tensor) -> Tensor:
        """Reconstructions f W_dec + b_dec: (n, m) -> (n, d)."""
        return torch.addmm(self.b_dec, f, self.W_dec)

    def directions(self, features: Tensor) -> Tensor:
        """The unit rows n_j of some features: int64 (c,) -> (c, d)."""
        return self.W_dec.index_select(0, features)

    def to(self, device: torch.device | str) -> Self:
        """The same dictionary on another device."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        there = type(self).build(self.d, self.m, moved, self.options())
        there.tokens = self.tokens
        return there


def shapes(d: int, m: int, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shape of each named tensor of a dictionary."""
    known: dict[str, tuple[int, ...]] = {"W_enc": (d, m), "W_dec": (m, d), "b_dec": (d,)}
    return {name: known.get(name, (m,)) for name in names}


def check_shapes(
    d: int,
    m: int,
    tensors: Mapping[str, Tensor],
    where: str,
    names: Sequence[str] = Dictionary.NAMES,
) -> None:
    """Refuse missing, extra or misshapen tensors with a message that names `where` and the tensor.

    Raises:
        ClipsteerError: always before anything is computed with a wrong tensor.
    """
    missing = sorted(set(names) - set(tensors))
    extra = sorted(set(tensors) - set(names))
    if missing or extra:
        raise ClipsteerError(
            f"{where}: tensors missing: {missing or 'none'}, unexpected: {extra or 'none'}. "
            f"Expected exactly {list(names)}. Save it again or import it with the right importer."
        )
    expected = shapes(d, m, names)
    for name in names:
        found = tuple(tensors[name].shape)
        if found != expected[name]:
            raise ClipsteerError(
                f"{where}: {name} has shape {found}, expected {expected[name]} for d = {d}, "
                f"m = {m}. A transposed encoder (m, d) must be transposed by its importer."
            )
