"""A CLIP's whole vision tower in plain torch, for extraction: every hook point from one pass.

As `clipsteer.clip.tail`, it saves the import of transformers and reads no text tower, and its
results equal `CLIPModel`'s bit for bit (a test holds this).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipsteer.clip.device import exact_inference, resolve_device, resolve_dtype
from clipsteer.clip.pixels import Process, load_process
from clipsteer.clip.tail import activation_of, read_tensors, vision_config

if TYPE_CHECKING:
    from PIL.Image import Image

_VISION = "vision_model."
_EMBEDDINGS = "vision_model.embeddings."


@dataclass(frozen=True)
class VisionTower:
    """From images to the residual stream of every layer, and to the projected embedding."""

    n_layers: int
    heads: int
    eps: float
    """Of the layer norms."""
    activation: Callable[[Tensor], Tensor]
    weights: dict[str, Tensor]
    """By their names in the checkpoint."""
    process: Process
    """From an RGB image to (3, H, W) float32."""
    device: torch.device
    dtype: torch.dtype

    @property
    def width(self) -> int:
        """d, the width of the residual stream."""
        return self.weights["visual_projection.weight"].shape[1]

    @property
    def n_tokens(self) -> int:
        """T, tokens per image: CLS first, then the patches row by row."""
        return len(self.weights[f"{_EMBEDDINGS}position_embedding.weight"])

    @property
    def projection_dim(self) -> int:
        """p, the width of the space shared by images and texts."""
        return len(self.weights["visual_projection.weight"])

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
                stream, mlp_out = self._block(stream, f"{_VISION}encoder.layers.{index}.")
                for point, values in (("resid_post", stream), ("mlp_out", mlp_out)):
                    if point in kept:
                        kept[point].append(values)
            pooled = self._norm(stream[:, 0, :], f"{_VISION}post_layernorm.")
            return F.linear(pooled, self.weights["visual_projection.weight"]), kept

    def _embed(self, pixels: Tensor) -> Tensor:
        kernel = self.weights[f"{_EMBEDDINGS}patch_embedding.weight"]
        patches = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
        first = self.weights[f"{_EMBEDDINGS}class_embedding"].expand(len(pixels), 1, -1)
        stream = torch.cat([first, patches], dim=1)
        stream = stream + self.weights[f"{_EMBEDDINGS}position_embedding.weight"]
        return self._norm(stream, f"{_VISION}pre_layrnorm.")  # the checkpoints' own spelling

    def _block(self, stream: Tensor, at: str) -> tuple[Tensor, Tensor]:
        """An encoder layer's output, and its MLP's."""
        normed = self._norm(stream, f"{at}layer_norm1.")
        query, key, value = (
            self._linear(normed, f"{at}self_attn.{name}_proj.")
            .view(*stream.shape[:-1], self.heads, -1)
            .transpose(1, 2)
            for name in "qkv"
        )
        mixed = F.scaled_dot_product_attention(query, key, value, scale=query.shape[-1] ** -0.5)
        mixed = mixed.transpose(1, 2).reshape(stream.shape)
        stream = self._linear(mixed, f"{at}self_attn.out_proj.").add_(stream)
        hidden = self._linear(self._norm(stream, f"{at}layer_norm2."), f"{at}mlp.fc1.")
        out = self._linear(self.activation(hidden), f"{at}mlp.fc2.")
        return stream + out, out

    def _linear(self, x: Tensor, at: str) -> Tensor:
        return F.linear(x, self.weights[f"{at}weight"], self.weights[f"{at}bias"])

    def _norm(self, x: Tensor, at: str) -> Tensor:
        weight, bias = self.weights[f"{at}weight"], self.weights[f"{at}bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.eps)


def load_tower(folder: Path, device: str = "auto", dtype: str = "float32") -> VisionTower:
    """Read the vision tower and the image processor of a CLIP directory.

    Args:
        folder: a CLIP directory in `transformers` layout, as for `load_clip`.
        device: `auto` (cuda, then mps, then cpu) or a device's name.
        dtype: `float32`, `bfloat16` or `float16`; weights stored in another are converted.

    Raises:
        ClipsteerError: not a CLIP with a vision tower, an activation other than quick_gelu and
            gelu, damaged or incomplete weights, an image processor that does not fit, or a device
            or dtype that is not available.
    """
    vision = vision_config(folder)
    place, kind = resolve_device(device), resolve_dtype(dtype)
    n_layers = int(vision.get("num_hidden_layers", 12))
    weights = read_tensors(folder, _names(n_layers))
    return VisionTower(
        n_layers=n_layers,
        heads=int(vision.get("num_attention_heads", 12)),
        eps=float(vision.get("layer_norm_eps", 1e-5)),
        activation=activation_of(folder, vision),
        weights={name: tensor.to(place, kind) for name, tensor in weights.items()},
        process=load_process(folder, int(vision.get("image_size", 224))),
        device=place,
        dtype=kind,
    )


def _names(n_layers: int) -> list[str]:
    modules = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"]
    modules += ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"]
    prefixes = [f"{_VISION}encoder.layers.{i}.{m}" for i in range(n_layers) for m in modules]
    prefixes += [f"{_VISION}pre_layrnorm", f"{_VISION}post_layernorm"]
    both = [f"{prefix}.{part}" for prefix in prefixes for part in ("weight", "bias")]
    single = ("class_embedding", "patch_embedding.weight", "position_embedding.weight")
    return [*both, *(f"{_EMBEDDINGS}{name}" for name in single), "visual_projection.weight"]
