"""A CLIP's whole vision tower, for extraction: every hook point from one pass.

Its results equal `CLIPModel`'s bit for bit (a test holds this).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipsteer.backbones.device import exact_inference
from clipsteer.backbones.layers import (
    EMBEDDINGS,
    POST_NORM,
    PROJECTION,
    VISION,
    VisionLayers,
    layer_names,
    vision_config,
)
from clipsteer.backbones.pixels import Process, load_process

if TYPE_CHECKING:
    from PIL.Image import Image

_PRE_NORM = f"{VISION}pre_layrnorm"  # the checkpoints' own spelling


@dataclass(frozen=True, kw_only=True)
class VisionTower(VisionLayers):
    """From images to the residual stream of every layer, and to the projected embedding."""

    process: Process
    """From an RGB image to (3, H, W) float32."""

    @property
    def n_tokens(self) -> int:
        """T, tokens per image: CLS first, then the patches row by row."""
        return len(self.weights[f"{EMBEDDINGS}position_embedding.weight"])

    @property
    def projection_dim(self) -> int:
        """p, the width of the space shared by images and texts."""
        return len(self.weights[PROJECTION])

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """n RGB images of any size as the model takes them: (n, 3, H, W) float32, on the CPU."""
        return torch.from_numpy(np.stack([self.process(image) for image in images]))

    def run(
        self, pixels: Tensor, hook_points: Sequence[str]
    ) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Embed images and keep what passes the hook points on the way.

        `resid_post` of layer l is the output of encoder layer l (0-based), `mlp_out` its MLP's
        output before it is added back; neither is centred, and no layer norm is folded in.

        Args:
            pixels: (n, 3, H, W); converted to the weights' dtype and device.
            hook_points: any of `resid_post`, `mlp_out`.

        Returns:
            Image embeddings (n, p), projected but not normalised, and per hook point a list with
            one tensor (n, T, d) per layer; all in the weights' dtype, on their device.
        """
        kept: dict[str, list[Tensor]] = {point: [] for point in hook_points}
        with exact_inference():
            stream = self._embed(pixels.to(self.device, self.dtype))
            for index in range(self.n_layers):
                stream, mlp_out = self.block(stream, index)
                stream = stream + mlp_out
                for point, values in (("resid_post", stream), ("mlp_out", mlp_out)):
                    if point in kept:
                        kept[point].append(values)
            return self.embedding(stream), kept

    def _embed(self, pixels: Tensor) -> Tensor:
        kernel = self.weights[f"{EMBEDDINGS}patch_embedding.weight"]
        patches = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
        first = self.weights[f"{EMBEDDINGS}class_embedding"].expand(len(pixels), 1, -1)
        stream = torch.cat([first, patches], dim=1)
        stream = stream + self.weights[f"{EMBEDDINGS}position_embedding.weight"]
        return self.norm(stream, _PRE_NORM)


def load_tower(
    folder: Path, device: str = "auto", dtype: str = "float32", crop: str = "transformers"
) -> VisionTower:
    """Read the vision tower and the image processor of a CLIP directory.

    Args:
        folder: a CLIP directory in `transformers` layout, as for `load_clip`.
        device: `auto` (cuda, else cpu) or a device's name.
        dtype: `float32`, `bfloat16` or `float16`; weights stored in another are converted.
        crop: whose centre crop images get, `transformers` or `openai` (clipsteer/backbones/pixels.py).

    Raises:
        ClipsteerError: not a CLIP with a vision tower, an activation other than quick_gelu and
            gelu, damaged or incomplete weights, an image processor that does not fit, or a device
            or dtype that is not available.
    """
    vision = vision_config(folder)
    names = layer_names(range(vision["num_hidden_layers"]), _PRE_NORM, POST_NORM)
    names += [
        f"{EMBEDDINGS}{name}"
        for name in ("class_embedding", "patch_embedding.weight", "position_embedding.weight")
    ]
    process = load_process(folder, vision["image_size"], crop)
    return VisionTower.of(folder, names, device, dtype, process=process)
