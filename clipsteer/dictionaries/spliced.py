"""What a model still makes of images where a dictionary's reconstructions stand for its activations (Tables 3 and 4).

The reconstruction, without what it misses, takes the place of what passes the hook point; so does 0, for comparison.
The forward pass resumes behind it. Of the features themselves: how alike the images are that each answers to, and how
its encoder lies to its direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipsteer.backbones.device import one_thread
from clipsteer.backbones.tokens import token_span
from clipsteer.backbones.zero_shot import zero_shot_logits
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.evaluate import images_at_once
from clipsteer.dictionaries.monosemanticity import Monosemanticity
from clipsteer.dictionaries.numerics import blocks, total
from clipsteer.dictionaries.sparsity import Sparsity
from clipsteer.errors import ClipsteerError

_FEATURES = 4096  # of which encoder and decoder are compared at a time
_UNREAD = "behind this layer the model reads none of the tokens that the dictionary is for"
_FEW = 64  # rows: the bits of a product of fewer may depend on the number of threads


class Batch(NamedTuple):
    """What is stored of n images, of any float type."""

    x: NDArray[np.floating]
    """(n, T, d) at the hook point."""

    stream: NDArray[np.floating] | None
    """(n, T, d), the layer's `resid_post`, where the hook point is another one."""

    embeddings: NDArray[np.floating]
    """(n, p), of the model's own forward pass."""


@dataclass(frozen=True)
class Network:
    """The model from one layer on, and the head that tells classes."""

    resume: Callable[[Tensor], Tensor]
    """The layer's edited `resid_post`, of the tokens `read` (n, T', d), -> image embeddings (n, p)."""
    read: slice
    """The tokens on which the embedding depends there."""
    head: Tensor
    """(K, p), unit rows."""
    logit_scale: float
    """What cosines are multiplied by before the softmax."""
    cls: int | None
    """The place of the CLS token; None where the model has none."""

    def reads(self, own: slice, n_tokens: int) -> bool:
        """Whether the embedding depends on any of the tokens `own`, of so many."""
        places = range(n_tokens)
        return not set(places[own]).isdisjoint(places[self.read])


