"""What of a configuration is used: the dictionaries, data sets and models that some table needs, images to paint.

The section `model` is the model of the data sets that name none; further ones stand in `models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipsteer.data.forms import PRINTED

Config = Mapping[str, Any]

FIRST = "model"
"""What the section `model` is called among the models."""


# ------------------------------------------------------------------------------ models


def models(config: Config) -> dict[str, Config]:
    """The settings of every model by its name, the section `model` first; tables print `name` of each."""
    others = {
        name: {**settings, "name": settings["label"]}
        for name, settings in config.get("models", {}).items()
        if name != FIRST  # a fault
    }
    return {FIRST: config["model"], **others}


def tiny_models(config: Config) -> list[str]:
    """The models that are pre-trained here."""
    return [name for name, settings in models(config).items() if settings["source"] == "tiny"]


def worlds_of(config: Config, model: str) -> list[str]:
    """The data sets that a model which is pre-trained here learns from; none of one that others have trained."""
    settings = models(config).get(model, {})  # of another name, which is a fault
    worlds: list[str] = settings.get("tiny", {}).get("worlds", [])
    return worlds if settings.get("source") == "tiny" else []


def section_of(model: str) -> str:
    """The section of a model, in dotted keys."""
    return FIRST if model == FIRST else f"models.{model}"


def job_name(model: str) -> str:
    """What a model is called among jobs and the user's folders: no data set's name has a dash."""
    return FIRST if model == FIRST else f"{FIRST}-{model}"


def model_of(config: Config, dataset: str) -> str:
    """The name of the model that sees a data set."""
    return str(config["datasets"].get(dataset, {}).get("model", FIRST))


def dictionary_model(config: Config, dictionary: str) -> str:
    """The model of a dictionary: that of the data set it learns from.

    One that others have trained says its own, or has that of the first table that it stands in, that of typographic
    attacks the last.
    """
    settings = config["dictionaries"][dictionary]
    learnt_from = learns_from(settings)
    if learnt_from is not None:
        return model_of(config, learnt_from)
    if "model" in settings:
        return str(settings["model"])
    tables = [table for table, names in _asked(config).items() if dictionary in names]
    if dictionary in typographic_dictionaries(config):
        tables += typographic_datasets(config)
    return model_of(config, next(iter(tables), ""))


def job_model(config: Config, wildcards: Mapping[str, str]) -> str:
    """The model of a job by its wildcards: its own, that of its data set, or else of its dictionary."""
    if "model" in wildcards:
        return wildcards["model"]
    if "dataset" in wildcards:
        return model_of(config, wildcards["dataset"])
    if "dictionary" in wildcards:
        return dictionary_model(config, wildcards["dictionary"])
    return FIRST


def used_models(config: Config) -> list[str]:
    """The models that tables need, in the order of the config; the section `model` where there is no table."""
    used = {model_of(config, dataset) for dataset in _seen_datasets(config)}
    return [name for name in models(config) if name in used] or [FIRST]


# ------------------------------------------------------------------------------ typographic attacks


def typographic_datasets(config: Config) -> list[str]:
    """The data sets of results/typographic_table.csv, the one that is tuned on first; none where it is switched off."""
    settings = config.get("typographic", {})
    benchmarks = settings.get("benchmarks", [])
    return list(dict.fromkeys([settings.get("tuned_on", ""), *benchmarks])) if benchmarks else []


def typographic_dictionaries(config: Config) -> list[str]:
    """The dictionaries of that table."""
    names: list[str] = config["typographic"]["dictionaries"] if typographic_datasets(config) else []
    return [name for name in names if name in config["dictionaries"]]


def typographic_models(config: Config) -> list[str]:
    """The models that see them, which is one."""
    return list(dict.fromkeys(model_of(config, name) for name in typographic_datasets(config)))


# ------------------------------------------------------------------------------ dictionaries and data sets


def used_dictionaries(config: Config) -> list[str]:
    """Names of the dictionaries that some table asks for, in the order of the config."""
    used = {name for names in _asked(config).values() for name in names}
    return [name for name in config["dictionaries"] if name in used]


def valued(config: Config) -> dict[str, list[str]]:
    """Data set -> the dictionaries whose worth on it is told, in order.

    A table's own; of a data set without a table those that `dictionary_tables` names, or else, where it has class
    folders and templates, those of the tables that learn from it.
    """
    found = _asked(config)
    used = {name: learns_from(config["dictionaries"][name]) for name in used_dictionaries(config)}
    for dataset, settings in config["datasets"].items():
        if dataset not in found and settings["layout"] == "imagenet" and "templates" in settings:
            learning = [name for name, learnt_from in used.items() if learnt_from == dataset]
            found |= {dataset: learning} if learning else {}
    return found


def _asked(config: Config) -> dict[str, list[str]]:
    """The dictionaries that each data set names in `tables` or in `dictionary_tables`."""
    tables = (config.get("dictionary_tables", {}), config["tables"])
    return {name: list(names) for part in tables for name, names in part.items() if names}


def learns_from(dictionary: Config) -> str | None:
    """The data set that a dictionary is trained on here; None for one that is not trained, or was elsewhere."""
    imported = dictionary["architecture"] == "imported"
    found: str | None = None if imported else dictionary.get("trained_on")
    return found


def needed_datasets(config: Config) -> list[str]:
    """Data sets that some table needs: the ones it edits, and the ones its dictionaries and the CLIP learn from."""
    needed = _seen_datasets(config)
    for model in used_models(config):
        needed |= set(worlds_of(config, model))
    return sorted(needed)


def _seen_datasets(config: Config) -> set[str]:
    """Data sets that a model sees for some table: the ones it edits, and the ones its dictionaries learn from."""
    seen = {*_asked(config)}
    for name in used_dictionaries(config):
        if learnt_from := learns_from(config["dictionaries"][name]):
            seen.add(learnt_from)
    return seen


def is_photographed(dataset: Config) -> bool:
    """Whether a data set's images have words of their own, which its layout names."""
    return dataset["layout"] in PRINTED


def attribute_value(config: Config, dataset: str) -> tuple[str, int]:
    """The spurious value that a data set's table sets against all others, behind the dotted key that says it."""
    key, whole = "attribute_value", config["steering"]
    own = config["datasets"][dataset]
    if key in own:
        return f"datasets.{dataset}.{key}", int(own[key])
    return f"steering.{key}", int(whole[key])


def painted_count(dataset: Config, split: str) -> int:
    """Images of a split of a painted data set; 0 where the config names none."""
    count = dataset["painted"]["counts"].get(split, 0)
    return int(sum(count) if isinstance(count, list) else count)
