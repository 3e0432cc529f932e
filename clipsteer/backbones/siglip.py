"""SigLIP (Zhai et al. 2023), and SigLIP 2 of fixed resolution: no CLS, the embedding is pooled by attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from clipsteer.backbones.base import Backbone


@dataclass(frozen=True)
class SiglipBackbone(Backbone):
    """A SigLIP: patches alone, each pair of image and text with a probability of its own."""

    FAMILY = "siglip"

    @property
    def projection_dim(self) -> int:
        """p: images are embedded in the vision tower's own width."""
        return self.width

    @property
    def logit_bias(self) -> float:
        """The learned bias; about -16.5 in released models, as most pairs do not belong together."""
        return float(self.model.logit_bias)

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoid, class by class: they need not add up to 1."""
        return logits.sigmoid()

    def _embed(self, pixels: Tensor) -> Tensor:
        stream: Tensor = self.model.vision_model.embeddings(pixels)
        return stream

    def _pool(self, stream: Tensor) -> Tensor:
        vision = self.model.vision_model
        embeddings: Tensor = vision.head(vision.post_layernorm(stream))
        return embeddings

    def _tokens(self, prompts: list[str]) -> Mapping[str, Tensor]:
        # It was trained on texts of full length, without a mask, and reads the last token, which is padding.
        found = self.tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            max_length=self.context,
            return_tensors="pt",
        )
        return {"input_ids": found["input_ids"]}
