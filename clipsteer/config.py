"""Checks the configuration: every fault at once, each with its dotted key and what to do about it.

Types, ranges and defaults are those of the classes in `clipsteer.sections`; what no field can say (a
dictionary's data set exists, k fits the dictionary) is checked here. Nothing here reads data, but it is seen
whether the folders are there; of a CLIP folder config.json is read, because the number of layers shapes the
DAG.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from clipsteer.activations.chunks import buffer_fault, shuffled_images
from clipsteer.data.forms import name_faults, option_faults
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lookalikes import check_content
from clipsteer.sections.check import filled
from clipsteer.training_length import training_steps, without_effect

Config = Mapping[str, Any]

# Keys of `training` that only one architecture reads: an option without effect is an error.
_ONLY = {"k": "topk", "l1": "vanilla"}
# Folders beside the data sets' in artifacts/refs.
_RESERVED = {"model", "raw", "dictionaries"}
# The layout that each world is painted in.
_WORLD_LAYOUTS = {"faces": "celeba", "birds": "waterbirds", "general": "imagenet"}
_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


def validate(config: Config, base: Path) -> dict[str, Any]:
    """`config` with its values as they are meant and its defaults filled in: what the workflow is to use.

    A plain mapping, the same whether a default is written or left out. `base` is the folder that relative
    paths in the config start from. Raises one ClipsteerError that lists all faults.
    """
    meant, faults = filled(config)
    if not faults:  # the rules below take the shape for granted
        faults = list(_meaning(meant, base))
    if faults:
        listing = "\n".join(f"  - {fault}" for fault in faults)
        noun = "fault" if len(faults) == 1 else "faults"
        raise ClipsteerError(f"the configuration has {len(faults)} {noun}:\n{listing}")
    return meant


def _meaning(config: Config, base: Path) -> Iterator[str]:
    """What keys that fit their own class say amiss of each other, or of what is on the disk."""
    yield from _model_faults(config, base)
    yield from _dataset_faults(config, base)
    yield from _root_faults(config, base)
    for name in _RESERVED & set(config["datasets"]):
        yield f"datasets.{name}: this name is taken (artifacts/refs/{name}); choose another."
    for table, names in config["tables"].items():
        if names:  # not switched off
            yield from _table_faults(config, table)
    for name in used_dictionaries(config):
        yield from _dictionary_faults(config, name, base)
    thresholds = config["steering"]["thresholds"]
    if thresholds["low"] >= thresholds["high"]:
        yield (
            f"steering.thresholds: low {thresholds['low']} must be below high {thresholds['high']}."
        )
    strict, slack = config["steering"]["strict"], config["steering"]["strict_slack"]
    if slack and strict != "no_group_falls":
        yield f"steering.strict_slack: {slack} has no effect on {strict}; expected 0, or strict: no_group_falls."


def _dataset_faults(config: Config, base: Path) -> Iterator[str]:
    needed = needed_datasets(config)
    for name, dataset in config["datasets"].items():
        if dataset["root"] == "painted" and "painted" not in dataset:
            yield f"datasets.{name}.painted: missing, but datasets.{name}.root is `painted`."
        elif dataset["root"] == "painted" and name in needed:
            yield from _painted_faults(dataset, f"datasets.{name}")
        yield from option_faults(f"datasets.{name}", dataset, _folder_of(dataset, base))


def _table_faults(config: Config, table: str) -> Iterator[str]:
    datasets, dictionaries = config["datasets"], config["dictionaries"]
    names = config["tables"][table]
    if table not in datasets:
        yield (
            f"tables.{table}: no data set of that name; datasets: {', '.join(datasets)}."
            + close_match(table, list(datasets))
        )
        return
    if datasets[table]["layout"] == "imagenet":
        yield (
            f"tables.{table}: layout imagenet has no target and spurious attribute; expected celeba, "
            "waterbirds or folder."
        )
    neurons = [d for d in names if dictionaries.get(d, {}).get("architecture") == "neurons"]
    if neurons == names:
        yield f"tables.{table}: found only neurons; expected at least one trained dictionary."
    hooks = [dictionaries[d]["hook_point"] for d in neurons]
    if len(set(hooks)) < len(hooks):
        yield f"tables.{table}: {', '.join(neurons)} are one neuron basis; expected one a hook point."
    for key in ("class_names", "group_names", "templates"):
        if key not in datasets[table]:
            yield f"datasets.{table}.{key}: missing, but tables.{table} needs it."
    yield from name_faults(f"datasets.{table}", datasets[table])
    for name in names:
        if name not in dictionaries:
            yield (
                f"tables.{table}: found {name}, expected one of {', '.join(dictionaries)}."
                + close_match(name, list(dictionaries))
            )


def _folder_of(dataset: Config, base: Path) -> Path | None:
    """The user's folder of a data set; None for a painted one."""
    return None if dataset["root"] == "painted" else base / Path(dataset["root"]).expanduser()


