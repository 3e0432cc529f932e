"""What the features of a place do in single images: the most active ones, patch by patch, and each one's ablation.

Of an image with activations x (T, d) and code f(x) (T, m) at the place, both from its pixels:

- its features: those of the largest mean |f_j| over the tokens, and as many of those that were selected there;
- of each token the features of the largest f_j above 0;
- the class probabilities of the model alone, with each of its features ablated by itself, with each selected set
  ablated, and those of its pair, where it has one: what an ideal edit would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.device import one_thread
from clipsteer.backbones.tokens import Tokens, token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.tokens import suited
from clipsteer.steering.controls import random_orders
from clipsteer.steering.intervention import (
    ErrorTerm,
    in_stream,
    origin_and_code,
    replaced,
    weighted_sum,
)

if TYPE_CHECKING:
    from PIL.Image import Image

PER_TOKEN = 3
"""Features that are kept of each token."""

# Images of one forward pass.
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Site:
    """A dictionary at its place in a model with a zero-shot head (K, p), and how it is edited there."""

    model: Backbone
    head: Tensor
    dictionary: Dictionary
    layer: int
    hook_point: str
    tokens: Tokens = "all"
    error_term: ErrorTerm = "keep"

    def passed(self, images: Sequence[Image]) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings (n, p) of images, x (n, T, d) at the hook point, and resid_post, x itself where that is it."""
        points = sorted({self.hook_point, "resid_post"})
        embeddings, kept = self.model.run(self.model.pixels(images), points)
        found = {point: kept[point][self.layer].float() for point in points}
        return embeddings, found[self.hook_point], found["resid_post"]


@dataclass(frozen=True)
class Active:
    """A feature in one image. `ablated`: class probabilities (K) without it; `on_pair`: its mean on the pair."""

    feature: int
    mean: float
    largest: float
    cls: float | None
    patches: list[float]
    ablated: list[float]
    on_pair: float | None


@dataclass(frozen=True)
class Ablated:
    """A selected set: how many of its features fire on the image, and the class probabilities (K) without the set."""

    firing: int
    probabilities: list[float]


@dataclass(frozen=True)
class View:
    """One image at one place. `pair`: class probabilities (K) of its pair; `tokens`: of each the strongest features."""

    probabilities: list[float]
    pair: list[float] | None
    features: list[Active]
    tokens: list[list[tuple[int, float]]]
    sets: dict[str, Ablated]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def drawn_evenly(groups: np.ndarray, count: int, seed: int) -> list[int]:
    """`count` of the images whose groups (N,) are given, in a random order of them, as many of each group as can be."""
    (order,) = random_orders(len(groups), [seed])
    rank = np.empty(len(groups), np.int64)
    for group in np.unique(groups):
        own = order[groups[order] == group]
        rank[own] = np.arange(len(own))  # the first of each group come before any second one
    place = np.argsort(order, kind="stable")
    drawn: list[int] = np.lexsort((place, rank))[:count].tolist()
    return drawn


def image_views(
    site: Site,
    images: Sequence[Image],
    pairs: Mapping[int, Image],
    sets: Mapping[str, Sequence[int]],
    count: int,
) -> list[View]:
    """The view of each image.

    Args:
        site: where it is looked.
        images: in mode RGB.
        pairs: by the number of the image that each belongs to.
        sets: condition -> the features that were selected there.
        count: how many features at most, and how many of the selected ones.
    """
    whole = _passed(site, [*images, *pairs.values()])
    selected = sorted({int(j) for features in sets.values() for j in features})
    second = {number: len(images) + at for at, number in enumerate(pairs)}
    found = []
    with torch.inference_mode(), one_thread():
        codes = [_code(site, x) for x in whole.x]
        for number in range(len(images)):
            code, pair = codes[number], second.get(number)
            chosen = _chosen(code, selected, count)
            edits = [[j] for j in chosen] + [list(features) for features in sets.values()]
            changed = _probabilities(site, whole, number, edits)
            found.append(
                View(
                    whole.probabilities[number].tolist(),
                    None if pair is None else whole.probabilities[pair].tolist(),
                    [
                        _active(site, code, j, ablated, None if pair is None else codes[pair])
                        for j, ablated in zip(chosen, changed, strict=False)
                    ],
                    _strongest(code),
                    {
                        name: Ablated(int((code[:, list(features)] > 0).any(dim=0).sum()), shares)
                        for (name, features), shares in zip(
                            sets.items(), changed[len(chosen) :], strict=True
                        )
                    },
                )
            )
    return found


