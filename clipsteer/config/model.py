"""The vision towers of a configuration's models, as far as they are known before anything runs, and what is amiss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from clipsteer.backbones.shape import FAMILIES, Shape, read_shape
from clipsteer.config.used import FIRST, Config, models, section_of, tiny_models, used_models
from clipsteer.errors import ClipsteerError, close_match

_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


def vision(config: Config, base: Path, model: str = FIRST) -> Shape | None:
    """The shape of a model's vision tower; None where only the hub knows it.

    Raises ClipsteerError where its `source` is a folder that is not a model's, or nothing at all.
    """
    source, key = models(config)[model]["source"], f"{section_of(model)}.source"
    if source == "tiny":
        tiny = models(config)[model].get("tiny")
        if tiny is None:
            raise ClipsteerError(_without_sizes(model))
        sizes = (tiny[key] for key in ("vision_layers", "vision_width", "image_size", "patch_size"))
        return Shape("clip", *sizes)
    folder = base / Path(source).expanduser()
    if folder.is_dir():
        try:
            return read_shape(folder)
        except ClipsteerError as error:
            raise ClipsteerError(f"{key}: {error}") from None
    if _HUB_NAME.match(source) and not source.startswith("."):
        return None
    raise ClipsteerError(
        f"{key}: found {source}, expected `tiny`, the folder of a transformers CLIP or SigLIP (with "
        "config.json and model.safetensors), or a hub name such as openai/clip-vit-base-patch32. "
        f"There is no folder {folder}."
    )


def model_shape(config: Config, base: Path, model: str = FIRST) -> tuple[int | None, int | None]:
    """(number of layers, width) of the vision tower; (None, None) where only the hub knows.

    Raises as `vision`.
    """
    found = vision(config, base, model)
    return (found.n_layers, found.width) if found else (None, None)


def layers_of(config: Config, base: Path, model: str = FIRST) -> list[int]:
    """The layers of a model that are extracted and edited, ascending.

    Raises ClipsteerError where only the hub knows them.
    """
    key, chosen = _chosen_layers(config, model)
    if chosen is not None:
        return sorted(chosen)
    layers, _ = model_shape(config, base, model)
    if layers is None:
        raise ClipsteerError(
            f"{key}: found all, expected numbers, as only the hub knows how many layers there are."
        )
    return list(range(layers))


def _chosen_layers(config: Config, model: str) -> tuple[str, list[int] | None]:
    """Which layers of a model count: the dotted key that says it, and their numbers, None for all."""
    settings = models(config)[model]
    key = f"{section_of(model)}.layers" if "layers" in settings else "activations.layers"
    chosen = settings.get("layers", config["activations"]["layers"])
    return key, None if chosen == "all" else chosen


# ------------------------------------------------------------------------------ faults


def model_faults(config: Config, base: Path) -> Iterator[str]:
    """Sizes that do not divide, models that are not there or have no use, and layers that they do not have."""
    for model in tiny_models(config):
        if "tiny" not in models(config)[model]:
            yield _without_sizes(model)
            return
        yield from _tiny_faults(config, model)
    yield from _named_faults(config)
    used = (_source_faults(config, model, base) for model in used_models(config))
    yield from dict.fromkeys(fault for faults in used for fault in faults)


def _without_sizes(model: str) -> str:
    section = section_of(model)
    return f"{section}.tiny: missing, but {section}.source is `tiny`."


def _tiny_faults(config: Config, model: str) -> Iterator[str]:
    """Worlds that are no data sets, and sizes that do not divide."""
    tiny, key = models(config)[model]["tiny"], f"{section_of(model)}.tiny"
    for world in tiny["worlds"]:
        if world not in config["datasets"]:
            yield f"{key}.worlds: found {world}, no such key in datasets." + close_match(
                world, list(config["datasets"])
            )
    for part, whole in (
        ("patch_size", "image_size"),
        ("vision_heads", "vision_width"),
        ("text_heads", "text_width"),
    ):
        if tiny[whole] % tiny[part]:
            yield f"{key}.{part}: {tiny[part]} does not divide {whole} = {tiny[whole]}."


def _named_faults(config: Config) -> Iterator[str]:
    """What is amiss of the section `models` by itself: names, labels, and who uses them."""
    named = {dataset.get("model", FIRST) for dataset in config["datasets"].values()}
    labels: dict[str, str] = {}
    for model, settings in models(config).items():
        if settings["name"] in labels:
            yield (
                f"models.{model}.label: found {settings['name']}, which {labels[settings['name']]} has too, expected "
                "another one: tables tell models apart by it."
            )
        labels.setdefault(
            settings["name"], "model.name" if model == FIRST else f"models.{model}.label"
        )
    misnamed = named - set(models(config))  # told of the data sets
    for model in config["models"]:
        if model == FIRST:
            yield (
                "models.model: found the name of the section `model`, which is one of the models already, expected "
                "another. Rename it, or put its keys into that section."
            )
        elif model not in named and not misnamed:
            yield (
                f"models.{model}: found no data set of this model, expected one with datasets.<name>.model: {model}. "
                "Name it there, or remove it."
            )


def _source_faults(config: Config, model: str, base: Path) -> Iterator[str]:
    """A model that is not there, and what it does not have."""
    settings, section = models(config)[model], section_of(model)
    source = settings["source"]
    if settings["revision"] and (source == "tiny" or (base / Path(source).expanduser()).is_dir()):
        yield (
            f"{section}.revision: found {settings['revision']!r}, but {section}.source is not a hub name, so it has "
            "no effect; set it to null."
        )
    try:
        tower = vision(config, base, model)
    except ClipsteerError as error:
        yield str(error)
        return
    layers = tower.n_layers if tower else None
    if tower:
        yield from _family_faults(config, model, tower)
    key, chosen = _chosen_layers(config, model)
    if layers is None and chosen is None:
        yield (
            f"{section}.source: found {source}. There is no folder {base / source}; put a "
            "transformers CLIP or SigLIP there (config.json, model.safetensors, tokenizer and processor files). Or, if "
            f"it is a hub name, set {key} to a list such as [0, 1, 2]: how many layers it has "
            "is not known before it is downloaded."
        )
    for layer in chosen or []:
        if layer < 0 and layers is None:
            yield f"{key}: found {layer}; layers count from 0, the last of N is N - 1."
        elif layers is not None and not 0 <= layer < layers:
            yield (
                f"{key}: layer {layer} is out of range; {source} has layers 0 to {layers - 1}, counted from 0."
            )


def cls_faults(config: Config, section: str, source: str, tower: Shape) -> Iterator[str]:
    """That a section of edits asks for the CLS token of a model that has none."""
    for key in ("aggregate", "tokens"):
        if tower.cls is None and config[section][key] == "cls":
            yield (
                f"{section}.{key}: found cls, but {source} is a {tower.family} and has no CLS token; expected "
                "another value."
            )


def _family_faults(config: Config, model: str, tower: Shape) -> Iterator[str]:
    """What the model's family does not have."""
    settings = models(config)[model]
    source, crop = settings["source"], settings["crop"]
    yield from cls_faults(config, "steering", source, tower)
    if crop != "transformers" and not FAMILIES[tower.family].crops:
        yield (
            f"{section_of(model)}.crop: {crop} has no effect on {source}: a {tower.family} does not crop "
            "images; expected transformers."
        )
