"""What keys of `dictionaries` say amiss of each other, of the data they learn from or of the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clipsteer.config.datasets import not_a_model
from clipsteer.config.grid import has_grid, in_words, points, size
from clipsteer.config.lengths import length_faults
from clipsteer.config.model import layers_of, vision
from clipsteer.config.used import FIRST, Config, dictionary_model, models
from clipsteer.dictionaries.sources import KEYS as IMPORT_KEYS
from clipsteer.dictionaries.sources import source_faults
from clipsteer.errors import ClipsteerError, close_match

# Keys of `training` that only some architectures read, and need: an option without effect is an error.
_ONLY = {
    "k": ("topk", "batchtopk", "matryoshka"),
    "prefixes": ("matryoshka",),
    "l1": ("vanilla",),
}
# Keys of a dictionary that only a training here reads.
_TRAINED_ONLY = ("seed", "grid", "choose", "rule")


def dictionary_faults(config: Config, name: str, base: Path) -> Iterator[str]:
    """What one dictionary lacks, or has without effect, and numbers that do not fit its model or images."""
    dictionary, key = config["dictionaries"][name], f"dictionaries.{name}"
    if dictionary["hook_point"] not in config["activations"]["hook_points"]:
        yield (
            f"{key}.hook_point: {dictionary['hook_point']} is not among activations.hook_points "
            f"({', '.join(config['activations']['hook_points'])})."
        )
    if name == "neurons" and dictionary["architecture"] != "neurons":
        yield f"{key}: tables keep this name for the neuron basis; choose another for a trained dictionary."
    if name == "random":
        yield f"{key}: results of steerability keep this name for random directions; choose another."
    if dictionary["architecture"] == "neurons":
        for extra in ("training", "trained_on", *_TRAINED_ONLY):
            if extra in dictionary:
                yield f"{key}.{extra}: has no effect, the neuron basis is not trained; remove it."
    model = dictionary_model(config, name)
    if dictionary["architecture"] == "imported":
        for extra in _TRAINED_ONLY:
            if extra in dictionary:
                yield f"{key}.{extra}: has no effect, a released dictionary is not trained; remove it."
        yield from not_a_model(config, f"{key}.model", dictionary.get("model", FIRST))
        if model in models(config):
            with suppress(ClipsteerError):  # told of the model's source, or of its layers
                yield from source_faults(dictionary, layers_of(config, base, model), base, key)
        return
    for extra in IMPORT_KEYS:
        if extra in dictionary:
            found = dictionary["architecture"]
            yield f"{key}.{extra}: has no effect on {found}; remove it, or set {key}.architecture: imported."
    if dictionary["architecture"] == "neurons":
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
    architecture = dictionary["architecture"]
    for option, readers in _ONLY.items():
        if architecture in readers and option not in training:
            yield f"{key}.training.{option}: missing; {architecture} needs it."
        if architecture not in readers and option in training:
            yield f"{key}.training.{option}: has no effect on {architecture}; remove it."
    yield from _choice_faults(dictionary, key)
    prefixes = training.get("prefixes", [1])
    if prefixes != sorted(set(prefixes)) or prefixes[-1] != 1:
        yield f"{key}.training.prefixes: found {prefixes}, expected ascending shares, the last 1."
    if model not in models(config):  # told of the data set
        return
    try:
        tower = vision(config, base, model)
    except ClipsteerError:  # told of the model's source
        return
    if tower is None:
        return
    if training.get("k", 0) > training["expansion"] * tower.width:
        yield (
            f"{key}.training.k: found {training['k']}, but the dictionary has only m = expansion * d = "
            f"{training['expansion'] * tower.width} features."
        )
    if dictionary["trained_on"] in config["datasets"]:
        yield from length_faults(config, name, tower, base)


def _choice_faults(dictionary: Config, key: str) -> Iterator[str]:
    """What is amiss with the way in which a point of a grid is chosen."""
    choose, rule = dictionary.get("choose", "fixed"), dictionary.get("rule")
    values = [name for name in dictionary.get("grid", {}) if name != "seed"]
    if "choose" in dictionary and not has_grid(dictionary):
        yield f"{key}.choose: has no effect without {key}.grid; remove it, or list values there."
    elif choose != "fixed" and not values:
        yield (
            f"{key}.choose: found {choose} with a grid of seeds alone, expected fixed: seeds repeat a setting, and "
            "none of them is chosen."
        )
    if rule is None:
        if choose == "rule":
            yield f"{key}.rule: missing; choose: rule needs max_l0 or min_explained_variance there."
    elif choose != "rule":
        yield f"{key}.rule: has no effect on choose: {choose}; remove it, or set {key}.choose: rule."
    elif len(rule) != 1:
        found = " and ".join(rule) or "neither"
        yield f"{key}.rule: found {found}, expected either max_l0 or min_explained_variance."


def grid_faults(config: Config, name: str, base: Path) -> Iterator[str]:
    """A grid that is too large, and what its points have amiss of each other, of their data or of the model.

    For a dictionary that is sound itself.
    """
    dictionary, key = config["dictionaries"][name], f"dictionaries.{name}.grid"
    if not has_grid(dictionary):
        return
    found, most = size(dictionary), config["sweep"]["max_points"]
    if found > most:
        layers = len(layers_of(config, base, dictionary_model(config, name)))
        yield (
            f"{key}: found {found:,} combinations, {found * layers:,} dictionaries for {layers} layers, expected at "
            f"most {most:,}. List fewer values, or raise sweep.max_points if you mean it."
        )
        return
    said = set[str]()
    for point, settings in points(config, name).items():
        if point == name:
            continue
        where = f"{key} ({in_words(config, name, settings)})"
        if point in config["dictionaries"]:
            yield f"dictionaries.{point}: is what a point of {where} is called; choose another name."
            continue
        wider = {**config, "dictionaries": {**config["dictionaries"], point: settings}}
        for fault in dictionary_faults(wider, point, base):
            words = fault.removeprefix(f"dictionaries.{point}.")
            if words not in said:
                yield f"{where}, {words.replace(f'dictionaries.{point}', where)}"
            said.add(words)
