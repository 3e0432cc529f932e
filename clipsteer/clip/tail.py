"""The upper part of a CLIP's vision tower in plain torch, for jobs that only resume.

Importing transformers' CLIP costs about 4 s of processor time beyond torch itself, and loading a
full model reads layers and a text tower that an ablation never runs. A job per layer and dictionary
pays that each time; this module reads the tensors it needs and applies the same operations in the
same order, so its results equal `clipsteer.clip.resume` bit for bit (a test holds this). It leaves
out what no result depends on: in the last layer, queries, attention output and MLP of all tokens but
CLS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clipsteer.clip.device import check_layer, exact_inference, resolve_device, resolve_dtype
from clipsteer.clip.weights import first_line, read_config, weight_files
from clipsteer.errors import ClipsteerError

_LAYERS = "vision_model.encoder.layers."


def quick_gelu_(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), OpenAI's approximation of GELU, in place; any shape."""
    return x.mul_((1.702 * x).sigmoid_())


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu_, "gelu": F.gelu}

# On a CPU, images go through the layers in runs of about this many tokens, so that what a layer
# holds stays in the core's own cache.
_RUN_TOKENS = 340
# A row of a product has the same bits whatever stands beside it, and at any number of threads, but
# only from a few rows on; a query of an attention, from four on. Below, more tokens go along.
_ROWS, _QUERIES = 64, 4


