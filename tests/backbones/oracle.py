"""CLIP's vision tower again, in float64 numpy and from its published description."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[np.float64]


def gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def quick_gelu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-1.702 * x)))


class Oracle:
    def __init__(self, folder: Path, activation: str, heads: int, patch: int) -> None:
        self.w = {
            k: np.asarray(v, np.float64) for k, v in load_file(folder / "model.safetensors").items()
        }
        self.activation = {"gelu": gelu, "quick_gelu": quick_gelu}[activation]
        self.heads, self.patch = heads, patch

    def norm(self, x: Array, at: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return np.asarray(centred / scale * self.w[f"{at}.weight"] + self.w[f"{at}.bias"])

    def linear(self, x: Array, at: str) -> Array:
        return np.asarray(x @ self.w[f"{at}.weight"].T + self.w[f"{at}.bias"])

    def embed(self, image: Array) -> Array:
        """One image (3, H, W) to its tokens (T, d), CLS first, patches row by row."""
        e, p = "vision_model.embeddings", self.patch
        kernel = self.w[f"{e}.patch_embedding.weight"]
        tokens = [self.w[f"{e}.class_embedding"]]
        for top in range(0, image.shape[1], p):
            for left in range(0, image.shape[2], p):
                patch = image[:, top : top + p, left : left + p]
                tokens.append((kernel * patch).sum(axis=(1, 2, 3)))
        stream = np.stack(tokens) + self.w[f"{e}.position_embedding.weight"]
        return self.norm(stream, "vision_model.pre_layrnorm")

    def attention(self, x: Array, at: str) -> Array:
        q, k, v = (self.linear(x, f"{at}.{name}_proj") for name in "qkv")
        size = x.shape[-1] // self.heads
        out = np.zeros_like(x)
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(len(x)):
                scores = k[:, part] @ q[i, part] / math.sqrt(size)
                weights = np.exp(scores - scores.max())
                out[i, part] = weights / weights.sum() @ v[:, part]
        return self.linear(out, f"{at}.out_proj")

    def layer(self, stream: Array, index: int) -> tuple[Array, Array]:
        """The layer's output and, apart, its MLP's."""
        at = f"vision_model.encoder.layers.{index}"
        stream = stream + self.attention(self.norm(stream, f"{at}.layer_norm1"), f"{at}.self_attn")
        hidden = self.activation(
            self.linear(self.norm(stream, f"{at}.layer_norm2"), f"{at}.mlp.fc1")
        )
        mlp = self.linear(hidden, f"{at}.mlp.fc2")
        return stream + mlp, mlp

    def project(self, stream: Array) -> Array:
        pooled = self.norm(stream[0], "vision_model.post_layernorm")
        return np.asarray(self.w["visual_projection.weight"] @ pooled)