def _painted_faults(dataset: Config, key: str) -> Iterator[str]:
    """A world that is not painted in the data set's layout, or not in such numbers."""
    world, counts = dataset["painted"]["world"], dataset["painted"]["counts"]
    if dataset["layout"] != _WORLD_LAYOUTS[world]:
        yield (
            f"{key}.layout: found {dataset['layout']}, but the world {world} is painted in the layout "
            f"{_WORLD_LAYOUTS[world]}; change the layout or {key}.painted.world, or set {key}.root to a folder."
        )
        return
    if world == "general":
        for split, count in counts.items():
            if split == "test" or isinstance(count, list):
                yield (
                    f"{key}.painted.counts.{split}: found {count}, but the world general has no groups and no "
                    "test split; expected one number of images for train and validation."
                )
        return
    for split, asked in dataset["evaluation"].items():
        count = counts.get(split, 0)
        most = min(count) if isinstance(count, list) else count // 4
        if asked is not None and asked > most:
            yield (
                f"{key}.evaluation.{split}: found {asked}, but {key}.painted.counts.{split} is {count}, so that "
                f"some group has at most {most} images; expected at most that many, or null for all."
            )


def _root_faults(config: Config, base: Path) -> Iterator[str]:
    for name in needed_datasets(config):
        dataset = config["datasets"].get(name, {"root": "painted"})
        root, folder = dataset["root"], _folder_of(dataset, base)
        if folder is None or folder.is_dir():
            continue
        layout = import_module(f"clipsteer.data.layouts.{dataset['layout']}").__doc__ or ""
        yield (
            f"datasets.{name}.root: found no folder at {root}. Put the data set there, set the key to the "
            "folder that holds it, or set it to `painted`. Expected:\n"
            + "\n".join(f"      {line}".rstrip() for line in layout.strip().splitlines())
        )


def _model_faults(config: Config, base: Path) -> Iterator[str]:
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


def _dictionary_faults(config: Config, name: str, base: Path) -> Iterator[str]:
    dictionary, key = config["dictionaries"][name], f"dictionaries.{name}"
    if dictionary["hook_point"] not in config["activations"]["hook_points"]:
        yield (
            f"{key}.hook_point: {dictionary['hook_point']} is not among activations.hook_points "
            f"({', '.join(config['activations']['hook_points'])})."
        )
    if name == "neurons" and dictionary["architecture"] != "neurons":
        yield f"{key}: tables keep this name for the neuron basis; choose another for a trained dictionary."
    if dictionary["architecture"] == "neurons":
        for extra in ("training", "trained_on"):
            if extra in dictionary:
                yield f"{key}.{extra}: has no effect, the neuron basis is not trained; remove it."
        return
    for needed in ("training", "trained_on"):
        if needed not in dictionary:
            yield f"{key}.{needed}: missing; a {dictionary['architecture']} dictionary is trained."
            return
    if dictionary["trained_on"] not in config["datasets"]:
        yield (
            f"{key}.trained_on: found {dictionary['trained_on']}, expected one of "
            f"{', '.join(config['datasets'])}."
            + close_match(dictionary["trained_on"], list(config["datasets"]))
        )
    training = dictionary["training"]
    for option, architecture in _ONLY.items():
        if dictionary["architecture"] == architecture and option not in training:
            yield f"{key}.training.{option}: missing; {architecture} needs it."
        if dictionary["architecture"] != architecture and option in training:
            yield f"{key}.training.{option}: has no effect on {dictionary['architecture']}; remove it."
    try:
        tower = vision(config, base)
    except ClipsteerError:  # told of model.source
        return
    if tower is None:
        return
    if training.get("k", 0) > training["expansion"] * tower.width:
        yield (
            f"{key}.training.k: found {training['k']}, but the dictionary has only m = expansion * d = "
            f"{training['expansion'] * tower.width} features."
        )
    if dictionary["trained_on"] in config["datasets"]:
        yield from _length_faults(config, name, tower, base)