@dataclass(frozen=True)
class VisionTail:
    """Encoder layers above `layer`, the final layer norm and the projection."""

    layer: int
    """The layer whose output it starts from (0-based)."""
    n_layers: int
    """Number of encoder layers of the whole tower."""
    heads: int
    eps: float
    """Of the layer norms."""
    activation: Callable[[Tensor], Tensor]
    weights: dict[str, Tensor]
    """By their names in the checkpoint."""
    device: torch.device
    dtype: torch.dtype
    logit_scale: float
    """What cosines are multiplied by (100 in released CLIPs)."""

    @property
    def width(self) -> int:
        """d, the width of the residual stream."""
        return self.weights["visual_projection.weight"].shape[1]

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
                stream = self._block(stream, self.n_layers - 1, -(-_ROWS // max(1, len(stream))))
            pooled = self._norm(stream[:, 0, :], "vision_model.post_layernorm.")
            return F.linear(pooled, self.weights["visual_projection.weight"])

    def _middle(self, stream: Tensor) -> Tensor:
        """All layers above `layer` but the last one: (n, T, d) -> (n, T, d)."""
        layers = range(self.layer + 1, self.n_layers - 1)
        if not layers:
            return stream
        on_cpu = stream.device.type == "cpu"
        runs = stream.shape[0] * stream.shape[1] // _RUN_TOKENS if on_cpu else 1
        parts = []
        for part in stream.tensor_split(max(1, runs)):
            for index in layers:
                part = self._block(part, index)
            parts.append(part)
        return torch.cat(parts)

    def _block(self, stream: Tensor, index: int, asked: int | None = None) -> Tensor:
        """One encoder layer: (n, T, d) -> (n, T, d), or only the first `asked` tokens of it."""
        at = f"{_LAYERS}{index}."
        normed = self._norm(stream, f"{at}layer_norm1.")
        queries = normed if asked is None else normed[:, : max(asked, _QUERIES)].contiguous()
        query, key, value = (
            self._linear(x, f"{at}self_attn.{name}_proj.")
            .view(*x.shape[:-1], self.heads, -1)
            .transpose(1, 2)
            for name, x in (("q", queries), ("k", normed), ("v", normed))
        )
        mixed = F.scaled_dot_product_attention(query, key, value, scale=query.shape[-1] ** -0.5)
        # Contiguous: the product of a strided tensor takes another path, with other bits.
        stream = stream[:, :asked].contiguous()
        mixed = mixed.transpose(1, 2)[:, :asked].reshape(stream.shape).contiguous()
        stream = self._linear(mixed, f"{at}self_attn.out_proj.").add_(stream)
        hidden = self._linear(self._norm(stream, f"{at}layer_norm2."), f"{at}mlp.fc1.")
        return self._linear(self.activation(hidden), f"{at}mlp.fc2.").add_(stream)

    def _linear(self, x: Tensor, at: str) -> Tensor:
        return F.linear(x, self.weights[f"{at}weight"], self.weights[f"{at}bias"])

    def _norm(self, x: Tensor, at: str) -> Tensor:
        weight, bias = self.weights[f"{at}weight"], self.weights[f"{at}bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.eps)


def vision_config(folder: Path) -> dict[str, Any]:
    """What config.json says of the vision tower; absent keys have CLIPVisionConfig's values."""
    config = read_config(folder)
    # transformers lets the older `vision_config_dict` overrule `vision_config`.
    return {**(config.get("vision_config") or {}), **(config.get("vision_config_dict") or {})}


def activation_of(folder: Path, vision: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """The activation that the config names; ClipsteerError for other than quick_gelu and gelu."""
    name = vision.get("hidden_act", "quick_gelu")
    if name not in ACTIVATIONS:
        raise ClipsteerError(
            f"{folder}: config.json's vision_config.hidden_act is {name!r}, expected one of "
            f"{', '.join(ACTIVATIONS)}. Use a CLIP with one of these activations."
        )
    return ACTIVATIONS[name]


def load_tail(
    folder: Path, layer: int, *, device: str = "auto", dtype: str = "float32", key: str = "layer"
) -> VisionTail:
    """Read what is needed to resume behind `layer`, and nothing else.

    Args:
        folder: a CLIP directory in `transformers` layout, as for `load_clip`.
        layer: 0-based; the layer whose output will be given.
        device: `auto` (cuda, then mps, then cpu) or a device's name.
        dtype: `float32`, `bfloat16` or `float16`.
        key: the config key to name in errors.

    Raises:
        ClipsteerError: not a CLIP with a vision tower, no such layer, an activation other than
            quick_gelu and gelu, damaged or incomplete weights, or a device or dtype that is not
            available.
    """
    vision = vision_config(folder)
    n_layers = int(vision.get("num_hidden_layers", 12))
    check_layer(layer, n_layers, key)
    place, kind = resolve_device(device), resolve_dtype(dtype)
    found = read_tensors(folder, _names(layer, n_layers))
    return VisionTail(
        layer=layer,
        n_layers=n_layers,
        heads=int(vision.get("num_attention_heads", 12)),
        eps=float(vision.get("layer_norm_eps", 1e-5)),
        activation=activation_of(folder, vision),
        weights={name: tensor.to(place, kind) for name, tensor in found.items()},
        device=place,
        dtype=kind,
        # Rounded to the dtype first, as a model loaded in it would hold it.
        logit_scale=math.exp(float(found["logit_scale"].to(kind))),
    )


def _names(layer: int, n_layers: int) -> list[str]:
    modules = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"]
    modules += ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"]
    prefixes = [f"{_LAYERS}{i}.{m}" for i in range(layer + 1, n_layers) for m in modules]
    prefixes.append("vision_model.post_layernorm")
    both = [f"{prefix}.{part}" for prefix in prefixes for part in ("weight", "bias")]
    return [*both, "visual_projection.weight", "logit_scale"]


def read_tensors(folder: Path, names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of these names, as stored; ClipsteerError for damaged or incomplete weights."""
    from safetensors import safe_open

    wanted = set(names)
    found: dict[str, Tensor] = {}
    for file in weight_files(folder):
        path = folder / file
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt") as tensors:
                    for name in wanted & set(tensors.keys()):
                        found[name] = tensors.get_tensor(name)
            elif path.suffix == ".bin":
                state = torch.load(path, map_location="cpu", weights_only=True)
                found.update({name: state[name] for name in wanted & set(state)})
        except Exception as error:  # safetensors, torch and pickle each have errors of their own
            raise ClipsteerError(
                f"{path}: cannot be read as weights ({first_line(error)}). Download it again."
            ) from error
    if missing := sorted(wanted - set(found)):
        raise ClipsteerError(
            f"{folder}: the weights lack {len(missing)} tensors of the vision tower, {missing[0]} "
            "among them. Use the weights of a full CLIPModel."
        )
    return found
