"""Writes a dictionary for other programs: SAELens's layout, and ViT-Prisma's. Reading it back gives the same codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.files import describe, load
from clipsteer.errors import ClipsteerError

LAYOUTS = ("saelens", "prisma")

_SAELENS = "6.54.12"  # whose form it is


def export(source: Path, target: Path, layout: str, model: str | None = None) -> list[str]:
    """Write the dictionary of `source`, a folder of ours, into `target`, which is made.

    Args:
        source: `dictionary.safetensors` and `dictionary.json`.
        target: no files of the layout may be there yet.
        layout: one of `LAYOUTS`.
        model: what the CLIP is called on the hub, for whoever reads it; else what the dictionary itself says of it.

    Returns:
        The names of the files.

    Raises:
        ClipsteerError: a dictionary that the layout has no form for; files that are there.
    """
    dictionary, about = load(source), dict(describe(source)["metadata"])
    if model is not None:
        about["model"] = model
    if layout == "saelens":
        names = ("cfg.json", "sae_weights.safetensors")
        config, tensors = _saelens(dictionary, about)
    else:
        names = ("config.json", "weights.pt")
        config, tensors = _prisma(dictionary, about)
    target.mkdir(parents=True, exist_ok=True)
    if there := [name for name in names if (target / name).exists()]:
        raise ClipsteerError(
            f"{target}: found {', '.join(there)}, expected a folder without; nothing was written. Name another folder."
        )
    (target / names[0]).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if layout == "saelens":
        save_file(tensors, target / names[1])
    else:
        torch.save(tensors, target / names[1])
    return list(names)


def _saelens(
    dictionary: Dictionary, about: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    kinds = {"vanilla": "standard", "topk": "topk", "scaled_topk": "topk"}
    kinds |= {"jumprelu": "jumprelu", "gated": "gated"}
    if dictionary.architecture not in kinds:
        raise _no_form(dictionary, "SAELens")
    metadata = {
        "sae_lens_version": _SAELENS,
        "model_name": about.get("model"),
        "hook_name": _hook(about),
        "clipsteer_tokens": dictionary.tokens,
    }
    config = {
        "architecture": kinds[dictionary.architecture],
        "d_in": dictionary.d,
        "d_sae": dictionary.m,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
    }
    if config["architecture"] == "topk":
        config |= {**dictionary.options(), "rescale_acts_by_decoder_norm": False}
    return config, _tensors(dictionary, gated_has_b_enc=False)


def _prisma(
    dictionary: Dictionary, about: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    topk = dictionary.architecture in ("topk", "scaled_topk")
    if not topk and dictionary.architecture not in ("vanilla", "gated"):
        raise _no_form(dictionary, "ViT-Prisma")
    config = {
        "architecture": "gated" if dictionary.architecture == "gated" else "standard",
        "model_name": about.get("model"),
        "hook_point_layer": about.get("layer"),
        "layer_subtype": f"hook_{about['hook_point']}" if "hook_point" in about else None,
        "d_in": dictionary.d,
        "d_sae": dictionary.m,
        "expansion_factor": dictionary.m // dictionary.d,
        "activation_fn_str": "topk" if topk else "relu",
        "activation_fn_kwargs": dictionary.options(),
        "normalize_activations": None,
        "cls_token_only": dictionary.tokens == "cls",
        "use_patches_only": dictionary.tokens == "spatial",
        "is_transcoder": False,
    }
    return config, _tensors(dictionary, gated_has_b_enc=True)


def _tensors(dictionary: Dictionary, *, gated_has_b_enc: bool) -> dict[str, Tensor]:
    """By the names that both programs share."""
    found = dictionary.tensors()
    if dictionary.architecture == "scaled_topk":  # the norms stand in their decoders
        found["W_dec"] = found["W_dec"] * found.pop("gain").unsqueeze(1)
    if dictionary.architecture == "gated":
        gain, shift = found.pop("gain").double(), found.pop("shift").double()
        if not bool((gain > 0).all()):
            raise ClipsteerError(
                "a gated dictionary: found a feature whose gain is 0, expected all above, as r_mag is their logarithm. "
                "It cannot be written in this layout."
            )
        found["b_gate"] = found.pop("b_enc")
        found["r_mag"] = gain.log().float()
        found["b_mag"] = (shift + gain * found["b_gate"].double()).float()
        if gated_has_b_enc:  # there, but not used
            found["b_enc"] = torch.zeros_like(found["b_gate"])
    return found


def _hook(about: Mapping[str, Any]) -> str | None:
    if "layer" not in about or "hook_point" not in about:
        return None
    return f"blocks.{about['layer']}.hook_{about['hook_point']}"


def _no_form(dictionary: Dictionary, program: str) -> ClipsteerError:
    return ClipsteerError(
        f"architecture {dictionary.architecture}: {program} has no form for it, expected another layout of "
        f"{', '.join(LAYOUTS)}. Take that one."
    )
