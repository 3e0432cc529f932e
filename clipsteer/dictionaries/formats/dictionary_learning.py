"""dictionary_learning: `ae.pt` with `config.json`, whose `trainer.dict_class` says what the tensors mean.

As of version 0.1.0. With `normalize_activations` its trainer scales the biases back before it saves, so that
activations go in as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clipsteer.dictionaries.formats.reading import (
    PLAIN,
    Config,
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

_LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight"}


def claims(config: Config, where: str) -> Claims:
    """What the trainer's part of a configuration says."""
    trainer = _trainer(config, where)
    module = text(trainer.get("submodule_name")) or ""
    layer = whole(trainer.get("layer"))
    return Claims(
        layer=layer_of(module) if layer is None else layer,
        hook_point=hook_of(module) if hook_of(module) in ("resid_post", "mlp_out") else None,
        model=text(trainer.get("lm_name")),
        width=whole(trainer.get("activation_dim")),
        normalize="none",
        tokens="all",
    )


def read(tensors: Mapping[str, Tensor], config: Config, where: str) -> Release:
    """The dictionary of a state dict."""
    trainer = _trainer(config, where)
    kind = needed(trainer, "dict_class", f"{where}: trainer", "it says what the tensors mean")
    if kind == "AutoEncoder":
        return Release("vanilla", _linear(tensors, {**_LINEAR, "b_dec": "bias"}, where))
    if kind == "AutoEncoderNew":
        found = _linear(tensors, {**_LINEAR, "b_dec": "decoder.bias"}, where)
        return Release("vanilla", found, subtracts_b_dec=False)
    if kind == "GatedAutoEncoder":
        return _gated(tensors, where)
    if kind == "JumpReluAutoEncoder":
        found = taken(tensors, {**PLAIN, "threshold": "threshold"}, where)
        return Release("jumprelu", found, subtracts_b_dec=False)
    if kind == "AutoEncoderTopK":
        k = whole(trainer.get("k")) or int(taken(tensors, {"k": "k"}, where)["k"])
        return Release("topk", _linear(tensors, {**_LINEAR, "b_dec": "b_dec"}, where), k=k)
    if kind == "BatchTopKSAE":
        return _thresholded(_linear(tensors, {**_LINEAR, "b_dec": "b_dec"}, where), tensors, where)
    if kind == "MatryoshkaBatchTopKSAE":
        return _thresholded(taken(tensors, PLAIN, where), tensors, where)
    raise refuse(
        f"{where}: trainer", "dict_class", kind, "one of dictionary_learning's autoencoders"
    )


def _trainer(config: Config, where: str) -> Mapping[str, Any]:
    found = needed(config, "trainer", where, "dictionary_learning says there what it trained")
    if not isinstance(found, Mapping):
        raise refuse(where, "trainer", found, "a mapping")
    return found


def _linear(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], where: str
) -> dict[str, Tensor]:
    """Of torch's linear layers, whose weights are (out, in)."""
    found = taken(tensors, names, where)
    return {**found, "W_enc": found["W_enc"].t(), "W_dec": found["W_dec"].t()}


def _gated(tensors: Mapping[str, Tensor], where: str) -> Release:
    names = {
        **_LINEAR,
        "b_enc": "gate_bias",
        "b_dec": "decoder_bias",
        "r_mag": "r_mag",
        "b_mag": "mag_bias",
    }
    return gated_release(_linear(tensors, names, where))


def _thresholded(found: dict[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> Release:
    """Batch-Top-K as it is used: all that passes one threshold, relu(pre) where that is above it."""
    threshold = float(taken(tensors, {"threshold": "threshold"}, where)["threshold"])
    if threshold < 0:
        raise ClipsteerError(
            f"{where}: threshold: found {threshold}, which says that its training was too short to learn one, expected "
            "a number from 0. Without it a code depends on the other tokens of a batch; train it for longer."
        )
    every = found["b_enc"].new_full((len(found["b_enc"]),), threshold)
    return Release("jumprelu", {**found, "threshold": every})
