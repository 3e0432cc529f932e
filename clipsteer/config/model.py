"""The vision tower of `model.source`, as far as it is known before anything runs, and what `model` says amiss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from clipsteer.backbones.shape import FAMILIES, Shape, read_shape
from clipsteer.config.used import Config
from clipsteer.errors import ClipsteerError, close_match

_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


def vision(config: Config, base: Path) -> Shape | None:
    """The shape of the vision tower of `model.source`; None where only the hub knows it.

    Raises ClipsteerError where `model.source` is a folder that is not a model's, or nothing at all.
    """
    source = config["model"]["source"]
    if source == "tiny":
        tiny = config["model"]["tiny"]
        sizes = (tiny[key] for key in ("vision_layers", "vision_width", "image_size", "patch_size"))
        return Shape("clip", *sizes)
    folder = base / Path(source).expanduser()
    if folder.is_dir():
        try:
            return read_shape(folder)
        except ClipsteerError as error:
            raise ClipsteerError(f"model.source: {error}") from None
    if _HUB_NAME.match(source) and not source.startswith("."):
        return None
    raise ClipsteerError(
        f"model.source: found {source}, expected `tiny`, the folder of a transformers CLIP or SigLIP (with "
        "config.json and model.safetensors), or a hub name such as openai/clip-vit-base-patch32. "
        f"There is no folder {folder}."
    )


def model_shape(config: Config, base: Path) -> tuple[int | None, int | None]:
    """(number of layers, width) of the vision tower; (None, None) where only the hub knows.

    Raises as `vision`.
    """
    found = vision(config, base)
    return (found.n_layers, found.width) if found else (None, None)


def layers_of(config: Config, base: Path) -> list[int]:
    """The layers that are extracted and edited, ascending. Raises ClipsteerError where only the hub knows them."""
    chosen = config["activations"]["layers"]
    if chosen != "all":
        return sorted(chosen)
    layers, _ = model_shape(config, base)
    if layers is None:
        raise ClipsteerError(
            "activations.layers: found all, expected numbers, as only the hub knows how many layers there are."
        )
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
        tower = vision(config, base)
    except ClipsteerError as error:
        yield str(error)
        return
    layers = tower.n_layers if tower else None
    if tower:
        yield from _family_faults(config, tower)
    chosen = config["activations"]["layers"]
    if layers is None and chosen == "all":
        yield (
            f"model.source: found {model['source']}. There is no folder {base / model['source']}; put a "
            "transformers CLIP or SigLIP there (config.json, model.safetensors, tokenizer and processor files). Or, if "
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


def _family_faults(config: Config, tower: Shape) -> Iterator[str]:
    """What the model's family does not have."""
    source = config["model"]["source"]
    for key in ("aggregate", "tokens"):
        if tower.cls is None and config["steering"][key] == "cls":
            yield (
                f"steering.{key}: found cls, but {source} is a {tower.family} and has no CLS token; expected "
                "another value."
            )
    if config["model"]["crop"] != "transformers" and not FAMILIES[tower.family].crops:
        yield (
            f"model.crop: {config['model']['crop']} has no effect on {source}: a {tower.family} does not crop "
            "images; expected transformers."
        )
