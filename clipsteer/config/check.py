"""Checks the configuration: every fault at once, each with its dotted key and what to do about it.

Types, ranges and defaults are those of the classes in `clipsteer.sections`; what no field can say (a
dictionary's data set exists, k fits the dictionary) is checked here and in the modules beside. Nothing
here reads data, but it is seen whether the folders are there; of a CLIP folder config.json is read,
because the number of layers shapes the DAG.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clipsteer.config.datasets import dataset_faults, root_faults, table_faults, worth_faults
from clipsteer.config.dictionaries import dictionary_faults, grid_faults
from clipsteer.config.grid import with_points
from clipsteer.config.model import model_faults
from clipsteer.config.typographic import typographic_faults
from clipsteer.config.used import Config, typographic_dictionaries, used_dictionaries
from clipsteer.errors import ClipsteerError
from clipsteer.sections.check import filled

# Folders beside the data sets' in artifacts/refs.
_RESERVED = {"typographic", "model", "raw", "dictionaries", "vocabulary"}
# results/<dataset>_steerability_layers.png is a figure of <dataset>, too.
_STEERABILITY = "_steerability"


def validate(config: Config, base: Path) -> dict[str, Any]:
    """`config` with its values as they are meant, its defaults and its grids' points: what the workflow is to use.

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
    return with_points(meant)


def _meaning(config: Config, base: Path) -> Iterator[str]:
    """What keys that fit their own class say amiss of each other, or of what is on the disk."""
    yield from model_faults(config, base)
    yield from dataset_faults(config, base)
    yield from root_faults(config, base)
    yield from typographic_faults(config, base)
    yield from _steerability_faults(config["steerability"])
    words = config["vocabulary"]["source"]
    if words != "model" and not (base / Path(words).expanduser()).is_file():
        yield f"vocabulary.source: found no file {words}, expected `model` or a file with an entry a line."
    for name in _RESERVED & set(config["datasets"]):
        yield f"datasets.{name}: this name is taken (artifacts/refs/{name}); choose another."
    for name in config["datasets"]:
        if f"{name}{_STEERABILITY}" in config["datasets"]:
            yield (
                f"datasets.{name}{_STEERABILITY}: its figure of layers would have the name of one of {name}'s "
                f"(results/{name}{_STEERABILITY}_layers.png); choose another name."
            )
    for table, names in config["tables"].items():
        if names:  # not switched off
            yield from table_faults(config, table)
    for dataset, names in config["dictionary_tables"].items():
        if names:
            yield from worth_faults(config, dataset)
    for name in dict.fromkeys([*used_dictionaries(config), *typographic_dictionaries(config)]):
        found = list(dictionary_faults(config, name, base))
        yield from found or grid_faults(config, name, base)
    thresholds = config["steering"]["thresholds"]
    if thresholds["low"] >= thresholds["high"]:
        yield (
            f"steering.thresholds: low {thresholds['low']} must be below high {thresholds['high']}."
        )
    strict, slack = config["steering"]["strict"], config["steering"]["strict_slack"]
    if slack and strict != "no_group_falls":
        yield f"steering.strict_slack: {slack} has no effect on {strict}; expected 0, or strict: no_group_falls."


def _steerability_faults(settings: Config) -> Iterator[str]:
    """Numbers of `steerability` that mean nothing."""
    asked = settings["features"]
    if not isinstance(asked, str) and (asked == 1 or (asked > 1 and asked != int(asked))):
        yield (
            f"steerability.features: found {asked:g}, expected `all`, a share below 1, or a whole number from 2."
        )
    if max(settings["strengths"]) <= 0:
        yield "steerability.strengths: found none above 0, expected at least one, as scores are taken there."
