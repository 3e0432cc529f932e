"""EleutherAI's sparsify: per hook point `cfg.json` with `sae.safetensors`; the encoder lies there transposed.

Encoder: topk(relu((x - b_dec) W^T + b)) (its class SparseCoder, version 1.3.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clipsteer.dictionaries.formats.reading import Config, layer_of, needed, refuse, taken, whole
from clipsteer.dictionaries.release import Claims, Release

if TYPE_CHECKING:
    from torch import Tensor

_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}


def claims(config: Config, where: str) -> Claims:
    """A configuration does not say model and layer; its folder is called by the module: `layers.3`, `layers.3.mlp`."""
    folder = Path(where).parent
    name = folder.parent.name if folder.name.startswith("seed") else folder.name
    layer = layer_of(name)
    hook = None if layer is None else "mlp_out" if "mlp" in name else "resid_post"
    return Claims(layer, hook, width=whole(config.get("d_in")), normalize="none", tokens="all")


def read(tensors: Mapping[str, Tensor], config: Config, where: str) -> Release:
    """The dictionary of a state dict."""
    for key in ("transcode", "skip_connection"):
        if config.get(key):
            raise refuse(
                where, key, config[key], "an autoencoder, which gives back what it is given"
            )
    if config.get("signed"):
        raise refuse(where, "signed", True, "codes that are not negative")
    activation = config.get("activation", "topk")
    if activation != "topk":
        raise refuse(where, "activation", activation, "topk")
    k = whole(needed(config, "k", where, "Top-K keeps so many features"))
    found = taken(tensors, _NAMES, where)
    found["W_enc"] = found["W_enc"].t()
    return Release("topk", found, k=k)
