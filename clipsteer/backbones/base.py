"""A backbone: a model of images and texts, taken apart at the encoder layers of its vision tower.

Weights, towers and text side are transformers' own modules. What runs through the vision encoder is `block`,
one function for all families: it does what a layer of transformers does, in the same order and so to the
same bits (tests hold this), but adds in place, and can leave out tokens that nobody asks for.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipsteer.backbones.device import check_layer, exact_inference
from clipsteer.backbones.pixels import Process
from clipsteer.backbones.shape import Shape
from clipsteer.backbones.weights import first_line
from clipsteer.backbones.zero_shot import zero_shot_logits
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from PIL.Image import Image

# On a CPU, images go through the layers in runs of about this many tokens, so that what a layer
# holds stays in the core's own cache.
RUN_TOKENS = 340
# Attention gives a query the same bits, however many there are, only where they are a multiple of four.
_QUERIES = 4


class Readout(NamedTuple):
    """An embedding as a layer norm and a projection of one token x (d,): W (gain * (x - mean x) / std x + bias)."""

    gain: Tensor
    bias: Tensor
    epsilon: float
    """Added to the variance."""
    projection: Tensor
    """W (p, d)."""


@dataclass(frozen=True)
class Backbone(ABC):
    """A model ready to run, in evaluation mode."""

    FAMILY: ClassVar[str]
    """`model_type` of its config.json."""

    folder: Path
    """The directory it came from; errors name it."""
    model: Any
    """transformers' model of both towers (whose annotations are too loose to check against)."""
    shape: Shape
    process: Process
    """From an RGB image to (3, H, W) float32."""
    device: torch.device
    dtype: torch.dtype

    # ---- what it is

    @property
    def n_layers(self) -> int:
        """Number of vision encoder layers."""
        return self.shape.n_layers

    @property
    def width(self) -> int:
        """d, the width of the vision tower's residual stream."""
        return self.shape.width

    @property
    def n_tokens(self) -> int:
        """T, tokens per image: CLS, if any, then the patches row by row."""
        return self.shape.n_tokens

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.shape.grid

    @property
    def cls(self) -> int | None:
        """Place of the CLS token; None where there is none."""
        return self.shape.cls

    @property
    @abstractmethod
    def projection_dim(self) -> int:
        """p, the width of the space shared by images and texts."""

    @property
    def logit_scale(self) -> float:
        """exp of the stored logarithm: what cosines are multiplied by (100 in released CLIPs)."""
        return math.exp(float(self.model.logit_scale))

    @property
    def logit_bias(self) -> float:
        """What is added then; 0 where the family has none."""
        return 0.0

    def probabilities(self, embeddings: Tensor, head: Tensor) -> Tensor:
        """Zero-shot probabilities (n, K) of image embeddings (n, p) under a head (K, p) of unit rows."""
        logits = zero_shot_logits(embeddings, head, self.logit_scale) + self.logit_bias
        return self._probabilities(logits)

    @abstractmethod
    def _probabilities(self, logits: Tensor) -> Tensor:
        """Of logits (n, K), as the family was trained: (n, K)."""

    # ---- images

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
            Image embeddings (n, p), not normalised, and per hook point a list with one tensor
            (n, T, d) per layer; all in the weights' dtype, on their device.
        """
        kept: dict[str, list[Tensor]] = {point: [] for point in hook_points}
        with exact_inference():
            stream = self._embed(pixels.to(self.device, self.dtype))
            for layer in self._layers:
                stream, mlp_out = block(layer, stream)
                stream = stream + mlp_out
                for point, values in (("resid_post", stream), ("mlp_out", mlp_out)):
                    if point in kept:
                        kept[point].append(values)
            return self._pool(stream), kept

    def resume(self, layer: int, stream: Tensor) -> Tensor:
        """Embed images from the residual stream behind one layer.

        Given what `run` kept of the same batch, the result is `run`'s, bit for bit on the CPU: on one thread, or
        with `MKL_CBWR=AUTO,STRICT` in the environment before torch is imported, as every job has it. Else the last
        bits may differ. An edit of `mlp_out` is the same edit of `resid_post`: the MLP's output is only ever added
        to the stream.

        Args:
            layer: 0-based; the layer whose output `stream` is.
            stream: (n, T, d), any float dtype; converted to the weights'.

        Returns:
            Image embeddings (n, p), not normalised.

        Raises:
            ClipsteerError: the model has no such layer.
        """
        check_layer(layer, self.n_layers)
        with exact_inference():
            return self._pool(self._above(layer, stream.to(self.device, self.dtype)))

    def tokens_read(self, layer: int) -> slice:
        """The tokens behind a layer on which the embedding depends: `resume` may be given only these."""
        return slice(None)

    def readout(self) -> Readout | None:
        """How the embedding follows from one token behind the last layer, where it does and in so simple a way."""
        return None

    @property
    def _layers(self) -> Any:
        """The encoder layers of the vision tower."""
        return self.model.vision_model.encoder.layers

    @abstractmethod
    def _embed(self, pixels: Tensor) -> Tensor:
        """(n, 3, H, W) -> the residual stream before the first layer (n, T, d)."""

    @abstractmethod
    def _pool(self, stream: Tensor) -> Tensor:
        """The last layer's output (n, T, d) -> image embeddings (n, p)."""

    def _above(self, layer: int, stream: Tensor) -> Tensor:
        """From behind `layer` (n, T, d) to the last layer's output (n, T, d), or what of it `_pool` reads."""
        return self._through(range(layer + 1, self.n_layers), stream)

    def _through(self, layers: range, stream: Tensor) -> Tensor:
        """Some encoder layers, one after the other: (n, T, d) -> (n, T, d)."""
        if not layers:
            return stream
        images, tokens = stream.shape[:2]
        # an image is never divided, and no run is empty
        runs = min(images, images * tokens // RUN_TOKENS) if stream.device.type == "cpu" else 1
        parts = []
        for part in stream.tensor_split(max(1, runs)):
            for index in layers:
                part, mlp_out = block(self._layers[index], part)
                part = mlp_out.add_(part)
            parts.append(part)
        return torch.cat(parts)

    # ---- texts

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own tokenizer, read when it is first asked for.

        Raises:
            ClipsteerError: it cannot be read, needs a package that is not here, or is another model's.
        """
        import transformers

        hf: Any = transformers  # its annotations are partial
        try:
            tokenizer = hf.AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            raise ClipsteerError(
                f"{self.folder}: cannot load the tokenizer ({first_line(error)}). Download the model again."
            ) from error
        entries = self.model.config.text_config.vocab_size
        if len(tokenizer) > entries:
            raise ClipsteerError(
                f"{self.folder}: the tokenizer has {len(tokenizer)} entries, the text tower only "
                f"{entries}. Use the tokenizer that belongs to the weights."
            )
        return tokenizer

    def text(self, prompts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Embed texts into the shared space; texts beyond the context length are cut.

        Returns:
            (n, p) float32 on the CPU, not normalised.
        """
        # All texts of the call are padded alike, so that the batch size does not decide how long the
        # sequences are.
        tokens = self._tokens(list(prompts))
        found = []
        for start in range(0, len(prompts), batch_size):
            part = {
                name: ids[start : start + batch_size].to(self.device)
                for name, ids in tokens.items()
            }
            with exact_inference():
                output = self.model.get_text_features(**part)
            found.append(output.pooler_output.float().cpu())
        return torch.cat(found)

    def token_ids(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Each text in tokens, whole: with the marks of its start and end, uncut and not padded."""
        return [tuple(ids) for ids in self.tokenizer(list(texts), padding=False)["input_ids"]]

    @abstractmethod
    def _tokens(self, prompts: list[str]) -> Mapping[str, Tensor]:
        """What the text tower is given: `input_ids` (n, L) and, where it heeds one, `attention_mask`."""

    @property
    def context(self) -> int:
        """The most tokens of a text, with the marks of its start and end."""
        return int(self.model.config.text_config.max_position_embeddings)


def block(layer: Any, stream: Tensor, asked: int | None = None) -> tuple[Tensor, Tensor]:
    """An encoder layer up to its last addition, for all tokens or the first `asked`.

    Args:
        layer: of transformers' CLIP or SigLIP, which are alike: each half is a layer norm, attention or MLP,
            and an addition.
        stream: (n, T, d), the residual stream before the layer.

    Returns:
        The residual stream behind the attention and the MLP's output, (n, asked or T, d) each and both new;
        their sum is the layer's output.
    """
    attention, mlp = layer.self_attn, layer.mlp
    normed = layer.layer_norm1(stream)
    whole = None if asked is None else -(-asked // _QUERIES) * _QUERIES
    queries = normed[:, :whole].contiguous()
    query, key, value = (
        project(x).view(*x.shape[:-1], attention.num_heads, -1).transpose(1, 2)
        for project, x in (
            (attention.q_proj, queries),
            (attention.k_proj, normed),
            (attention.v_proj, normed),
        )
    )
    mixed = F.scaled_dot_product_attention(query, key, value, scale=attention.scale)
    # Contiguous: the product of a strided tensor takes another path, with other bits.
    stream = stream[:, :asked].contiguous()
    mixed = mixed.transpose(1, 2)[:, :asked].reshape(stream.shape).contiguous()
    stream = attention.out_proj(mixed).add_(stream)
    hidden = mlp.fc1(layer.layer_norm2(stream))
    activate = _IN_PLACE.get(layer.mlp.config.hidden_act, mlp.activation_fn)
    return stream, mlp.fc2(activate(hidden))


def _quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), OpenAI's approximation of GELU, in place; any shape."""
    return x.mul_((1.702 * x).sigmoid_())


# transformers writes these into new memory.
_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": _quick_gelu}