def _length_faults(config: Config, name: str, tower: Vision, base: Path) -> Iterator[str]:
    """A batch or a buffer that does not suit the number of tokens."""
    dictionary, key = config["dictionaries"][name], f"dictionaries.{name}.training"
    training, dataset = dictionary["training"], config["datasets"][dictionary["trained_on"]]
    images = _painted_images(dataset)
    if images is not None:
        try:
            training_steps(training, images * tower.tokens, key)
        except ClipsteerError as error:
            yield str(error)

    def fault(n_images: int | None) -> str:
        return buffer_fault(
            f"{key}.buffer_mb",
            training["buffer_mb"] * 2**20,
            batch_size=training["batch_size"],
            images=shuffled_images(tower.tokens, tower.width),
            n_tokens=tower.tokens,
            width=tower.width,
            n_images=n_images,
        )

    if (
        fault(None) and images is None
    ):  # a small split may still fit whole: only now it is worth reading labels
        images = _labelled_images(dataset, base)
    if images is not None and (found := fault(images)):
        yield found


def _labelled_images(dataset: Config, base: Path) -> int | None:
    """Training images of a folder, with their augmented copies; None where its labels cannot be read."""
    from clipsteer.store.trees import FolderTree

    layout = import_module(f"clipsteer.data.layouts.{dataset['layout']}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = layout.read(
                FolderTree(base / Path(dataset["root"]).expanduser()), **dataset.get("options", {})
            )
    except Exception:  # whatever it is, build_manifest says it better
        return None
    return int((rows["split"] == "train").sum()) * int(1 + dataset["augment"])


def _painted_images(dataset: Config) -> int | None:
    """Training images of a painted data set, with their augmented copies; None where it is not painted."""
    if dataset["root"] != "painted" or "painted" not in dataset:
        return None
    return painted_count(dataset, "train") * int(1 + dataset["augment"])


def painted_count(dataset: Config, split: str) -> int:
    """Images of a split of a painted data set; 0 where the config names none."""
    count = dataset["painted"]["counts"].get(split, 0)
    return int(sum(count) if isinstance(count, list) else count)


def config_warnings(config: Config, base: Path) -> list[str]:
    """What of a valid config has no effect, as far as it is known how long its trainings are.

    Of images that are not painted, the job that trains counts them, and says the same in its log.
    """
    tower = vision(config, base)
    found: list[str] = []
    if config["model"]["source"] == "tiny":
        tiny = config["model"]["tiny"]
        found += without_effect(tiny, tiny["steps"], "model.tiny")
    for name in used_dictionaries(config):
        training = config["dictionaries"][name].get("training")
        if training and tower:
            images = _painted_images(config["datasets"][config["dictionaries"][name]["trained_on"]])
            if images is not None:
                key = f"dictionaries.{name}.training"
                steps = training_steps(training, images * tower.tokens, key)
                found += without_effect(training, steps, key)
    return found


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


def used_dictionaries(config: Config) -> list[str]:
    """Names of the dictionaries that some table asks for, in the order of the config."""
    used = {name for names in config["tables"].values() for name in names}
    return [name for name in config["dictionaries"] if name in used]


def needed_datasets(config: Config) -> list[str]:
    """Data sets that some table needs: the ones it edits, and the ones its dictionaries and the CLIP learn from."""
    needed = {table for table, names in config["tables"].items() if names}
    for name in used_dictionaries(config):
        needed |= {config["dictionaries"][name].get("trained_on")} - {None}
    if config["model"]["source"] == "tiny":
        needed |= set(config["model"].get("tiny", {}).get("worlds", []))
    return sorted(needed)
