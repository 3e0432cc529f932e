"""Encoder layers of a CLIP's vision tower in plain torch, shared by `tower` and `tail`.

Importing transformers' CLIP costs seconds of processor time beyond torch itself, and loading a full model
reads layers and a text tower that a job may never run. This module reads the tensors it is asked for
and applies the same operations in the same order as transformers, so results are equal bit for bit (tests
hold this).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from clipsteer.backbones.device import resolve_device, resolve_dtype
from clipsteer.backbones.weights import read_config, unreadable, weight_files
from clipsteer.errors import ClipsteerError

VISION = "vision_model."
PROJECTION = "visual_projection.weight"
POST_NORM = f"{VISION}post_layernorm"
SCALE = "logit_scale"
EMBEDDINGS = f"{VISION}embeddings."
_LAYERS = f"{VISION}encoder.layers."
_MODULES = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    *("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"),
)
# What config.json says in whole numbers, and what its absence means.
_SIZES = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "projection_dim": 512,
}


def quick_gelu_(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), OpenAI's approximation of GELU, in place; any shape."""
    return x.mul_((1.702 * x).sigmoid_())


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu_, "gelu": F.gelu}

# Attention gives a query the same bits, whatever else is in the batch, only for at least four queries.
_QUERIES = 4


@dataclass(frozen=True)
class VisionLayers:
    """Some or all encoder layers, and what every vision tower ends with."""

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

    @classmethod
    def of(cls, folder: Path, names: Iterable[str], device: str, dtype: str, **others: Any) -> Self:
        """Read the tensors of these `names` of a CLIP directory; `others`: a subclass's own fields.

        Raises:
            ClipsteerError: an activation other than quick_gelu and gelu, damaged or incomplete
                weights or some that are not the config's, or a device or dtype that is not
                available.
        """
        vision = vision_config(folder)
        activation = _activation_of(folder, vision)
        place, kind = resolve_device(device), resolve_dtype(dtype)
        found = _read_tensors(folder, names)
        _check_shapes(folder, found, vision)
        return cls(
            n_layers=vision["num_hidden_layers"],
            heads=vision["num_attention_heads"],
            eps=vision["layer_norm_eps"],
            activation=activation,
            weights={name: tensor.to(place, kind) for name, tensor in found.items()},
            device=place,
            dtype=kind,
            **others,
        )

    @property
    def width(self) -> int:
        """d, the width of the residual stream."""
        return self.weights[PROJECTION].shape[1]

    def block(self, stream: Tensor, index: int, asked: int | None = None) -> tuple[Tensor, Tensor]:
        """Encoder layer `index` up to its last addition, for all tokens or the first `asked`.

        Args:
            stream: (n, T, d), the residual stream before the layer.

        Returns:
            The residual stream behind the attention and the MLP's output, (n, asked or T, d) each and
            both new; their sum is the layer's output.
        """
        at = f"{_LAYERS}{index}."
        normed = self.norm(stream, f"{at}layer_norm1")
        queries = normed if asked is None else normed[:, : max(asked, _QUERIES)].contiguous()
        query, key, value = (
            self._linear(x, f"{at}self_attn.{name}_proj")
            .view(*x.shape[:-1], self.heads, -1)
            .transpose(1, 2)
            for name, x in (("q", queries), ("k", normed), ("v", normed))
        )
        mixed = F.scaled_dot_product_attention(query, key, value, scale=query.shape[-1] ** -0.5)
        # Contiguous: the product of a strided tensor takes another path, with other bits.
        stream = stream[:, :asked].contiguous()
        mixed = mixed.transpose(1, 2)[:, :asked].reshape(stream.shape).contiguous()
        stream = self._linear(mixed, f"{at}self_attn.out_proj").add_(stream)
        hidden = self._linear(self.norm(stream, f"{at}layer_norm2"), f"{at}mlp.fc1")
        return stream, self._linear(self.activation(hidden), f"{at}mlp.fc2")

    def embedding(self, stream: Tensor) -> Tensor:
        """The last layer's output (n, T, d) to image embeddings (n, p), not normalised."""
        return F.linear(self.norm(stream[:, 0, :], POST_NORM), self.weights[PROJECTION])

    def norm(self, x: Tensor, module: str) -> Tensor:
        """The layer norm of this name in the checkpoint, over the last dimension."""
        weight, bias = self.weights[f"{module}.weight"], self.weights[f"{module}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.eps)

    def _linear(self, x: Tensor, module: str) -> Tensor:
        return F.linear(x, self.weights[f"{module}.weight"], self.weights[f"{module}.bias"])


def layer_names(layers: Iterable[int], *norms: str) -> list[str]:
    """Names of these layers' tensors, of further layer norms and of the projection."""
    modules = [f"{_LAYERS}{i}.{module}" for i in layers for module in _MODULES]
    both = [f"{m}.{part}" for m in (*modules, *norms) for part in ("weight", "bias")]
    return [*both, PROJECTION]


def vision_config(folder: Path) -> dict[str, Any]:
    """What config.json says of the vision tower; absent keys have CLIPVisionConfig's values.

    `projection_dim` is that of the whole model.

    Raises:
        ClipsteerError: a size is not a positive whole number, or the heads do not divide the width.
    """
    config = read_config(folder)
    found: dict[str, Any] = {**_SIZES, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"}
    # transformers lets the older `vision_config_dict` overrule `vision_config`.
    for key in ("vision_config", "vision_config_dict"):
        part = config.get(key) or {}
        if not isinstance(part, dict):
            raise ClipsteerError(f"{folder}: config.json's {key} is {part!r}, expected an object.")
        found.update(part)
    found["projection_dim"] = config.get("projection_dim", _SIZES["projection_dim"])
    for key in _SIZES:
        if type(found[key]) is not int or found[key] < 1:
            raise ClipsteerError(
                f"{folder}: config.json's {key} of the vision tower is {found[key]!r}, expected a "
                "whole number from 1 on. Use the config.json that belongs to these weights."
            )
    if not isinstance(found["layer_norm_eps"], float):
        raise ClipsteerError(
            f"{folder}: config.json's layer_norm_eps of the vision tower is "
            f"{found['layer_norm_eps']!r}, expected a number such as 1e-05."
        )
    if found["hidden_size"] % found["num_attention_heads"]:
        raise ClipsteerError(
            f"{folder}: config.json's hidden_size {found['hidden_size']} of the vision tower is not "
            f"a multiple of its num_attention_heads {found['num_attention_heads']}. Use the "
            "config.json that belongs to these weights."
        )
    return found


def _activation_of(folder: Path, vision: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """The activation that the config names; ClipsteerError for other than quick_gelu and gelu."""
    name = vision["hidden_act"]
    if name not in ACTIVATIONS:
        raise ClipsteerError(
            f"{folder}: config.json's vision_config.hidden_act is {name!r}, expected one of "
            f"{', '.join(ACTIVATIONS)}. Use a CLIP with one of these activations."
        )
    return ACTIVATIONS[name]


def _read_tensors(folder: Path, names: Iterable[str]) -> dict[str, Tensor]:
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
            raise unreadable(folder, file, error) from error
    if missing := sorted(wanted - set(found)):
        raise ClipsteerError(
            f"{folder}: the weights lack {len(missing)} tensors of the vision tower, {missing[0]} "
            "among them. Use the weights of a full CLIPModel."
        )
    return found


def _check_shapes(folder: Path, tensors: dict[str, Tensor], vision: dict[str, Any]) -> None:
    """ClipsteerError where a tensor has not the shape that the config gives it."""
    width, hidden, patch = (vision[f"{key}_size"] for key in ("hidden", "intermediate", "patch"))
    whole = {
        PROJECTION: (vision["projection_dim"], width),
        SCALE: (),
        f"{EMBEDDINGS}class_embedding": (width,),
        f"{EMBEDDINGS}patch_embedding.weight": (width, vision["num_channels"], patch, patch),
        f"{EMBEDDINGS}position_embedding.weight": ((vision["image_size"] // patch) ** 2 + 1, width),
    }
    for name, tensor in sorted(tensors.items()):
        expected = whole.get(name)
        if expected is None:
            module, part = name.split(".")[-2:]
            outputs, inputs = (hidden if module == fc else width for fc in ("fc1", "fc2"))
            expected = (outputs,) if part == "bias" or "norm" in module else (outputs, inputs)
        if tuple(tensor.shape) != expected:
            raise ClipsteerError(
                f"{folder}: the weights' {name} has shape {tuple(tensor.shape)}, expected {expected} "
                "by config.json. Use the config.json that belongs to these weights."
            )
