"""Probabilities of a sample of images with one feature set to a strength, feature after feature.

Setting feature f to s on a token is x' = x + (s - f(x)) n_f (`clipsteer.steering.intervention`; what a dictionary does
not reconstruct stays in). What is above the edited layer runs again for every pair of feature and image, and how
that is done fast depends on what is above:

- `ResumedPasses`, at any layer: the model's own resumed pass, in batches of one size that are filled with whichever
  feature and image are next.
- `ClosedForm`, behind the last layer of a model whose embedding follows from CLS by a layer norm and a projection: the
  edit moves CLS along one line, so that an embedding is a combination of two vectors, one of the image and one of the
  feature, and its logits are the same combination of their products with the vocabulary, each taken once.

What is needed of the images lies in files, so that memory does not grow with images or features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipsteer.backbones.base import Backbone, Readout
from clipsteer.backbones.device import exact_inference
from clipsteer.dictionaries.base import Dictionary
from clipsteer.errors import ClipsteerError
from clipsteer.steering.steerability import Floats, probabilities, total

# Pairs of feature and image in one resumed pass, and images that are read at a time.
BATCH = 96
# A dictionary's whole code (images, tokens, m) in float32, which Top-K needs, stays below this.
_CODE_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class SteeredPlace:
    """Where is steered, and what is looked at.

    `tokens`: those that are edited; `vocabulary`: unit rows (V, p) on the model's device.
    """

    backbone: Backbone
    layer: int
    dictionary: Dictionary
    tokens: slice
    vocabulary: Tensor

    def probabilities(self, embeddings: Tensor, strength: float) -> Tensor:
        """(n, p) -> (n, V). Raises ClipsteerError for embeddings that are not finite."""
        if not bool(torch.isfinite(embeddings).all()):
            raise ClipsteerError(
                f"steerability.strengths: at {strength:g} an image embedding of layer {self.layer} is not finite; "
                f"expected finite numbers. Take smaller strengths, or model.dtype float32 (it is "
                f"{str(self.backbone.dtype).removeprefix('torch.')}), and look for NaN in the activations."
            )
        return probabilities(embeddings, self.vocabulary, self.backbone.logit_scale)


# (activations at the hook point (n, T, d), resid_post where that is another array).
Activations = tuple[NDArray[np.floating], NDArray[np.floating] | None]


class Stretch(NamedTuple):
    """P~_i of consecutive images of one feature."""

    place: int
    """The feature's place among those asked for."""
    before: Tensor
    """P_i (n, V)."""
    total_before: Floats
    """Their sum (V,)."""
    after: Tensor
    """P~_i (n, V)."""


class Frequency(NamedTuple):
    """On which share of the images, and of their tokens, each feature is above 0, (J,)."""

    images: Floats
    tokens: Floats


class Passes(ABC):
    """A sample of images, steered by any of some features (J,) of a dictionary.

    `batches`: the sample's activations in order, of any number of images each; `folder`: for files of this object.
    """

    block: int
    """How many features are best asked for at a time."""
    numbers: NDArray[np.int64]
    """The features (J,), as the dictionary counts them; `place_of` gives their places back."""
    frequency: Frequency

    def __init__(
        self,
        place: SteeredPlace,
        features: NDArray[np.int64],
        batches: Iterable[Activations],
        folder: Path,
    ) -> None:
        self.place = place
        self.numbers = features
        self.place_of = {feature: at for at, feature in enumerate(features.tolist())}
        self._features = torch.from_numpy(features).to(place.backbone.device)
        folder.mkdir(parents=True)
        self._folder = folder
        self._codes: list[_Rows] = []
        self._before = _Rows(folder / "before")
        self.n_images = 0
        fires = np.zeros(len(features))
        on_tokens = np.zeros(len(features))
        edited = 0
        for hook, base in self._few(batches):
            with exact_inference():
                x = self._tensor(hook)
                code = self._code(x)  # (n, edited tokens, J)
                edited = code.shape[1]
                above = code > 0
                fires += above.any(dim=1).sum(dim=0).cpu().numpy()
                on_tokens += above.sum(dim=(0, 1)).cpu().numpy()
                part = _Rows(folder / f"code_{len(self._codes):05d}")
                part.append(self._kept_code(code).permute(2, 0, 1).contiguous())
                self._codes.append(part)
                self._before.append(self._keep(x if base is None else self._tensor(base)))
            self.n_images += len(hook)
        self.frequency = Frequency(
            fires / max(1, self.n_images), on_tokens / max(1, self.n_images * edited)
        )

    @property
    def entries(self) -> int:
        """V."""
        return len(self.place.vocabulary)

    def stretches(
        self, places: NDArray[np.int64], start: int, stop: int, strength: float
    ) -> Iterator[Stretch]:
        """P~ of images start to stop, for each of the features at some places of (J,), in their order.

        To be called without autograd.
        """
        before = self._tensor(self._before.read(start, stop))
        totals: dict[tuple[int, int], Floats] = {}
        codes = self._tensor(self._read_codes(places, start, stop))
        features = self._features[torch.from_numpy(places).to(self._features.device)]
        for place, low, high, after in self._after(features, codes, start, stop, strength):
            if (low, high) not in totals:
                totals[low, high] = total(before[low:high])
            yield Stretch(place, before[low:high], totals[low, high], after)

    @abstractmethod
    def _keep(self, stream: Tensor) -> Tensor:
        """Notes what is needed of resid_post (n, T, d) of the next images; P of them without an edit (n, V)."""

    @abstractmethod
    def _kept_code(self, code: Tensor) -> Tensor:
        """The tokens of a code (n, edited tokens, J) that matter."""

    @abstractmethod
    def _after(
        self, features: Tensor, codes: Tensor, start: int, stop: int, strength: float
    ) -> Iterator[tuple[int, int, int, Tensor]]:
        """(place, first image, end, P~ of these), images counted from `start`; codes (F, n, tokens)."""

    def _code(self, x: Tensor) -> Tensor:
        """The code of the features on the edited tokens, (n, T, d) -> (n, edited tokens, J)."""
        rows = x[:, self.place.tokens]
        code = self.place.dictionary.encode_columns(
            rows.reshape(-1, rows.shape[2]).contiguous(), self._features
        )
        return code.reshape(*rows.shape[:2], len(self._features))

    def _few(self, batches: Iterable[Activations]) -> Iterator[Activations]:
        """The same in parts whose codes are not too large."""
        for hook, base in batches:
            image = hook.shape[1] * max(self.place.dictionary.m, len(self._features)) * 4
            size = max(1, _CODE_BYTES // image)
            for low in range(0, len(hook), size):
                part = slice(low, low + size)
                yield hook[part], None if base is None else base[part]

    def _read_codes(self, places: NDArray[np.int64], start: int, stop: int) -> NDArray[np.float32]:
        """(F, images, tokens) of images start to stop."""
        found, low = [], 0
        for part in self._codes:
            n = part.item[0]
            if low < stop and low + n > start:
                inside = slice(max(0, start - low), min(n, stop - low))
                found.append(part.pick(places)[:, inside])
            low += n
        return np.concatenate(found, axis=1)

    def _tensor(self, array: NDArray[np.floating]) -> Tensor:
        device = self.place.backbone.device
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)


