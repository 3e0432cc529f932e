"""A dictionary on disk: `dictionary.safetensors` and `dictionary.json`. No pickle."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipsteer.dictionaries.base import Dictionary, check_shapes
from clipsteer.dictionaries.registry import architecture as architecture_named
from clipsteer.errors import ClipsteerError

FORMAT = "clipsteer-dictionary/1"
TENSORS = "dictionary.safetensors"
DESCRIPTION = "dictionary.json"
KEYS = ("format", "architecture", "d", "m", "options", "metadata")

#: How far a float32 row may be from unit norm.
NORM_TOLERANCE = 1e-4

_SYSTEMS = re.compile(r"os error (\d+)")


def save(dictionary: Dictionary, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write a dictionary into `folder` (made if absent); the same dictionary gives the same bytes.

    Args:
        dictionary: what to write; its tensors become float32.
        folder: where; holds nothing else of ours.
        metadata: JSON values: hook_point, layer, trained_on, model, config, ... as the caller has. Which `tokens` it is
            for, where that is not all of them, is added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in dictionary.tensors().items()
    }
    tokens = dictionary.tokens
    description = {
        "format": FORMAT,
        "architecture": dictionary.architecture,
        "d": dictionary.d,
        "m": dictionary.m,
        "options": dictionary.options(),
        "metadata": {**metadata, **({"tokens": tokens} if tokens != "all" else {})},
    }
    text = json.dumps(description, sort_keys=True, indent=2, allow_nan=False)
    _write(tensors, folder / TENSORS)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors from where they lie, without a copy in memory."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:  # its error on a full disk has its number in words only
        number = _SYSTEMS.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load(folder: Path, device: torch.device | str = "cpu") -> Dictionary:
    """Read a dictionary and check all of it.

    Raises:
        ClipsteerError: a file is missing or unreadable, a key or tensor is missing, unknown, of the
            wrong type or shape, not finite, or a decoder row is not of unit norm. The message names
            the file and the key.
    """
    description = describe(folder)
    path = folder / TENSORS
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise _missing(path) from None
    except (SafetensorError, OSError) as error:
        raise ClipsteerError(
            f"{path}: found a file that safetensors cannot read ({error}), expected the tensors of "
            "a dictionary. Delete it and make it again."
        ) from error
    kind = architecture_named(description["architecture"], f"{folder / DESCRIPTION}: architecture")
    d, m = description["d"], description["m"]
    if kind.NAMES or tensors:
        check_shapes(d, m, tensors, str(path), kind.NAMES)
    _check_values(tensors, path)
    try:
        dictionary = kind.build(d, m, tensors, description["options"])
        dictionary.tokens = description["metadata"].get("tokens", "all")
        return dictionary.to(device)
    except (ClipsteerError, TypeError, ValueError) as error:
        raise ClipsteerError(
            f"{folder / DESCRIPTION}: options: found {description['options']} with d = {d}, "
            f"m = {m}, which architecture {description['architecture']!r} refuses: {error}"
        ) from error


def directions(folder: Path) -> Tensor:
    """The unit rows (m, d) of a dictionary's decoder, without the rest of it."""
    with safe_open(folder / TENSORS, framework="pt") as file:
        rows: Tensor = file.get_tensor("W_dec")
    return rows


def describe(folder: Path) -> dict[str, Any]:
    """The content of `dictionary.json`, without opening the tensors (see `load`).

    Raises ClipsteerError where the file is missing, no JSON, or not what `save` writes.
    """
    path = folder / DESCRIPTION
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except (ValueError, OSError) as error:
        raise ClipsteerError(
            f"{path}: found text that is not JSON ({error}), expected the description of a "
            "dictionary. Make the dictionary again."
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        version = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise ClipsteerError(
            f"{path}: format: found {version!r}, expected {FORMAT!r}. Import dictionaries of other "
            "programs with their importer."
        )
    if set(found) != set(KEYS):
        raise ClipsteerError(
            f"{path}: missing keys {sorted(set(KEYS) - set(found))}, unknown keys "
            f"{sorted(set(found) - set(KEYS))}; expected exactly {sorted(KEYS)}."
        )
    for key in ("d", "m"):
        if isinstance(found[key], bool) or not isinstance(found[key], int) or found[key] < 1:
            raise ClipsteerError(
                f"{path}: {key}: found {found[key]!r}, expected a whole number above 0."
            )
    for key in ("options", "metadata"):
        if not isinstance(found[key], dict):
            raise ClipsteerError(f"{path}: {key}: found {found[key]!r}, expected a mapping.")
    return found


def _check_values(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise ClipsteerError(f"{path}: {name}: found {tensor.dtype}, expected torch.float32.")
        if not bool(torch.isfinite(tensor).all()):
            raise ClipsteerError(
                f"{path}: {name}: found NaN or infinite values, expected finite ones. Train the "
                "dictionary again with a lower lr."
            )
    if "W_dec" in tensors:
        norms = torch.linalg.vector_norm(tensors["W_dec"], dim=1)
        worst = float((norms - 1).abs().max())
        if worst > NORM_TOLERANCE:
            raise ClipsteerError(
                f"{path}: W_dec: found a row whose norm is off by {worst:.3g}, expected unit rows. "
                "Fold the norms into the encoder when importing."
            )


def _missing(path: Path) -> ClipsteerError:
    return ClipsteerError(
        f"{path}: not found; expected a folder with {DESCRIPTION} and {TENSORS}. Train or import "
        "the dictionary first."
    )
