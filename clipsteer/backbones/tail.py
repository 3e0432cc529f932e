"""The upper part of a CLIP's vision tower, for jobs that only resume.

Its results equal those of `resume` in `clipsteer.backbones.taps` bit for bit (a test holds this). It leaves out what no
result depends on: in the last layer, queries, attention output and MLP of all tokens but CLS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipsteer.backbones.device import check_layer, exact_inference
from clipsteer.backbones.layers import (
    POST_NORM,
    SCALE,
    VisionLayers,
    layer_names,
    vision_config,
)

# On a CPU, images go through the layers in runs of about this many tokens, so that what a layer
# holds stays in the core's own cache.
_RUN_TOKENS = 340
# A row of a product has the same bits whatever stands beside it, and at any number of threads, but
# only from a few rows on. Below, more tokens go along.
_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class VisionTail(VisionLayers):
    """Encoder layers above `layer`, the final layer norm and the projection."""

    layer: int
    """The layer whose output it starts from (0-based)."""

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by (100 in released CLIPs)."""
        return math.exp(float(self.weights[SCALE]))

    def __call__(self, resid_post: Tensor) -> Tensor:
        """Embed images from the residual stream behind `self.layer`.

        Args:
            resid_post: (n, T, d), any float dtype; converted to the weights'.

        Returns:
            Image embeddings (n, p), projected but not normalised.
        """
        with exact_inference():
            stream = resid_post.to(self.device, self.dtype)
            stream = self._middle(stream)
            if self.layer < self.n_layers - 1:  # of the last layer, only CLS goes on
                stream = self._output(stream, self.n_layers - 1, -(-_ROWS // max(1, len(stream))))
            return self.embedding(stream)

    def _middle(self, stream: Tensor) -> Tensor:
        """All layers above `layer` but the last one: (n, T, d) -> (n, T, d)."""
        layers = range(self.layer + 1, self.n_layers - 1)
        if not layers:
            return stream
        images, tokens = stream.shape[:2]
        # an image is never divided, and no run is empty
        runs = min(images, images * tokens // _RUN_TOKENS) if stream.device.type == "cpu" else 1
        parts = []
        for part in stream.tensor_split(max(1, runs)):
            for index in layers:
                part = self._output(part, index)
            parts.append(part)
        return torch.cat(parts)

    def _output(self, stream: Tensor, index: int, asked: int | None = None) -> Tensor:
        """One encoder layer: (n, T, d) -> (n, T, d), or only the first `asked` tokens of it."""
        stream, mlp_out = self.block(stream, index, asked)
        return mlp_out.add_(stream)


def load_tail(
    folder: Path, layer: int, *, device: str = "auto", dtype: str = "float32", key: str = "layer"
) -> VisionTail:
    """Read what is needed to resume behind `layer`, and nothing else.

    Args:
        folder: a CLIP directory in `transformers` layout, as for `load_clip`.
        layer: 0-based; the layer whose output will be given.
        device: `auto` (cuda, else cpu) or a device's name.
        dtype: `float32`, `bfloat16` or `float16`.
        key: the config key to name in errors.

    Raises:
        ClipsteerError: not a CLIP with a vision tower, no such layer, an activation other than
            quick_gelu and gelu, damaged or incomplete weights, or a device or dtype that is not
            available.
    """
    n_layers = vision_config(folder)["num_hidden_layers"]
    check_layer(layer, n_layers, key)
    names = [*layer_names(range(layer + 1, n_layers), POST_NORM), SCALE]
    return VisionTail.of(folder, names, device, dtype, layer=layer)
