"""ViT-Prisma, and the Prisma project's releases: `config.json` with one `.pt` of W_enc (d, m), W_dec (m, d), biases.

Encoder: act((x - b_dec) W_enc + b_enc) (its class StandardSparseAutoencoder); rows of W_dec are of unit norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clipsteer.dictionaries.formats.reading import (
    PLAIN,
    Config,
    first,
    hook_of,
    layer_of,
    needed,
    refuse,
    taken,
    text,
    whole,
)
from clipsteer.dictionaries.release import Claims, Release, gated_release
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from torch import Tensor

_GATED = ("b_gate", "r_mag", "b_mag")
#: The library's default became layer norm on 2024-08-27, and the releases of before say null: what is absent is not
#: known.
_NONE = ("None", "null", "none")


def claims(config: Config, where: str) -> Claims:
    """What a configuration says of itself."""
    hook = text(config.get("hook_point")) or ""
    subtype = text(config.get("layer_subtype")) or hook
    layer = whole(config.get("hook_point_layer"))
    if "normalize_activations" in config:
        found = str(config["normalize_activations"])
        normalize = "none" if found in _NONE else found
    else:
        normalize = None
    return Claims(
        layer=layer_of(hook) if layer is None else layer,
        hook_point=hook_of(subtype),
        model=text(config.get("model_name")),
        tokens=_tokens(config, where),
        width=whole(config.get("d_in")),
        normalize=normalize,
    )


def _tokens(config: Config, where: str) -> str | None:
    cls, spatial = config.get("cls_token_only"), config.get("use_patches_only")
    if cls and spatial:
        raise ClipsteerError(
            f"{where}: found both cls_token_only and use_patches_only, expected one of them at most. Correct it."
        )
    if cls is None and spatial is None:
        return None
    return "cls" if cls else "spatial" if spatial else "all"


def read(tensors: Mapping[str, Tensor], config: Config, where: str) -> Release:
    """The dictionary of a state dict."""
    if config.get("is_transcoder"):
        raise refuse(
            where, "is_transcoder", True, "an autoencoder, which gives back what it is given"
        )
    activation = needed(
        config, "activation_fn_str", where, "it says whether codes are ReLU or Top-K"
    )
    gates = [name for name in _GATED if name in tensors]
    architecture = config.get("architecture", "gated" if gates else "standard")
    if architecture == "gated":
        return gated(tensors, where)
    if architecture != "standard":
        raise refuse(where, "architecture", architecture, "standard or gated")
    found = taken(tensors, PLAIN, where)
    if activation == "relu":
        return Release("vanilla", found)
    if activation != "topk":
        raise refuse(where, "activation_fn_str", activation, "relu or topk")
    return Release("topk", found, k=_k(config, where))


def _k(config: Config, where: str) -> int:
    given: Any = config.get("activation_fn_kwargs") or {}
    k = whole(first(given, ("k",)))
    if k is None or k < 1:
        raise ClipsteerError(
            f"{where}: activation_fn_kwargs.k: found {given.get('k')!r}, expected how many features Top-K keeps. Add "
            "it."
        )
    after = given.get("postact_fn")
    if after is not None and "relu" not in str(after).lower():
        raise refuse(where, "activation_fn_kwargs.postact_fn", str(after), "ReLU")
    return k


def gated(tensors: Mapping[str, Tensor], where: str) -> Release:
    """A gated dictionary by the names that ViT-Prisma and SAELens share; its b_enc, where it has one, is not used."""
    names = {**PLAIN, "b_enc": "b_gate"} | {name: name for name in ("r_mag", "b_mag")}
    return gated_release(taken(tensors, names, where))
