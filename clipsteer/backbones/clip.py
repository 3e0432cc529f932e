"""CLIP (Radford et al. 2021), of any size and patch: the embedding is the CLS token's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from clipsteer.backbones.base import Backbone, Readout, block

# A row of a product has the same bits whatever stands beside it, and at any number of threads, but
# only from a few rows on. Below, more tokens go along.
_ROWS = 64


@dataclass(frozen=True)
class ClipBackbone(Backbone):
    """A CLIP: CLS first, softmax over the classes."""

    FAMILY = "clip"

    @property
    def projection_dim(self) -> int:
        """p, the width of the space shared by images and texts."""
        return int(self.model.config.projection_dim)

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over the classes."""
        return logits.softmax(dim=-1)

    def tokens_read(self, layer: int) -> slice:
        """Behind the last layer only CLS."""
        return slice(0, 1) if layer == self.n_layers - 1 else slice(None)

    def readout(self) -> Readout:
        """The layer norm behind the last layer, and the projection of CLS."""
        norm, projection = (
            self.model.vision_model.post_layernorm,
            self.model.visual_projection,
        )
        return Readout(norm.weight, norm.bias, float(norm.eps), projection.weight)

    def _above(self, layer: int, stream: Tensor) -> Tensor:
        """Through the last layer goes only what the CLS token needs.

        That is keys and values of all tokens, but queries, attention output and MLP of CLS alone.
        """
        last = self.n_layers - 1
        if layer == last:
            return stream
        stream = self._through(range(layer + 1, last), stream)
        stream, mlp_out = block(self._layers[last], stream, -(-_ROWS // max(1, len(stream))))
        return mlp_out.add_(stream)

    def _embed(self, pixels: Tensor) -> Tensor:
        vision = self.model.vision_model
        stream: Tensor = vision.pre_layrnorm(vision.embeddings(pixels))  # transformers' spelling
        return stream

    def _pool(self, stream: Tensor) -> Tensor:
        pooled = self.model.vision_model.post_layernorm(stream[:, 0, :])
        embeddings: Tensor = self.model.visual_projection(pooled)
        return embeddings

    def _tokens(self, prompts: list[str]) -> Mapping[str, Tensor]:
        # Padded to the longest: the full 77 tokens would cost ten times as much, and what lies behind the
        # end of a text has no effect under CLIP's causal mask.
        found = self.tokenizer(
            prompts, padding=True, truncation=True, max_length=self.context, return_tensors="pt"
        )
        return {name: found[name] for name in ("input_ids", "attention_mask")}
