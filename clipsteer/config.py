"""Checks the configuration: every fault at once, each with its dotted key and what to do about it.

The shape is schemas/config.schema.yaml (JSON Schema 2020-12); what a schema cannot say (a dictionary's
data set exists, k fits the dictionary) is checked here. Nothing here reads data, but it is seen whether
the folders are there; of a CLIP folder config.json is read, because the number of layers shapes the DAG.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from clipsteer.errors import ClipsteerError, close_match
from clipsteer.lookalikes import check_content

Config = Mapping[str, Any]

# Keys of `training` that only one architecture reads: an option without effect is an error.
_ONLY = {"k": "topk", "l1": "vanilla"}
# Folders beside the data sets' in artifacts/refs.
_RESERVED = {"model", "raw", "dictionaries"}
_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


def validate(config: Config, schema: Mapping[str, Any], base: Path) -> None:
    """Raises one ClipsteerError that lists all faults of `config`; silent where there is none.

    `base` is the folder that relative paths in the config start from.
    """
    faults = list(_shape(config, schema))
    if not faults:  # the rules below take the shape for granted
        faults = list(_meaning(config, base))
    if faults:
        listing = "\n".join(f"  - {fault}" for fault in faults)
        noun = "fault" if len(faults) == 1 else "faults"
        raise ClipsteerError(f"the configuration has {len(faults)} {noun}:\n{listing}")


def _shape(config: Config, schema: Mapping[str, Any]) -> Iterator[str]:
    errors = Draft202012Validator(schema).iter_errors(config)
    for error in sorted(errors, key=lambda e: [str(part) for part in e.absolute_path]):
        key = ".".join(str(part) for part in error.absolute_path)
        yield from _describe(key, error)


def _describe(key: str, error: ValidationError) -> Iterator[str]:
    found: Any = error.instance
    rule = error.validator
    value: Any = error.validator_value
    schema: Any = error.schema
    if rule == "additionalProperties" and isinstance(found, dict):
        allowed = list(schema.get("properties", {}))
        for extra in sorted(set(found) - set(allowed)):
            yield (
                f"{_join(key, extra)}: unknown key; allowed here: {', '.join(allowed)}."
                + close_match(str(extra), allowed)
            )
    elif rule == "required":
        missing = sorted(set(value) - set(found))
        # one error per missing key reaches us; name only the one that this error is about
        name = next((m for m in missing if f"'{m}'" in error.message), missing[0])
        yield f"{_join(key, name)}: missing; add it (config.yaml shows every key with a comment)."
    elif rule == "enum":
        allowed = [str(choice) for choice in value]
        yield f"{key}: found {found!r}, expected one of {', '.join(allowed)}." + close_match(
            str(found), allowed
        )
    else:
        yield f"{key}: found {found!r}, {_expected(error)}." + _yaml_hint(found, error)


def _expected(error: ValidationError) -> str:
    value: Any = error.validator_value
    match error.validator:
        case "type":
            kinds = [value] if isinstance(value, str) else value
            return "expected " + " or ".join(kinds)
        case "minimum":
            return f"expected at least {value}"
        case "maximum":
            return f"expected at most {value}"
        case "exclusiveMinimum":
            return f"expected more than {value}"
        case "minItems" | "minProperties" | "minLength":
            return f"expected at least {value} of them"
        case "maxItems":
            return f"expected at most {value} of them"
        case "uniqueItems":
            return "expected each once"
        case "pattern":
            return f"expected text that matches {value}"
        case "anyOf":
            return "expected " + " or ".join(_alternative(option) for option in value)
        case _:
            return str(error.message)


def _alternative(option: Mapping[str, Any]) -> str:
    if "const" in option:
        return repr(option["const"])
    if option.get("type") == "array":
        return "a list"
    if option.get("type") == "null":
        return "null"
    if option.get("$ref", "").endswith("/rate"):
        return "a number above 0"
    return "a whole number of at least 1"


def _yaml_hint(found: object, error: ValidationError) -> str:
    wanted: Any = error.validator_value
    numeric = wanted in ("number", "integer") or (
        isinstance(wanted, list) and {"number", "integer"} & {str(w) for w in wanted}
    )
    if (
        error.validator in ("type", "anyOf")
        and (numeric or error.validator == "anyOf")
        and isinstance(found, str)
    ):
        try:
            float(found)
        except ValueError:
            return ""
        return f" YAML reads {found} as text: write a number with a point before the exponent, such as 1.0e-4."
    return ""


def _join(key: str, part: object) -> str:
    return f"{key}.{part}" if key else str(part)


def _meaning(config: Config, base: Path) -> Iterator[str]:
    datasets, dictionaries = config["datasets"], config["dictionaries"]
    yield from _model_faults(config, base)
    for name, dataset in datasets.items():
        if dataset["root"] == "painted" and "painted" not in dataset:
            yield f"datasets.{name}.painted: missing, but datasets.{name}.root is `painted`."
    yield from _root_faults(config, base)
    for name in _RESERVED & set(datasets):
        yield f"datasets.{name}: this name is taken (artifacts/refs/{name}); choose another."
    for table, names in config["tables"].items():
        if not names:  # switched off
            continue
        if table not in datasets:
            yield (
                f"tables.{table}: no data set of that name; datasets: {', '.join(datasets)}."
                + close_match(table, list(datasets))
            )
            continue
        if datasets[table]["layout"] == "imagenet":
            yield (
                f"tables.{table}: layout imagenet has no target and spurious attribute; expected celeba, "
                "waterbirds or folder."
            )
        if all(dictionaries.get(d, {}).get("architecture") == "neurons" for d in names):
            yield f"tables.{table}: found only neurons; expected at least one trained dictionary."
        neurons = [d for d in names if dictionaries.get(d, {}).get("architecture") == "neurons"]
        hooks = [dictionaries[d]["hook_point"] for d in neurons]
        if len(set(hooks)) < len(hooks):
            yield f"tables.{table}: {', '.join(neurons)} are one neuron basis; expected one a hook point."
        for key in ("class_names", "group_names", "templates"):
            if key not in datasets[table]:
                yield f"datasets.{table}.{key}: missing, but tables.{table} needs it."
        for name in names:
            if name not in dictionaries:
                yield (
                    f"tables.{table}: found {name}, expected one of {', '.join(dictionaries)}."
                    + close_match(name, list(dictionaries))
                )
    for name in used_dictionaries(config):
        yield from _dictionary_faults(config, name, base)
    thresholds = config["steering"]["thresholds"]
    if thresholds["low"] >= thresholds["high"]:
        yield (
            f"steering.thresholds: low {thresholds['low']} must be below high {thresholds['high']}."
        )


def _root_faults(config: Config, base: Path) -> Iterator[str]:
    for name in needed_datasets(config):
        dataset = config["datasets"].get(name, {"root": "painted"})
        root = dataset["root"]
        if root == "painted" or (base / Path(root).expanduser()).is_dir():
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
    if layers is not None and chosen != "all":
        for layer in chosen:
            if layer >= layers:
                yield (
                    f"activations.layers: layer {layer} is out of range; {model['source']} has layers 0 "
                    f"to {layers - 1}."
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
    _, width = _shape_or_none(config, base)
    if width and training.get("k", 0) > training["expansion"] * width:
        yield (
            f"{key}.training.k: found {training['k']}, but the dictionary has only m = expansion * d = "
            f"{training['expansion'] * width} features."
        )


def _shape_or_none(config: Config, base: Path) -> tuple[int | None, int | None]:
    try:
        return model_shape(config, base)
    except ClipsteerError:
        return None, None


def model_shape(config: Config, base: Path) -> tuple[int | None, int | None]:
    """(number of layers, width) of the vision tower; (None, None) where only the hub knows.

    Raises ClipsteerError where `model.source` is a folder that is not a CLIP's, or nothing at all.
    """
    model = config["model"]
    source = model["source"]
    if source == "tiny":
        return model["tiny"]["vision_layers"], model["tiny"]["vision_width"]
    folder = base / Path(source).expanduser()
    if not folder.is_dir():
        if _HUB_NAME.match(source) and not source.startswith("."):
            return None, None
        raise ClipsteerError(
            f"model.source: found {source}, expected `tiny`, the folder of a transformers CLIP (with "
            "config.json and model.safetensors), or a hub name such as openai/clip-vit-base-patch32. "
            f"There is no folder {folder}."
        )
    file = folder / "config.json"
    try:
        vision = json.loads(file.read_text(encoding="utf-8"))["vision_config"]
        return int(vision["num_hidden_layers"]), int(vision["hidden_size"])
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
