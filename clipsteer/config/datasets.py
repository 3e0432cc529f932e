"""What keys of `datasets` and `tables` say amiss of each other, or of the folders that they name."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from clipsteer.config.used import (
    Config,
    attribute_value,
    dictionary_model,
    model_of,
    models,
    needed_datasets,
    typographic_datasets,
    typographic_models,
    worlds_of,
)
from clipsteer.data.forms import (
    NAMES,
    name_faults,
    option_faults,
    spurious_values,
    with_spurious,
)
from clipsteer.errors import close_match

# The layout that each world is painted in.
_WORLD_LAYOUTS = {
    **{"faces": "celeba", "birds": "waterbirds", "general": "imagenet"},
    **{"signs": "folder", "web": "folder"},
}
# Worlds without groups: the splits that each may have.
_UNGROUPED = {
    "general": ("train", "validation"),
    "signs": ("train", "validation", "test"),
    "web": ("train",),
}


def dataset_faults(config: Config, base: Path) -> Iterator[str]:
    """Painted worlds that cannot be painted so, and options of layouts that have no effect."""
    needed = {*needed_datasets(config), *typographic_datasets(config)}
    for model in typographic_models(config):
        needed |= {*worlds_of(config, model)}
    for name, dataset in config["datasets"].items():
        if dataset["root"] == "painted" and "painted" not in dataset:
            yield f"datasets.{name}.painted: missing, but datasets.{name}.root is `painted`."
        elif dataset["root"] == "painted" and name in needed:
            yield from _painted_faults(dataset, f"datasets.{name}")
        yield from option_faults(f"datasets.{name}", dataset, _folder_of(dataset, base))
        yield from not_a_model(config, f"datasets.{name}.model", dataset["model"])
        if "attribute_value" in dataset and not with_spurious(dataset):
            yield (
                f"datasets.{name}.attribute_value: has no effect on layout {dataset['layout']}, whose images have no "
                "spurious attribute; remove it."
            )
        if dataset["class_words"] != "files" and dataset["layout"] != "imagenet":
            yield (
                f"datasets.{name}.class_words: has no effect on layout {dataset['layout']}, whose classes are called "
                f"as datasets.{name}.class_names says; remove it."
            )


def not_a_model(config: Config, key: str, model: str) -> Iterator[str]:
    """That a key names a model which is not there."""
    there = models(config)
    if model not in there:
        yield f"{key}: found {model}, expected {' or '.join(there)}." + close_match(model, there)


def _painted_faults(dataset: Config, key: str) -> Iterator[str]:
    """A world that is not painted in the data set's layout, or not in such numbers."""
    world, counts = dataset["painted"]["world"], dataset["painted"]["counts"]
    if dataset["layout"] != _WORLD_LAYOUTS[world]:
        yield (
            f"{key}.layout: found {dataset['layout']}, but the world {world} is painted in the layout "
            f"{_WORLD_LAYOUTS[world]}; change the layout or {key}.painted.world, or set {key}.root to a folder."
        )
        return
    if not counts or (world != "signs" and "train" not in counts):
        yield f"{key}.painted.counts.train: missing; the world {world} needs training images."
    for name in ("worded", "series"):
        if name in dataset["painted"] and world != "signs":
            yield f"{key}.painted.{name}: has no effect on the world {world}; remove it."
    if world in _UNGROUPED:
        splits = _UNGROUPED[world]
        for split, count in counts.items():
            if split not in splits or isinstance(count, list):
                yield (
                    f"{key}.painted.counts.{split}: found {count}, but the world {world} has no groups and no "
                    f"such split; expected one number of images for {' and '.join(splits)}."
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


def root_faults(config: Config, base: Path) -> Iterator[str]:
    """Folders that are needed and are not there, with what is expected in them."""
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


def _folder_of(dataset: Config, base: Path) -> Path | None:
    """The user's folder of a data set; None for a painted one."""
    return None if dataset["root"] == "painted" else base / Path(dataset["root"]).expanduser()


def table_faults(config: Config, table: str) -> Iterator[str]:
    """What one table asks for and does not have."""
    datasets, dictionaries = config["datasets"], config["dictionaries"]
    names = config["tables"][table]
    if table not in datasets:
        yield _no_data_set(config, f"tables.{table}", table)
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
    yield from _value_faults(config, table)
    yield from _name_faults(config, "tables", table)


def _value_faults(config: Config, table: str) -> Iterator[str]:
    """A spurious value that no image of a table has, as far as that is known before images are looked at."""
    dataset, (key, value) = config["datasets"][table], attribute_value(config, table)
    values, own = spurious_values(dataset), f"datasets.{table}.attribute_value"
    if values is not None and value >= values:
        why = f"datasets.{table}.group_names has no other"
        if dataset["layout"] in NAMES:
            why = f"datasets.{table}.layout, {dataset['layout']}, has no other"
        there = " or ".join(str(number) for number in range(values))
        yield f"{key}: found {value}, expected {there}: {why}. " + (
            "Correct it." if key == own else f"Correct it, or give {own}."
        )


def worth_faults(config: Config, dataset: str) -> Iterator[str]:
    """What is amiss with the dictionaries whose worth on a data set without a table is asked for."""
    key, datasets = f"dictionary_tables.{dataset}", config["datasets"]
    if dataset not in datasets:
        yield _no_data_set(config, key, dataset)
        return
    if config["tables"].get(dataset):
        yield (
            f"{key}: found a list, but tables.{dataset} has dictionaries, whose worth is told. Remove it, or set "
            f"tables.{dataset} to []."
        )
        return
    in_folders = datasets[dataset]["layout"] == "imagenet"
    for part in ("templates",) if in_folders else ("class_names", "templates"):
        if part not in datasets[dataset]:
            yield f"datasets.{dataset}.{part}: missing, but {key} needs it."
    yield from _name_faults(config, "dictionary_tables", dataset)


def _no_data_set(config: Config, key: str, name: str) -> str:
    known = list(config["datasets"])
    return f"{key}: no data set of that name; datasets: {', '.join(known)}." + close_match(
        name, known
    )


def _name_faults(config: Config, section: str, table: str) -> Iterator[str]:
    """Dictionaries in the list of a data set that are not there, or are of another model."""
    dictionaries = config["dictionaries"]
    for name in config[section][table]:
        if name not in dictionaries:
            yield (
                f"{section}.{table}: found {name}, expected one of {', '.join(dictionaries)}."
                + close_match(name, list(dictionaries))
            )
        elif dictionaries[name]["architecture"] == "neurons":
            continue
        elif dictionary_model(config, name) != model_of(config, table):
            yield f"{section}.{_another_model(config, table, name)}"


def _another_model(config: Config, table: str, dictionary: str) -> str:
    """That a dictionary belongs to another model than the one that sees the table's images."""
    settings = config["dictionaries"][dictionary]
    is_imported, of = settings["architecture"] == "imported", dictionary_model(config, dictionary)
    if not is_imported:
        why = f"it learns from {settings['trained_on']}"
    elif "model" in settings:
        why = f"dictionaries.{dictionary}.model"
    else:
        why = f"the first table that it stands in has it; dictionaries.{dictionary}.model may say another"
    return (
        f"{table}: {dictionary} is of the model {of} ({why}), but datasets.{table}.model is "
        f"{model_of(config, table)}, expected dictionaries of that model. Take one, or another data set."
    )
