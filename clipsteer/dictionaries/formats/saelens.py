"""SAELens: `cfg.json` with `sae_weights.safetensors` of W_enc (d, m), W_dec (m, d), biases (version 6, and before).

Rows of W_dec need not be of unit norm. Trained Batch-Top-K and Matryoshka dictionaries are saved as `jumprelu`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clipsteer.dictionaries.formats.prisma import gated
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
from clipsteer.dictionaries.release import Claims, Release

if TYPE_CHECKING:
    from torch import Tensor


def claims(config: Config, where: str) -> Claims:
    """What a configuration says of itself; before version 6 it was flat."""
    about: Any = config.get("metadata") or {}
    hook = (
        text(first(about, ("hook_name",))) or text(first(config, ("hook_name", "hook_point"))) or ""
    )
    layer = whole(first(about, ("hook_layer",)))
    layer = whole(first(config, ("hook_layer", "hook_point_layer"))) if layer is None else layer
    return Claims(
        layer=layer_of(hook) if layer is None else layer,
        hook_point=hook_of(hook),
        model=text(first(about, ("model_name",))) or text(config.get("model_name")),
        width=whole(config.get("d_in")),
        normalize=_normalize(config),
        tokens=text(first(about, ("clipsteer_tokens",))) or "all",
    )


def _normalize(config: Config) -> str | float | None:
    """`expected_average_only_in` multiplies activations by one factor, which a file may have and mostly has not."""
    found = config.get("normalize_activations")
    factor = config.get("norm_scaling_factor")
    if found == "expected_average_only_in" and isinstance(factor, int | float):
        return float(factor)
    return text(found)


def read(tensors: Mapping[str, Tensor], config: Config, where: str) -> Release:
    """The dictionary of a state dict."""
    reshaped = config.get("reshape_activations", "none")
    if reshaped != "none":
        raise refuse(where, "reshape_activations", reshaped, "none")
    given: Any = config.get("activation_fn_kwargs") or {}
    activation = config.get("activation_fn_str") or config.get("activation_fn")
    by_activation = {"relu": "standard", "topk": "topk"}.get(str(activation))
    architecture = config.get("architecture") or by_activation
    if architecture is None:
        needed(config, "architecture", where, "it says what the tensors mean")
    if (
        architecture == "standard" and by_activation == "topk"
    ):  # of before there was an architecture of that name
        architecture = "topk"
    subtracts = bool(config.get("apply_b_dec_to_input", True))
    if architecture == "gated":
        found = gated(tensors, where)
        found.subtracts_b_dec = subtracts
        return found
    if architecture == "jumprelu":
        names = {**PLAIN, "threshold": "threshold"}
        return Release("jumprelu", taken(tensors, names, where), subtracts_b_dec=subtracts)
    if architecture not in ("standard", "topk"):
        raise refuse(where, "architecture", architecture, "standard, topk, jumprelu or gated")
    weights = taken(tensors, PLAIN, where)
    if config.get("finetuning_scaling_factor") and "scaling_factor" in tensors:
        # codes are multiplied with it before they are decoded
        weights["W_dec"] = weights["W_dec"] * tensors["scaling_factor"].unsqueeze(1)
    if architecture == "standard":
        return Release("vanilla", weights, subtracts_b_dec=subtracts)
    k = whole(first(config, ("k",))) or whole(first(given, ("k",)))
    if k is None:
        needed({}, "k", where, "Top-K keeps so many features")
    by_norm = bool(config.get("rescale_acts_by_decoder_norm", False))
    return Release("topk", weights, k=k, subtracts_b_dec=subtracts, by_norm=by_norm)