class ResumedPasses(Passes):
    """By the rest of the model, of whatever kind."""

    block = 4

    def __init__(
        self,
        place: SteeredPlace,
        features: NDArray[np.int64],
        batches: Iterable[Activations],
        folder: Path,
    ) -> None:
        self._read = place.backbone.tokens_read(place.layer)
        self._stream = _Rows(folder / "stream")
        super().__init__(place, features, batches, folder)
        # one for all batches: memory that is new to the process costs as much as the edit
        item = torch.empty(BATCH, *self._stream.item)
        self._batch = item.to(place.backbone.device)

    def _keep(self, stream: Tensor) -> Tensor:
        stream = stream[:, self._read]
        self._stream.append(stream)
        return self.place.probabilities(self._embed(stream), 0.0)

    def _kept_code(self, code: Tensor) -> Tensor:
        return code

    def _embed(self, stream: Tensor) -> Tensor:
        """The embeddings of at most `BATCH` images, by a pass of just so many."""
        short = BATCH - len(stream)
        if short:
            stream = torch.cat([stream, stream[-1:].expand(short, -1, -1)])
        return self.place.backbone.resume(self.place.layer, stream)[: BATCH - short]

    def _after(
        self, features: Tensor, codes: Tensor, start: int, stop: int, strength: float
    ) -> Iterator[tuple[int, int, int, Tensor]]:
        stream = self._tensor(self._stream.read(start, stop))
        directions = self.place.dictionary.directions(features)
        images, tokens = stop - start, stream.shape[1]
        span = range(*self.place.tokens.indices(tokens))  # of those that are read, the edited ones
        for first in range(0, len(features) * images, BATCH):
            pairs = torch.arange(first, min(first + BATCH, len(features) * images))
            pairs = pairs.to(stream.device)
            feature, image = pairs // images, pairs % images
            x = torch.index_select(stream, 0, image, out=self._batch[: len(image)])
            if len(span):
                change = strength - codes[feature, image, : len(span)]
                edited = x[:, span.start : span.stop]
                edited.addcmul_(change[:, :, None], directions[feature][:, None])
            after = self.place.probabilities(self._embed(x), strength)
            done = 0
            while done < len(after):
                at, low = divmod(first + done, images)
                high = min(images, low + len(after) - done)
                yield at, low, high, after[done : done + high - low]
                done += high - low