@torch.no_grad()
def splice(
    dictionary: Dictionary,
    network: Network,
    batches: Iterable[Batch],
    targets: NDArray[np.integer],
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One pass over the images, in which each is embedded with its reconstruction and, if need be, with 0.

    Args:
        dictionary: on the network's device. Only the tokens that it is for are replaced.
        network: see there.
        batches: all images, in order.
        targets: (N,), the class of each image, a row of the head.
        progress: called with the number of images done since the last call.

    Returns:
        JSON values: what is said below (docs/method.md, section 5), and what `Sparsity` has of the tokens.

        - embedding_cosine: mean over images of the cosine of the embeddings with and without the reconstruction
        - ce, ce_reconstruction, ce_zero: mean over images of the cross-entropy of the zero-shot classes: of the model
          itself, with the reconstruction, with 0
        - ce_recovered: 100 (ce_zero - ce_reconstruction) / (ce_zero - ce); None where 0 does no harm
        - spliced_says: only where the embedding depends on none of the dictionary's tokens, why the numbers with the
          reconstruction and with 0 (embedding_cosine, ce_reconstruction, ce_zero, ce_recovered) are None
        - n_classes, logit_scale: of the head
        - reconstruction_bias: sum ||x_hat||^2 / sum x . x_hat over tokens: below 1 where reconstructions are too short
        - decoder_encoder_cosine: mean over features that fire of the cosine of n_j and its column of the encoder
        - monosemanticity: mean over the features that have one; of an image's activation, its mean over tokens
        - monosemanticity_chance: see `Monosemanticity.chance`

    Raises:
        ClipsteerError: there are no images, an image has no class, or an embedding is not finite.
    """
    device = network.head.device
    sums = _Sums(dictionary, network)
    first = 0
    for batch in batches:
        x, embeddings = (_tensor(array, device) for array in (batch.x, batch.embeddings))
        stream = x if batch.stream is None else _tensor(batch.stream, device)
        sums.add(x, stream, embeddings, targets[first : first + len(x)])
        first += len(x)
        if progress is not None:
            progress(len(x))
    if first == 0:
        raise ClipsteerError(
            "activations to put reconstructions into: found none, expected at least one image. Check the split."
        )
    return sums.result(), sums.sparsity.result()


class _Sums:
    """Numbers of each image, and running sums over tokens."""

    def __init__(self, dictionary: Dictionary, network: Network) -> None:
        self.dictionary, self.network = dictionary, network
        self.by_image: dict[str, list[NDArray[np.float64]]] = {
            name: [] for name in ("cosine", "ce", "ce_reconstruction", "ce_zero")
        }
        self.lengths = self.products = 0.0
        self.features = Monosemanticity(dictionary.m, network.head.shape[1], network.head.device)
        # its own tokens are all, those behind CLS, or CLS alone
        self.sparsity = Sparsity(None if dictionary.tokens == "spatial" else network.cls)
        self._blank: Tensor | None = None
        # taken again: pages of memory new to the process cost as much as the sum
        self._room: Tensor | None = None

    def add(
        self, x: Tensor, stream: Tensor, embeddings: Tensor, targets: NDArray[np.integer]
    ) -> None:
        """One batch: (n, T, d) twice, float32, the same tensor where the hook point is `resid_post`; (n, p); (n,)."""
        n_classes = len(self.network.head)
        if len(targets) != len(x) or not ((targets >= 0) & (targets < n_classes)).all():
            raise ClipsteerError(
                f"classes of the images: found {len(targets)} of {len(x)}, expected one of 0 to {n_classes - 1} for "
                "each. Check the data set's labels."
            )
        own = token_span(self.dictionary.tokens, x.shape[1])
        output, activations = self._apply(x[:, own])
        clean = torch.nn.functional.normalize(embeddings.double(), dim=-1)
        self.features.add(activations, clean)
        self._note("ce", self._cross_entropy(embeddings, targets))
        if not self.network.reads(own, x.shape[1]):
            return
        spliced = self._embed(self._replaced(x, stream, own, output))
        rows = torch.nn.functional.normalize(spliced.double(), dim=-1)
        self._note("cosine", (rows * clean).sum(dim=-1).cpu().numpy())
        self._note("ce_reconstruction", self._cross_entropy(spliced, targets))
        self._note("ce_zero", self._cross_entropy(self._zeroed(x, stream, own), targets))

    def _apply(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of (n, t, d): reconstructions (n, t, d), and codes averaged over tokens (n, m)."""
        tokens, d = x.shape[1:]
        outputs, activations = [], []
        step = images_at_once(tokens, self.dictionary.m)
        for low in range(0, len(x), step):
            part = x[low : low + step]
            rows = part.reshape(-1, d)
            with _steady(len(rows)):
                f = self.dictionary.encode(rows)
                y = self.dictionary.decode(f)
            norms, lengths, products = _rows(rows, y)
            self.lengths += float(total(lengths.double().square()))
            self.products += float(total(products))
            each = (len(part), tokens)
            self.sparsity.add(
                _fired(f).int().reshape(each).cpu().numpy(), norms.reshape(each).cpu().numpy()
            )
            outputs.append(y.reshape(part.shape))
            activations.append(f.reshape(len(part), tokens, -1).mean(dim=1))
        return _joined(outputs), _joined(activations)

    def _replaced(self, x: Tensor, stream: Tensor, own: slice, output: Tensor | None) -> Tensor:
        """The stream (n, T', d) that the pass resumes from, once `output`, or 0, stands at its tokens for x."""
        part, below = x[:, own], stream[:, own]
        if stream is not x:  # the MLP's output is only ever added
            there = self._moved(part, below, output)
        else:
            there = torch.zeros_like(part) if output is None else output
        if there.shape[1] < stream.shape[1]:
            changed = stream.clone()
            changed[:, own] = there
            there = changed
        return there[:, self.network.read]

    def _moved(self, part: Tensor, below: Tensor, output: Tensor | None) -> Tensor:
        """below + (output - part), or below - part: (n, t, d), in memory that the next call takes again."""
        if self._room is None or self._room.shape != part.shape:
            self._room = torch.empty_like(part, memory_format=torch.contiguous_format)
        x, stream, room = (values.flatten(0, 1) for values in (part, below, self._room))
        y = None if output is None else output.flatten(0, 1)
        for some in blocks(room):
            if y is None:
                torch.sub(stream[some], x[some], out=room[some])
            else:
                torch.sub(y[some], x[some], out=room[some]).add_(stream[some])
        return self._room

    def _zeroed(self, x: Tensor, stream: Tensor, own: slice) -> Tensor:
        """Embeddings with 0 for x: one for all images where nothing else is left of them."""
        if stream is not x or self.dictionary.tokens != "all":
            return self._embed(self._replaced(x, stream, own, None))
        if self._blank is None:
            self._blank = self._embed(torch.zeros_like(x[:1, self.network.read]))
        return self._blank.expand(len(x), -1)

    def _embed(self, stream: Tensor) -> Tensor:
        with _steady(len(stream)):
            embeddings = self.network.resume(stream)
        if not bool(torch.isfinite(embeddings).all()):
            raise ClipsteerError(
                "an image embedding is NaN or infinite once the reconstruction, or 0, stands for the activations, "
                "expected finite numbers. Check the dictionary for NaN, and the activations' dtype."
            )
        return embeddings

    def _cross_entropy(
        self, embeddings: Tensor, targets: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        with one_thread():
            logits = zero_shot_logits(embeddings, self.network.head, self.network.logit_scale)
        wide = logits.double().cpu().numpy()
        wide -= wide.max(axis=1, keepdims=True)
        own = wide[np.arange(len(wide)), targets]
        return np.asarray(np.log(np.exp(wide, out=wide).sum(axis=1)) - own)

    def _note(self, name: str, values: NDArray[np.float64]) -> None:
        self.by_image[name].append(values)

    def result(self) -> dict[str, Any]:
        """See `splice`."""
        means = {
            name: float(np.concatenate(values).mean()) if values else None
            for name, values in self.by_image.items()
        }
        scores = self.features.scores()
        scores = scores[np.isfinite(scores)]
        fires = ((self.features.high > 0) | (self.features.low < 0)).nonzero()[:, 0]
        return {
            "embedding_cosine": means.pop("cosine"),
            **means,
            "ce_recovered": _recovered(means["ce"], means["ce_reconstruction"], means["ce_zero"]),
            "n_classes": len(self.network.head),
            "logit_scale": self.network.logit_scale,
            "reconstruction_bias": self.lengths / self.products if self.products > 0 else None,
            "decoder_encoder_cosine": _decoder_encoder(self.dictionary, fires),
            "monosemanticity": float(scores.mean()) if len(scores) else None,
            "monosemanticity_chance": self.features.chance(),
            **({} if self.by_image["cosine"] else {"spliced_says": _UNREAD}),
        }


def _recovered(ce: float | None, reconstruction: float | None, zero: float | None) -> float | None:
    """In per cent; None where 0 does no harm, or nothing was replaced."""
    if ce is None or reconstruction is None or zero is None:
        return None
    harm = zero - ce
    return 100 * (zero - reconstruction) / harm if harm > 0 else None


def _decoder_encoder(dictionary: Dictionary, features: Tensor) -> float | None:
    """Mean over features (k,) of the cosine of n_j and column j of the encoder; None where there are none."""
    found = []
    for low in range(0, len(features), _FEATURES):
        few = features[low : low + _FEATURES]
        columns = dictionary.W_enc.index_select(1, few).T.double()
        rows = dictionary.directions(few).double()
        found.append(torch.nn.functional.cosine_similarity(columns, rows, dim=1).cpu().numpy())
    return float(np.concatenate(found).mean()) if len(features) else None


def _rows(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row of x and y, (n, d) both: ||x||, ||y|| and x . y."""
    norm = torch.linalg.vector_norm
    found = [
        (norm(x[some], dim=-1), norm(y[some], dim=-1), torch.linalg.vecdot(y[some], x[some]))
        for some in blocks(x)
    ]
    norms, lengths, products = (torch.cat(parts) for parts in zip(*found, strict=True))
    return norms, lengths, products


def _fired(f: Tensor) -> Tensor:
    """How many f_j > 0, of each row (n, m): (n,), whole numbers."""
    every = list(blocks(f))
    # in float32, exact up to 2^24: integers would take a pass over 8 bytes an entry
    flags = torch.empty_like(f[every[0]])
    return torch.cat(
        [torch.gt(f[some], 0, out=flags[: some.stop - some.start]).sum(dim=1) for some in every]
    )


def _joined(parts: list[Tensor]) -> Tensor:
    """As `torch.cat`, which copies one alone too."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _steady(rows: int) -> AbstractContextManager[None]:
    """In which products of so many rows have the same bits at any number of threads."""
    return one_thread() if rows < _FEW else nullcontext()


def _tensor(array: NDArray[np.floating], device: torch.device) -> Tensor:
    # torch widens 16-bit floats some ten times as fast as numpy does
    return torch.from_numpy(array).to(device, torch.float32)
