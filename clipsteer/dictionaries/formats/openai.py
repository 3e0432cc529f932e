"""openai/sparse_autoencoder: one `.pt` of pre_bias, encoder.weight (m, d), latent_bias, decoder.weight (d, m).

Encoder: act(W (x - pre_bias) + latent_bias). Top-K goes there with a layer norm of each token, and ReLU without
(as its loader says), so that the former is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clipsteer.dictionaries.formats.reading import Config, refuse, taken
from clipsteer.dictionaries.release import Claims, Release

if TYPE_CHECKING:
    from torch import Tensor

_NAMES = {
    "W_enc": "encoder.weight",
    "b_enc": "latent_bias",
    "W_dec": "decoder.weight",
    "b_dec": "pre_bias",
}
_FIRST = "ReLU"  # what their loader takes for a file that names no activation


def claims(config: Config, where: str) -> Claims:
    """Whether a token is normalised follows from the activation."""
    normalize = "layer_norm" if config.get("activation") == "TopK" else "none"
    return Claims(normalize=normalize, tokens="all")


def read(tensors: Mapping[str, Tensor], config: Config, where: str) -> Release:
    """The dictionary of a state dict."""
    activation = config.get("activation", _FIRST)
    if activation != _FIRST:
        raise refuse(where, "activation", activation, _FIRST)
    found = taken(tensors, _NAMES, where)
    return Release("vanilla", found | {name: found[name].t() for name in ("W_enc", "W_dec")})