class ClosedForm(Passes):
    """Behind the last layer, by a formula.

    With x_c = x - mean(x), n_c = n - mean(n) and c = s - f(x), the layer norm of x' = x + c n is

        gain (x_c + c n_c) / sigma + bias,  sigma^2 = (|x_c|^2 + 2 c x_c.n_c + c^2 |n_c|^2) / d + epsilon.

    So the embedding is (a + c v) / sigma + w with a = W gain x_c, v = W gain n_c, w = W bias, and its logits are the
    same of the products of a, v and w with the vocabulary, over its length. Lengths and products are taken in
    float64.
    """

    block = 64

    def __init__(
        self,
        place: SteeredPlace,
        readout: Readout,
        features: NDArray[np.int64],
        batches: Iterable[Activations],
        folder: Path,
    ) -> None:
        self._projection = (readout.projection.double() * readout.gain.double()).T  # (d, p)
        self._words = place.vocabulary.double().T  # (p, V)
        self._offset = readout.projection.double() @ readout.bias.double()  # w (p,)
        self._offset_logits = (self._offset @ self._words).float()
        self._epsilon = readout.epsilon
        # CLS is token 0, if it is edited at all
        self._edited = place.tokens.start == 0
        self._centred, self._products = _Rows(folder / "centred"), _Rows(folder / "products")
        super().__init__(place, features, batches, folder)

    def _keep(self, stream: Tensor) -> Tensor:
        x = stream[:, 0].double()
        centred = x - x.mean(dim=1, keepdim=True)
        products = (centred @ self._projection @ self._words).float()
        self._centred.append(centred.float())
        self._products.append(products)
        nothing = centred.new_zeros(len(centred), 1)
        direction = centred.new_zeros(1, centred.shape[1])
        return self._softmax(self._mixture(centred, direction, nothing), 0, products, None)

    def _kept_code(self, code: Tensor) -> Tensor:
        return code[:, :1]

    def _after(
        self, features: Tensor, codes: Tensor, start: int, stop: int, strength: float
    ) -> Iterator[tuple[int, int, int, Tensor]]:
        centred = self._tensor(self._centred.read(start, stop)).double()
        products = self._tensor(self._products.read(start, stop))
        rows = self.place.dictionary.directions(features).double()
        rows = rows - rows.mean(dim=1, keepdim=True)
        change = (strength - codes[:, :, 0].double().T) * self._edited  # c (n, F)
        mixture = self._mixture(centred, rows, change)
        of_features = (rows @ self._projection @ self._words).float()  # (F, V)
        for place in range(len(features)):
            yield place, 0, stop - start, self._softmax(mixture, place, products, of_features)

    def _mixture(self, centred: Tensor, rows: Tensor, change: Tensor) -> tuple[Tensor, ...]:
        """The shares (n, F) of a's, v's and w's products in the logits: x_c (n, d), n_c (F, d), c (n, F)."""
        a, v, w = centred @ self._projection, rows @ self._projection, self._offset
        d = centred.shape[1]

        def length(x: Tensor, y: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
            """|x + c y|^2 (n, F)."""
            return xx[:, None] + 2 * change * (x @ y.T) + change.square() * yy

        squares = [part.square().sum(dim=1) for part in (centred, rows, a, v)]
        variance = length(centred, rows, squares[0], squares[1]) / d
        sigma = (variance + self._epsilon).sqrt()
        along = (a @ w)[:, None] + change * (v @ w)
        square = length(a, v, squares[2], squares[3]) / sigma.square() + 2 * along / sigma + w @ w
        scale = self.place.backbone.logit_scale / square.sqrt()
        if not bool(torch.isfinite(scale).all()):
            raise ClipsteerError(
                f"activations: of layer {self.place.layer}, an image embedding is not finite; expected finite numbers. "
                "Look for NaN in the activations and in the dictionary, and take smaller steerability.strengths."
            )
        return scale / sigma, scale * change / sigma, scale

    def _softmax(
        self, mixture: tuple[Tensor, ...], place: int, products: Tensor, of_features: Tensor | None
    ) -> Tensor:
        of_image, of_feature, of_offset = (part[:, place].float() for part in mixture)
        logits = products * of_image[:, None]
        shares, parts = of_offset[:, None], self._offset_logits[None]
        if of_features is not None:
            shares = torch.stack([of_feature, of_offset], dim=1)
            parts = torch.stack([of_features[place], self._offset_logits])
        return logits.addmm_(shares, parts).softmax(dim=1)


def passes(
    place: SteeredPlace, features: NDArray[np.int64], batches: Iterable[Activations], folder: Path
) -> Passes:
    """The fastest that there is for a place."""
    readout = place.backbone.readout()
    if readout is not None and place.layer == place.backbone.n_layers - 1:
        return ClosedForm(place, readout, features, batches, folder)
    return ResumedPasses(place, features, batches, folder)


class _Rows:
    """Rows of float32 of one shape in a file, appended and read run by run: nothing of it stays in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.item: tuple[int, ...] = ()

    def append(self, rows: Tensor) -> None:
        self.item = tuple(rows.shape[1:])
        with self._path.open("ab") as file:
            rows.float().contiguous().cpu().numpy().tofile(file)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        size = int(np.prod(self.item))
        found = np.fromfile(self._path, np.float32, (stop - start) * size, offset=4 * start * size)
        return found.reshape(stop - start, *self.item)

    def pick(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some rows, in their order."""
        if len(rows) and (np.diff(rows) == 1).all():
            return self.read(int(rows[0]), int(rows[-1]) + 1)
        return np.concatenate([self.read(row, row + 1) for row in rows.tolist()])
