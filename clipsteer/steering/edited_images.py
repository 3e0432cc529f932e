"""What ablating a selected set does to each image, and which few images show it: chosen by rule, for a figure.

Of each group the image whose change is the median of its group's, so what is shown is what is usual; and before them,
of the group that is worst without an edit, the median among those that the edit turns right, as the set was chosen
for these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clipsteer.backbones.device import one_thread
from clipsteer.backbones.tokens import token_span
from clipsteer.steering.image_views import Site
from clipsteer.steering.intervention import edit, in_stream

if TYPE_CHECKING:
    from PIL.Image import Image

_BATCH = 32


class Edited(NamedTuple):
    """N images with a set of |F| features ablated, all from their pixels.

    `before`, `after` (N, K): class probabilities. `moved` (N, patches): length of the change x' - x on each patch.
    `active` (N, |F|): mean of each feature of the set over the tokens that are edited.
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    moved: NDArray[np.float32]
    active: NDArray[np.float32]


class Chosen(NamedTuple):
    """An image that is shown, by its number, and why."""

    image: int
    why: str


def edited_images(
    site: Site,
    features: NDArray[np.int64],
    image: Callable[[int], Image],
    count: int,
    progress: Callable[[int], None],
) -> Edited:
    """The first `count` images, which `image` gives by number, with a set of features ablated."""
    model, dictionary = site.model, site.dictionary.to(site.model.device)
    columns = torch.from_numpy(features).to(model.device)
    parts = []
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        embeddings, x, stream = site.passed([image(number) for number in numbers])
        span = token_span(site.tokens, x.shape[1])
        with torch.inference_mode(), one_thread():
            there = edit(x, dictionary, features, tokens=site.tokens, error_term=site.error_term)
            moved = (there - x).norm(dim=2)
            part = x[:, span]
            code = dictionary.encode_columns(part.reshape(-1, x.shape[2]), columns)
            code = code.reshape(*part.shape[:2], len(columns))
            after = model.resume(site.layer, in_stream(there, x, stream))
        if model.cls is not None:
            moved = moved[:, [t for t in range(moved.shape[1]) if t != model.cls]]
        found = (
            *(model.probabilities(e, site.head) for e in (embeddings, after)),
            *(moved, code.mean(dim=1)),
        )
        parts.append([one.cpu().numpy() for one in found])
        progress(len(numbers))
    return Edited(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def chosen_images(
    found: Edited, targets: NDArray[np.int64], groups: NDArray[np.int64], hardest: int
) -> list[Chosen]:
    """The images that are shown; ties go to the earlier image. `hardest`: the group that is worst without an edit."""
    every = np.arange(len(targets))
    change = (found.after - found.before)[every, targets]
    right = [shares.argmax(axis=1) == targets for shares in (found.before, found.after)]
    turned = np.flatnonzero((groups == hardest) & ~right[0] & right[1])
    chosen = []
    if len(turned):
        chosen.append(Chosen(_median(change, turned), "turned right"))
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        chosen.append(Chosen(_median(change, own), "median of its group"))
    return chosen


def _median(change: NDArray[np.float32], among: NDArray[np.int64]) -> int:
    """The image of the median change among some; of two in the middle the one that changes less."""
    order = among[np.argsort(change[among], kind="stable")]
    return int(order[(len(order) - 1) // 2])
