"""The zero-shot head that an edit is judged by, and heads of other attributes that are asked of the same embeddings."""

from __future__ import annotations

import numpy as np
import torch

from clipsteer.backbones.zero_shot import zero_shot_logits


class Heads:
    """A head (K, p) and A heads of two prompts each beside it (A, 2, p), unit rows, on one device.

    An image's classes under all of them are one number, its code, so that one sweep serves all: the class
    is the code's remainder by K, and the bits of the quotient are the other heads' answers. Without other heads
    a code is a class.
    """

    def __init__(self, head: torch.Tensor, others: torch.Tensor | None = None) -> None:
        self._head = head
        self._others = head.new_zeros(0, 2, head.shape[1]) if others is None else others.to(head)
        if len(head) << len(self._others) > 2**31 - 1:
            raise ValueError(
                f"{len(head)} classes and {len(self._others)} other heads have no code"
            )

    @property
    def readings(self) -> np.dtype[np.void]:
        """The form of what `read` gives of an image."""
        return np.dtype([("code", np.int32), ("scores", np.float32, (len(self._head),))])

    def read(self, embeddings: torch.Tensor) -> np.ndarray:
        """Of embeddings (n, p): (n,) of `readings`, the codes with the cosines that classes are told from."""
        scores = zero_shot_logits(embeddings, self._head)
        found = np.empty(len(embeddings), self.readings)
        found["code"] = self._codes(embeddings, scores)
        found["scores"] = scores.cpu().numpy()
        return found

    def codes(self, embeddings: torch.Tensor) -> np.ndarray:
        """Of embeddings (n, p): (n,) int64. Each class is the one of the largest cosine, of equals the first."""
        return self._codes(embeddings, zero_shot_logits(embeddings, self._head))

    def _codes(self, embeddings: torch.Tensor, scores: torch.Tensor) -> np.ndarray:
        codes = scores.argmax(dim=-1)
        for place, head in enumerate(self._others):
            # products of their own, as a product's bits may depend on its columns
            answers = zero_shot_logits(embeddings, head).argmax(dim=-1)
            codes = codes + len(self._head) * answers * 2**place
        return np.asarray(codes.cpu().numpy())

    def classes(self, codes: np.ndarray) -> np.ndarray:
        """The classes of codes, in their shape, int16."""
        return np.asarray(codes % len(self._head)).astype(np.int16)

    def others(self, codes: np.ndarray) -> np.ndarray:
        """The other heads' answers of codes (...,): (..., A), 0 or 1."""
        bits = np.asarray(codes)[..., None] // len(self._head) >> np.arange(len(self._others))
        return np.asarray(bits & 1).astype(np.int8)
