"""What a backbone does, done by transformers alone: its own forward pass with hooks, its own layers in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from clipsteer.backbones.base import Backbone

Taps = dict[str, list[Tensor]]
POINTS = ("resid_post", "mlp_out")


def modules(model: Any, point: str) -> list[Any]:
    """The modules whose outputs pass a hook point, layer by layer."""
    layers = list(model.vision_model.encoder.layers)
    return [layer.mlp for layer in layers] if point == "mlp_out" else layers


@contextmanager
def changed(module: Any, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """A module's output is changed on its way."""
    handle = module.register_forward_hook(lambda _module, _inputs, output: change(output))
    yield
    handle.remove()


def whole(backbone: Backbone, pixels: Tensor) -> Tensor:
    """transformers' own image embeddings (n, p)."""
    pixels = pixels.to(backbone.dtype)
    with torch.inference_mode():
        found: Tensor = backbone.model.get_image_features(pixel_values=pixels).pooler_output
    return found


def hooked(
    backbone: Backbone, pixels: Tensor, points: Sequence[str] = POINTS
) -> tuple[Tensor, Taps]:
    """The embeddings, and what hooks saw of every layer."""
    taps: Taps = {point: [] for point in points}
    handles = [
        module.register_forward_hook(lambda _m, _i, output, point=point: taps[point].append(output))
        for point in points
        for module in modules(backbone.model, point)
    ]
    embeddings = whole(backbone, pixels)
    for handle in handles:
        handle.remove()
    return embeddings, taps


def resumed(backbone: Backbone, layer: int, stream: Tensor) -> Tensor:
    """The embeddings of a pass whose layer gives out `stream`, whatever the image."""
    size = backbone.shape.image_size
    blank = torch.zeros(len(stream), 3, size, size)
    with changed(modules(backbone.model, "resid_post")[layer], lambda _: stream):
        return whole(backbone, blank)
