"""PAINT (Ilharco et al. 2022): weights between those of the model and of one fine-tuned against printed words.

The vision tower is fine-tuned on pairs; the text tower stands, and so does the head of class prompts. With z the unit
embedding of an image, t(c) the row of class c and s the model's logit scale:

    loss = cross-entropy(s z . t; the image's class), averaged over the clean and the attacked images of a batch

by AdamW, whose rate falls along a cosine to 0. With theta the weights that the model had and theta' those that come of
it, (1 - alpha) theta + alpha theta' are a model as any other. Which alpha is taken validation says, as of all defences.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.weights import SAFETENSORS, relevant_files, weight_files
from clipsteer.backbones.zero_shot import zero_shot_logits
from clipsteer.defences.descent import Descent, descend, stream
from clipsteer.defences.evaluating import PATCHING, SCHEMA
from clipsteer.defences.setting import Images
from clipsteer.defences.tuning import Trials
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.inputs import BATCH_IMAGES
from clipsteer.steering.pairs import margins

_STREAM = 33  # first word of the key of what is drawn here
# Images are kept as the model takes them where all of them are no more than this.
_HELD_BYTES = 2**30
_VISION = ("vision_model.", "visual_projection.")

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class PatchingSettings:
    """How the vision tower is fine-tuned: the keys of `typographic.patching`, but `alphas`."""

    lr: float
    epochs: int
    batch_size: int
    weight_decay: float


@dataclass(frozen=True)
class Task:
    """Clean images and the same attacked, their classes (N,), and the head (K, p) of unit rows."""

    clean: Images
    attacked: Images
    targets: Tensor
    head: Tensor


def vision_weights(backbone: Backbone) -> Weights:
    """The parameters of the vision tower by name, the projection into the shared space among them."""
    named = backbone.model.named_parameters()
    return {name: weight for name, weight in named if name.startswith(_VISION)}


def fine_tune(
    backbone: Backbone,
    task: Task,
    settings: PatchingSettings,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[Weights, list[float]]:
    """The weights of the vision tower as they become, and the loss of each step; the order of pairs is drawn by seed.

    The backbone's own are changed on the way.
    """
    weights = vision_weights(backbone)
    for weight in weights.values():
        weight.requires_grad_(True)
    views = [_kept(backbone, images) for images in (task.clean, task.attacked)]

    def loss_of(rows: Tensor) -> Tensor:
        pixels = torch.stack([pixels_of(row) for pixels_of in views for row in rows.tolist()])
        return patching_loss(backbone, pixels, task.targets[rows].repeat(2), task.head)

    optimiser = torch.optim.AdamW(
        weights.values(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    how = Descent(settings.epochs, settings.batch_size, settings.lr, 0.0)
    losses = descend(optimiser, loss_of, task.targets, how, stream(_STREAM, seed), progress)
    return {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, losses


def patching_loss(backbone: Backbone, pixels: Tensor, targets: Tensor, head: Tensor) -> Tensor:
    """Mean cross-entropy of images (n, 3, H, W) of classes (n,) under the head (K, p)."""
    # not `run`, which adds in place and keeps no gradients
    given = pixels.to(backbone.device, backbone.dtype)
    found = backbone.model.get_image_features(pixel_values=given).pooler_output
    logits = backbone.logit_scale * F.normalize(found, dim=-1) @ head.to(found.dtype).T
    return F.cross_entropy(logits, targets)


def _kept(backbone: Backbone, images: Images) -> Callable[[int], Tensor]:
    """An image by its row as the model takes it, (3, H, W); made once where there is room for all."""

    def pixels(row: int) -> Tensor:
        return backbone.pixels([images.load(row)])[0]

    small = images.count * pixels(0).nbytes <= _HELD_BYTES
    return cache(pixels) if small else pixels


def between(old: Mapping[str, Tensor], new: Mapping[str, Tensor], alpha: float) -> Weights:
    """(1 - alpha) old + alpha new, each summed in float64 and given as the old one is."""
    return {
        name: ((1 - alpha) * weight.double() + alpha * new[name].double()).to(weight.dtype)
        for name, weight in old.items()
    }


def set_weights(backbone: Backbone, weights: Mapping[str, Tensor]) -> None:
    """Give the vision tower these weights."""
    own = vision_weights(backbone)
    with torch.no_grad():
        for name, weight in weights.items():
            own[name].copy_(weight)


def try_alphas(
    backbone: Backbone,
    weights: tuple[Weights, Weights],
    alphas: Sequence[float],
    views: tuple[Images, Images],
    told: tuple[Callable[[Tensor], np.ndarray], np.ndarray],
    progress: Callable[[int], None] | None = None,
) -> Trials:
    """What each alpha comes to on clean and on attacked images, `views`, beside the model as it is.

    `weights`: old and new. `told`: how embeddings (n, p) are classified, and the classes (N,). The backbone's own
    weights are changed on the way.
    """
    classify, targets = told
    right = np.zeros((1 + len(alphas), len(views)), int)
    for side, images in enumerate(views):
        for start, pixels in batches(backbone, images):
            own = targets[start : start + len(pixels)]
            for place, alpha in enumerate((0.0, *alphas)):
                set_weights(backbone, between(*weights, alpha))
                right[place, side] += int((classify(backbone.run(pixels, ())[0]) == own).sum())
            if progress is not None:
                progress(len(pixels))
    n = len(targets)
    unpatched, *counts = [GroupCounts(tuple(row), (n, n)) for row in right.tolist()]
    return Trials(unpatched, counts)


def answers(
    backbone: Backbone,
    views: Mapping[str, Images],
    head: Tensor,
    targets: np.ndarray,
    progress: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """What a patched model says of each view, a row each: columns as of `clipsteer.defences.evaluating.answers`."""
    rows = []
    for view, images in views.items():
        scores = np.empty((images.count, len(head)), np.float32)
        for start, pixels in batches(backbone, images):
            found = zero_shot_logits(backbone.run(pixels, ())[0], head)
            scores[start : start + len(pixels)] = found.cpu().numpy()
            if progress is not None:
                progress(len(pixels))
        told = scores.argmax(axis=-1).astype(np.int32)
        rows.append((view, PATCHING, None, told.tolist(), margins(scores, targets).tolist()))
    return pl.DataFrame(rows, SCHEMA, orient="row")


def batches(backbone: Backbone, images: Images) -> Iterator[tuple[int, Tensor]]:
    """All images as the model takes them, (n, 3, H, W) with the row of the first."""
    for start in range(0, images.count, BATCH_IMAGES):
        stop = min(images.count, start + BATCH_IMAGES)
        yield start, backbone.pixels([images.load(row) for row in range(start, stop)])


def write_patched(backbone: Backbone, weights: Mapping[str, Tensor], folder: Path) -> None:
    """The model with other weights of its vision tower, as a folder in the layout of transformers."""
    source = backbone.folder
    folder.mkdir(parents=True)
    for name in sorted({*relevant_files(source)} - {*weight_files(source)}):
        shutil.copyfile(source / name, folder / name)
    every = {**backbone.model.state_dict(), **weights}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in every.items()}
    save_file(tensors, folder / SAFETENSORS, metadata={"format": "pt"})
