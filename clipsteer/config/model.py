"""The vision tower of `model.source`, as far as it is known before anything runs, and what `model` says amiss."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clipsteer.config.used import Config
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lookalikes import check_content

_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


class Vision(NamedTuple):
    """The vision tower: encoder layers, width of the residual stream, tokens of an image with CLS."""

    layers: int
    width: int
    tokens: int


def vision(config: Config, base: Path) -> Vision | None:
    """The vision tower of `model.source`; None where only the hub knows it.

    Raises ClipsteerError where `model.source` is a folder that is not a CLIP's, or nothing at all.
    """
    sizes = _tower_sizes(config, base)
    if sizes is None:
        return None
    patches = sizes["image_size"] // sizes["patch_size"]
    return Vision(sizes["num_hidden_layers"], sizes["hidden_size"], patches**2 + 1)


def picture_size(config: Config, base: Path) -> int | None:
    """Side of the pictures that the vision tower takes, in pixels; None and raises as `vision`."""
    sizes = _tower_sizes(config, base)
    return sizes["image_size"] if sizes else None


def _tower_sizes(config: Config, base: Path) -> dict[str, int] | None:
    """The vision tower's sizes by the names that transformers has for them."""
    model = config["model"]
    source = model["source"]
    if source == "tiny":
        tiny = model["tiny"]
        return {
            "num_hidden_layers": tiny["vision_layers"],
            "hidden_size": tiny["vision_width"],
            "image_size": tiny["image_size"],
            "patch_size": tiny["patch_size"],
        }
    folder = base / Path(source).expanduser()
    if not folder.is_dir():
        if _HUB_NAME.match(source) and not source.startswith("."):
            return None
        raise ClipsteerError(
            f"model.source: found {source}, expected `tiny`, the folder of a transformers CLIP (with "
            "config.json and model.safetensors), or a hub name such as openai/clip-vit-base-patch32. "
            f"There is no folder {folder}."
        )
    file = folder / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        # as transformers reads it: the older name overrules, and these are the sizes of what is left out
        sizes = {"image_size": 224, "patch_size": 32, **content["vision_config"]}
        sizes |= content.get("vision_config_dict") or {}
        names = ("num_hidden_layers", "hidden_size", "image_size", "patch_size")
        found = {name: int(sizes[name]) for name in names}
        if not found["patch_size"]:
            raise ValueError("patches of nothing")
        return found
    except FileNotFoundError:
        raise ClipsteerError(
            f"model.source: {folder} has no config.json; expected a folder saved by transformers."
        ) from None
    except (KeyError, ValueError, TypeError):
        check_content(file.read_bytes(), f"model.source: {file}")
        raise ClipsteerError(
            f"model.source: {file} has no vision_config with num_hidden_layers and hidden_size; "
            "expected a CLIP model with a vision tower."
        ) from None


def model_shape(config: Config, base: Path) -> tuple[int | None, int | None]:
    """(number of layers, width) of the vision tower; (None, None) where only the hub knows.

    Raises as `vision`.
    """
    found = vision(config, base)
    return (found.layers, found.width) if found else (None, None)


def layers_of(config: Config, base: Path) -> list[int]:
    """The layers that are extracted and edited, ascending."""
    chosen = config["activations"]["layers"]
    if chosen != "all":
        return sorted(chosen)
    layers, _ = model_shape(config, base)
    assert layers is not None  # `validate` has seen to it
    return list(range(layers))


def model_faults(config: Config, base: Path) -> Iterator[str]:
    """Sizes that do not divide, a model that is not there, and layers that it does not have."""
    model = config["model"]
    if model["source"] == "tiny":
        if "tiny" not in model:
            yield "model.tiny: missing, but model.source is `tiny`."
            return
        tiny = model["tiny"]
        for world in tiny["worlds"]:
            if world not in config["datasets"]:
                yield f"model.tiny.worlds: found {world}, no such key in datasets." + close_match(
                    world, list(config["datasets"])
                )
        for part, whole in (
            ("patch_size", "image_size"),
            ("vision_heads", "vision_width"),
            ("text_heads", "text_width"),
        ):
            if tiny[whole] % tiny[part]:
                yield f"model.tiny.{part}: {tiny[part]} does not divide {whole} = {tiny[whole]}."
    if model["revision"] and (
        model["source"] == "tiny" or (base / Path(model["source"]).expanduser()).is_dir()
    ):
        yield (
            f"model.revision: found {model['revision']!r}, but model.source is not a hub name, so it has no "
            "effect; set it to null."
        )
    try:
        layers, _ = model_shape(config, base)
    except ClipsteerError as error:
        yield str(error)
        return
    chosen = config["activations"]["layers"]
    if layers is None and chosen == "all":
        yield (
            f"model.source: found {model['source']}. There is no folder {base / model['source']}; put a "
            "transformers CLIP there (config.json, model.safetensors, tokenizer and processor files). Or, if "
            "it is a hub name, set activations.layers to a list such as [0, 1, 2]: how many layers it has "
            "is not known before it is downloaded."
        )
    for layer in [] if chosen == "all" else chosen:
        if layer < 0 and layers is None:
            yield f"activations.layers: found {layer}; layers count from 0, the last of N is N - 1."
        elif layers is not None and not 0 <= layer < layers:
            yield (
                f"activations.layers: layer {layer} is out of range; {model['source']} has layers 0 "
                f"to {layers - 1}, counted from 0."
            )