@dataclass(frozen=True, eq=False)
class _Passed:
    """What a forward pass of all images left.

    `x` (N, T, d) at the hook point, `stream` (N, T, d) behind the layer, x itself where the hook point is
    `resid_post`; `probabilities` (N, K).
    """

    x: Tensor
    stream: Tensor
    probabilities: Tensor

    def one(self, number: int) -> tuple[Tensor, Tensor]:
        """`x` and `stream` of one image, each (1, T, d)."""
        x = self.x[number : number + 1]
        return x, x if self.stream is self.x else self.stream[number : number + 1]


def _passed(site: Site, images: Sequence[Image]) -> _Passed:
    parts = []
    for start in range(0, len(images), _BATCH):
        embeddings, x, stream = site.passed(images[start : start + _BATCH])
        parts.append((x, stream, site.model.probabilities(embeddings, site.head).cpu()))
    x, stream, shares = (torch.cat(part) for part in zip(*parts, strict=True))
    return _Passed(x, x if site.hook_point == "resid_post" else stream, shares)


def _code(site: Site, x: Tensor) -> Tensor:
    """Of one image's activations (T, d) the code (T, m); 0 on tokens that the dictionary is not for."""
    dictionary = suited(site.dictionary.to(x.device), site.model.cls)
    code = dictionary.encode(x)
    span = token_span(dictionary.tokens, len(x))
    return torch.cat([code[: span.start] * 0, code[span], code[span.stop :] * 0]).cpu()


def _chosen(code: Tensor, selected: list[int], count: int) -> list[int]:
    """The features of the largest mean |f|, and of the selected ones; what does not fire is left out."""
    mean = code.abs().mean(dim=0).numpy()
    order = np.argsort(-mean, kind="stable")
    own = [j for j in order[np.isin(order, selected)].tolist()[:count] if mean[j]]
    most = [j for j in order[:count].tolist() if mean[j]]
    return list(dict.fromkeys([*most, *own]))


def _active(site: Site, code: Tensor, j: int, ablated: list[float], pair: Tensor | None) -> Active:
    values, cls = code[:, j], site.model.cls
    patches = values if cls is None else torch.cat([values[:cls], values[cls + 1 :]])
    return Active(
        j,
        float(values.mean()),
        float(values.max()),
        None if cls is None else float(values[cls]),
        patches.tolist(),
        ablated,
        None if pair is None else float(pair[:, j].mean()),
    )


def _strongest(code: Tensor) -> list[list[tuple[int, float]]]:
    order = np.argsort(-code.numpy(), axis=1, kind="stable")[:, :PER_TOKEN]
    return [
        [(int(j), float(values[j])) for j in best if values[j] > 0]
        for values, best in zip(code, order, strict=True)
    ]


def _probabilities(
    site: Site, whole: _Passed, number: int, edits: Sequence[Sequence[int]]
) -> list[list[float]]:
    """Class probabilities (K) of an image with each of some sets of features ablated; its code is taken once.

    An empty set is no intervention at all, as in `clipsteer.steering.ablation`.
    """
    x, stream = whole.one(number)
    filled = [edit for edit in edits if len(edit)]
    if not filled:
        return [whole.probabilities[number].tolist() for _ in edits]
    dictionary = suited(site.dictionary.to(x.device), site.model.cls)
    span = token_span(site.tokens, x.shape[1])
    columns = torch.tensor(sorted({j for edit in filled for j in edit}), device=x.device)
    origin, code = origin_and_code(x[0, span], dictionary, columns, site.error_term)
    directions, edited = dictionary.directions(columns), []
    for edit in filled:
        at = torch.searchsorted(columns, torch.tensor(edit, device=x.device))
        changed = replaced(x, span, origin, weighted_sum(-code, directions, at))
        edited.append(in_stream(changed, x, stream))
    embeddings = site.model.resume(site.layer, torch.cat(edited))
    shares = iter(site.model.probabilities(embeddings, site.head).cpu().tolist())
    return [next(shares) if len(edit) else whole.probabilities[number].tolist() for edit in edits]
