"""What keys of `typographic`, and attacks of data sets, say amiss of each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clipsteer.config.model import cls_faults, vision
from clipsteer.config.used import (
    Config,
    dictionary_model,
    is_photographed,
    models,
    typographic_datasets,
    typographic_models,
)
from clipsteer.data.fonts import font_file
from clipsteer.data.forms import PRINTED
from clipsteer.errors import ClipsteerError, close_match


def typographic_faults(config: Config, base: Path) -> Iterator[str]:
    """What the typographic table asks for and does not have."""
    for name, dataset in config["datasets"].items():
        yield from _attack_faults(f"datasets.{name}.attack", dataset, base)
    settings, datasets = config["typographic"], config["datasets"]
    if not settings["benchmarks"]:
        return
    if "tuned_on" not in settings:
        yield "typographic.tuned_on: missing, but typographic.benchmarks names some; expected a data set."
        return
    strange = [name for name in typographic_datasets(config) if name not in datasets]
    for name in strange:
        yield f"typographic: found {name}, no such key in datasets." + close_match(
            name, list(datasets)
        )
    if strange:
        return
    tuned = settings["tuned_on"]
    if "attack" not in datasets[tuned]:
        yield f"typographic.tuned_on: found {tuned}, which has no attack; expected datasets.{tuned}.attack."
    for name in settings["benchmarks"]:
        if "attack" not in datasets[name] and not is_photographed(datasets[name]):
            yield (
                f"typographic.benchmarks: found {name}, on whose images are no words; expected datasets.{name}.attack, "
                f"or a layout of photographs with words ({', '.join(PRINTED)})."
            )
    for name in typographic_datasets(config):
        if "templates" not in datasets[name]:
            yield f"datasets.{name}.templates: missing, but results/typographic_table.csv needs it."
    seen = typographic_models(config)
    if len(seen) > 1:
        yield f"typographic: found data sets of the models {', '.join(seen)}; expected one model for all."
    yield from _token_faults(config, seen[0], base)
    yield from _dictionary_faults(config, seen[0])
    low, high = settings["thresholds"]["low"], settings["thresholds"]["high"]
    if low >= high:
        yield f"typographic.thresholds: low {low} must be below high {high}."


def _token_faults(config: Config, model: str, base: Path) -> Iterator[str]:
    """Tokens that the model does not have, as far as it is known before the table is asked for."""
    if model in models(config):  # else a fault of the data set
        with suppress(ClipsteerError):
            if tower := vision(config, base, model):
                yield from cls_faults(config, "typographic", models(config)[model]["source"], tower)


def _dictionary_faults(config: Config, model: str) -> Iterator[str]:
    names, dictionaries = config["typographic"]["dictionaries"], config["dictionaries"]
    if not names:
        yield "typographic.dictionaries: found none, expected one at least."
    for name in names:
        if name not in dictionaries:
            yield (
                f"typographic.dictionaries: found {name}, expected one of {', '.join(dictionaries)}."
                + (close_match(name, list(dictionaries)))
            )
        elif (
            dictionaries[name]["architecture"] != "neurons"
            and dictionary_model(config, name) != model
        ):
            yield (
                f"typographic.dictionaries: {name} is of the model {dictionary_model(config, name)}, but the data sets "
                f"of the model {model}; expected dictionaries of that model."
            )


def _attack_faults(key: str, dataset: Config, base: Path) -> Iterator[str]:
    if "attack" not in dataset:
        return
    if is_photographed(dataset):
        yield f"{key}: has no effect on the layout {dataset['layout']}, whose images have words already; remove it."
    for name in dataset["attack"]["fonts"]:
        try:
            font_file(name, base)
        except ClipsteerError as error:
            yield f"{key}.fonts: {error}"
