"""What follows from a configuration without a look at any data: names, blocks of layers, places of pointers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from clipsteer.config.model import layers_of
from clipsteer.config.used import (
    FIRST,
    dictionary_model,
    job_model,
    learns_from,
    model_of,
    models,
    used_models,
)
from clipsteer.data.forms import may_pair
from clipsteer.dictionaries.sources import Source, source_of
from clipsteer.errors import ClipsteerError
from clipsteer.store.roots import REFS

MODEL = f"{REFS}/model/model.json"
VOCABULARY = f"{REFS}/vocabulary/model.json"
STEERED = f"{REFS}/{{dataset}}/{{dictionary}}/{{block}}"
"""The folder of the pointers that belong to a data set, a dictionary and a block of layers."""

DIRECTED = f"{REFS}/{{dataset}}/directions/{{hook_point}}/{{block}}"
"""The folder of those that belong to a data set, a hook point and a block of layers, without a dictionary."""


class Outline:
    """A validated configuration in a checkout (`base`) and a working directory (`folder`), as rules see it.

    `tables`: data set -> its dictionaries, of the tables that have any. `blocks`: name -> the layers that
    one job handles. `parts`: the numbers of the jobs that one split's extraction is cut into. `local_model`:
    the folder of the user's model; None for one that is pre-trained here (`tiny`) or has a hub name.
    `vocabulary`: the user's file of entries, None where the model's own words are taken.
    """

    def __init__(self, config: Mapping[str, Any], base: Path, folder: Path) -> None:
        self.config, self.base, self.folder = config, base, folder
        self.store = Path(config["store"]["root"]).expanduser()
        self.datasets: Mapping[str, Any] = config["datasets"]
        self.dictionaries: Mapping[str, Any] = config["dictionaries"]
        self.tables = {dataset: names for dataset, names in config["tables"].items() if names}
        self.parts = range(config["jobs"]["extraction_parts"])
        model = config["model"]
        self.tiny = model["source"] == "tiny"
        self.worlds: list[str] = model["tiny"]["worlds"] if self.tiny else []
        source = Path(model["source"]).expanduser()
        self.local_model = source if not self.tiny and (folder / source).is_dir() else None
        words = config["vocabulary"]["source"]
        self.vocabulary = None if words == "model" else Path(words).expanduser()

    def is_painted(self, dataset: str) -> bool:
        return bool(self.datasets[dataset]["root"] == "painted")

    def root(self, dataset: str) -> Path:
        """The user's folder of a data set that is not painted."""
        return Path(self.datasets[dataset]["root"]).expanduser()

    def is_trained(self, dictionary: str) -> bool:
        """Whether it is an SAE, trained here or by others: the neuron basis is not."""
        return bool(self.dictionaries[dictionary]["architecture"] != "neurons")

    def is_imported(self, dictionary: str) -> bool:
        """Whether others have trained it."""
        return bool(self.dictionaries[dictionary]["architecture"] == "imported")

    @property
    def trained(self) -> list[str]:
        """The dictionaries that are SAEs."""
        return [name for name in self.dictionaries if self.is_trained(name)]

    @property
    def trained_here(self) -> list[str]:
        """Those of them that are trained in a run."""
        return [name for name in self.trained if not self.is_imported(name)]

    @property
    def imported(self) -> list[str]:
        """Those of them that are not."""
        return [name for name in self.trained if self.is_imported(name)]

    @cached_property
    def used_imported(self) -> list[str]:
        """The imported ones that some table asks for."""
        used = {name for names in self.tables.values() for name in names}
        return [name for name in self.imported if name in used]

    def learns_from(self, dictionary: str) -> str | None:
        """The data set that a dictionary is trained on here."""
        return learns_from(self.dictionaries[dictionary])

    def source(self, dictionary: str, layer: int) -> Source:
        """Where an imported dictionary has a layer from."""
        settings = self.dictionaries[dictionary]
        return source_of(settings, layer, self.folder, f"dictionaries.{dictionary}")

    def hook_points(self, table: str) -> list[str]:
        """Where a table's dictionaries read and edit, each once."""
        names = self.tables.get(table, [])
        return list(dict.fromkeys(str(self.dictionaries[name]["hook_point"]) for name in names))

    @property
    def every_hook_point(self) -> list[str]:
        """Those of all tables."""
        return sorted({point for table in self.tables for point in self.hook_points(table)})

    @property
    def paired(self) -> list[str]:
        """The tables whose test images may have pairs."""
        return [table for table in self.tables if may_pair(self.datasets[table])]

    def copies(self, dataset: str, split: str) -> int:
        """Augmented copies of each image in a split."""
        return int(self.datasets[dataset]["augment"]) if split == "train_augmented" else 0

    def training_splits(self, dataset: str) -> list[str]:
        """What a dictionary learns from: the training split, with its augmented copies if there are any."""
        return ["train"] + ["train_augmented"] * bool(self.datasets[dataset]["augment"])


def blocks(layers: list[int], size: int) -> dict[str, list[int]]:
    """The layers cut into blocks of at most `size`, by name: layers_00-02."""
    runs = [layers[i : i + size] for i in range(0, len(layers), size)]
    return {f"layers_{run[0]:02d}-{run[-1]:02d}": run for run in runs}


def one_of(names: Iterable[object]) -> str:
    """The pattern of a wildcard that is one of some names; without any it is a word that no target has."""
    return "|".join(map(str, names)) or "none"
